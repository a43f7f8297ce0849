"""One run of a comparison, in the process that it has for itself: `python -m frostline.comparison.child JOB.json`.

Prints one JSON line at the end; what `frostline train` would tell the user goes to stderr. Ends when its parent does:
the parent holds the other end of its standard input.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from rich.console import Console

from frostline.comparison.probe import Baton, MemoryProbe, measure_inference, measured
from frostline.config import TrainConfig, make_config
from frostline.errors import FrostlineError
from frostline.training.run import run


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when the parent is gone; sys.stdin's lock would outlive the interpreter
    os._exit(1)


def do(kind: str, config: TrainConfig) -> dict[str, Any]:
    """Return the result of one run: run.json's content, or a probe's `train_info` beside what it was made of."""
    console = Console(file=sys.stderr, markup=False, emoji=False, highlight=False, no_color=True)
    if kind == "inference":
        return measure_inference(config)
    if kind == "memory":
        return measured(config, MemoryProbe(), console)
    if kind == "time":
        return measured(config, Baton(sys.stdin, sys.stdout), console)
    return run(config, console=console)


def main() -> None:
    """Do the job that the file named on the command line says."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if job["kind"] != "time":  # which hears its parent through it, and its end too
        threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        result = do(job["kind"], make_config(job["config"]))
    except FrostlineError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
