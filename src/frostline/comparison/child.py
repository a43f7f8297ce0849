"""One run of a comparison, in the process that it has for itself: `python -m frostline.comparison.child JOB.json`.

Its standard output is for the parent alone: what anything else prints there goes to stderr, as does what `frostline
train` would tell the user. The last line is the result as JSON.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO

from frostline.children import serve

if TYPE_CHECKING:
    from frostline.config import TrainConfig


def do(kind: str, config: TrainConfig, parent: TextIO) -> dict[str, Any]:
    """Return the result of one run: run.json's content, or a probe's `train_info` beside what it was made of."""
    from rich.console import Console

    from frostline.comparison.probe import Baton, MemoryProbe, measure_inference, measured
    from frostline.training.run import run

    console = Console(file=sys.stderr, markup=False, emoji=False, highlight=False, no_color=True)
    if kind == "inference":
        return measure_inference(config)
    if kind == "memory":
        return measured(config, MemoryProbe(), console)
    if kind == "time":
        return measured(config, Baton(sys.stdin, parent), console)
    return run(config, console=console)


def main() -> None:
    """Do the job that the file named on the command line says."""

    def run_job(job: dict[str, Any], parent: TextIO) -> dict[str, Any]:
        from frostline.config import make_config

        return do(job["kind"], make_config(job["config"]), parent)

    serve(run_job)


if __name__ == "__main__":
    main()
