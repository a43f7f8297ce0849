"""A process of its own for one job: how the parent reads its end, and what the child does around its work.

No torch here: a child starts to watch its parent before it loads anything heavy.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from frostline.errors import FrostlineError

_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "memoryerror")
_KILLED = -9


@dataclass(frozen=True)
class Ending:
    """How a child ended.

    Attributes:
        status: `finished`, `failed` or `out_of_memory`.
        reason: one line, for what is not finished.
        result: what it printed as JSON.
    """

    status: str
    reason: str | None = None
    result: dict[str, Any] | None = None


def ending(code: int, output: str, errors: str) -> Ending:
    """Return how a child ended, from its exit status and what it wrote."""
    if code != 0:
        return Ending(*why(code, errors))
    try:
        return Ending("finished", None, json.loads(output.splitlines()[-1]))
    except (ValueError, IndexError) as error:
        return Ending("failed", f"its result cannot be read: {error}")


def why(code: int, errors: str) -> tuple[str, str]:
    """Return status and reason of a child that failed, from its exit status and what it wrote to stderr."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    for line in reversed(lines[-4:]):  # torch's message on memory may have several lines
        if any(words in line.lower() for words in _MEMORY):
            return "out_of_memory", line
    if code == _KILLED:
        return "out_of_memory", "killed (SIGKILL), as the system does when memory runs out"
    return "failed", lines[-1] if lines else f"exit status {code}"


def run_child(module: str, job: dict[str, Any]) -> tuple[int, Ending]:
    """Run `python -m module JOB.json` to its end; return its exit status and how it ended."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "job.json")
        path.write_text(json.dumps({**job, "parent": os.getpid()}), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, str(path)], capture_output=True, text=True, errors="replace"
        )
    return done.returncode, ending(done.returncode, done.stdout, done.stderr)


def serve(do: Callable[[dict[str, Any], TextIO], dict[str, Any]]) -> None:
    """In the child: do the job that the file named on the command line says.

    Standard output is for the parent alone, `do` gets it: what anything else prints there goes to stderr. The last line
    is what `do` returns, as JSON. An error raised on purpose is one line on stderr.
    """
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    threading.Thread(target=_end_with, args=(job["parent"],), daemon=True).start()
    parent = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        result = do(job, parent)
    except FrostlineError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    print(json.dumps(result), file=parent, flush=True)


def _end_with(parent: int) -> None:
    """End when the parent has, so that one that is killed leaves nothing running."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
