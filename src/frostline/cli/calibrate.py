"""`frostline calibrate`: what a training process takes on this machine besides its tensors."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def calibrate(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Measure the interpreter, libraries and threads of a training process, by a small step in a fresh one.

    `frostline plan` and budgeted runs add it to the peak of tensors. It is kept in the cache folder, for these versions
    and this number of threads.
    """
    from frostline.budget import written
    from frostline.models import quiet
    from frostline.planner.runtime import runtime

    quiet()
    size = runtime(again=True).bytes
    print(
        json.dumps({"runtime": size}) if as_json else f"a process without its tensors: {written(size)} ({size:,} bytes)"
    )


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("calibrate")(calibrate)
