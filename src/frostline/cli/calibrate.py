"""`frostline calibrate`: what a training process takes on this machine besides its tensors, and how fast it works."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer


def calibrate(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Measure this machine for plans: some small runs in fresh processes, about a minute; leave it alone meanwhile.

    Kept in the cache folder, for these versions and this number of threads: the interpreter, libraries and threads of a
    training process, and the rates from which the time of a step is predicted.
    """
    from frostline.budget import written
    from frostline.models import quiet
    from frostline.planner.machine import calibrate

    quiet()
    found = calibrate()
    if as_json:
        print(json.dumps(asdict(found)))
        return
    print(f"a process without its tensors: {written(found.runtime)} ({found.runtime:,} bytes)")
    if found.speed is not None:
        rates = [
            f"{1 / rate / size:,.0f} {name}"
            for rate, size, name in (
                (found.speed.flop, 1e9, "GFLOP/s"),
                (found.speed.byte, 1e9, "GB/s"),
            )
            if rate
        ]
        calls = f"{found.speed.operation * 1e6:.0f} microseconds an operation"
        print(f"speed: {', '.join([*rates, calls])}; off by {found.speed.error:.0%} on what it was fitted to")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("calibrate")(calibrate)
