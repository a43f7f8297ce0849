"""`frostline env`: versions and hardware, for a bug report."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def show_environment(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Print versions and hardware."""
    from frostline.training.versions import hardware, versions

    found = {"versions": versions(), "hardware": hardware()}
    if as_json:
        print(json.dumps(found))
        return
    for section in found.values():
        for name, value in section.items():
            print(f"{name:15} {value}")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("env")(show_environment)
