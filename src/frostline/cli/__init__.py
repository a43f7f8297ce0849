"""The command line. One file a verb; none imports torch before it runs."""

from __future__ import annotations

import sys

import typer

from frostline import interrupts
from frostline.cli import (
    calibrate,
    compare,
    env,
    evaluate,
    export,
    federate,
    measure,
    methods,
    plan,
    predict,
    pretrain,
    profile,
    report,
    sites,
    train,
)
from frostline.errors import FrostlineError

app = typer.Typer(
    name="frostline",
    help="Fine-tune a transformer in less memory: decide at every step which weights thaw.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
train.register(app)
plan.register(app)
calibrate.register(app)
evaluate.register(app)
predict.register(app)
pretrain.register(app)
export.register(app)
compare.register(app)
federate.register(app)
report.register(app)
methods.register(app)
profile.register(app)
sites.register(app)
measure.register(app)
env.register(app)


def main() -> None:
    """Run the command line; an error raised on purpose is printed as one line and sets the exit code."""
    interrupts.remember()
    try:
        app()
    except FrostlineError as error:
        print(f"frostline: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("frostline: stopped.", file=sys.stderr)
        sys.exit(130)
