"""`frostline methods`: what can be chosen, with every setting and its default."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def list_methods(
    plugin: Annotated[list[str] | None, typer.Option(help="A file or module with more methods.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the methods with their settings and sources."""
    from frostline import methods
    from frostline.methods import plugins

    plugins.load(plugin or ())

    table: list[dict[str, Any]] = []
    for name in methods.names():
        method = methods.get(name)
        defaults = method.Settings().model_dump(mode="json")
        settings = {
            key: {"default": defaults[key], "meaning": field.description}
            for key, field in method.Settings.model_fields.items()
        }
        table.append({"name": name, "summary": method.summary, "source": method.source, "settings": settings})
    if as_json:
        print(json.dumps(table))
        return
    for row in table:
        print(f"{row['name']:9} {row['summary']}\n{'':9} {row['source']}")
        for key, setting in row["settings"].items():
            print(f"{'':9}   {key}={setting['default']}: {setting['meaning']}")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("methods")(list_methods)
