"""One run of a comparison, in the process that it has for itself: `python -m frostline.comparison.child JOB.json`.

Its standard output is for the parent alone: what anything else prints there goes to stderr, as does what `frostline
train` would tell the user. The last line is the result as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from frostline.config import TrainConfig


def _end_with(parent: int) -> None:
    """End when the parent has, so that a comparison that is killed leaves nothing running."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


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
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    threading.Thread(target=_end_with, args=(job["parent"],), daemon=True).start()
    parent = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from frostline.config import make_config
    from frostline.errors import FrostlineError

    try:
        result = do(job["kind"], make_config(job["config"]), parent)
    except FrostlineError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    print(json.dumps(result), file=parent, flush=True)


if __name__ == "__main__":
    main()
