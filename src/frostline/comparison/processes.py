"""Children: one run in a process of its own, and what became of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "memoryerror")
_KILLED = -9


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    Attributes:
        status: `finished`, `failed` or `out_of_memory`.
        reason: one line, for what is not finished.
        result: what it printed as JSON.
        folder: the run folder it wrote, gone when the context that gave this ends.
    """

    status: str
    reason: str | None
    result: dict[str, Any] | None
    folder: Path


@dataclass(frozen=True)
class Child:
    """A process under way."""

    process: subprocess.Popen[str]
    errors: Path
    folder: Path

    def outcome(self) -> Outcome:
        """Wait for the end and return how it was."""
        output, _ = self.process.communicate()
        text = self.errors.read_text(encoding="utf-8", errors="replace")
        if self.process.returncode == 0:
            try:
                return Outcome("finished", None, json.loads(output.splitlines()[-1]), self.folder)
            except (ValueError, IndexError) as error:
                return Outcome("failed", f"its result cannot be read: {error}", None, self.folder)
        return Outcome(*why(self.process.returncode, text), None, self.folder)


def why(code: int, errors: str) -> tuple[str, str]:
    """Return status and reason of a child that failed, from its exit status and what it wrote to stderr."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    for line in reversed(lines[-4:]):  # torch's message on memory may have several lines
        if any(words in line.lower() for words in _MEMORY):
            return "out_of_memory", line
    if code == _KILLED:
        return "out_of_memory", "killed (SIGKILL), as the system does when memory runs out"
    return "failed", lines[-1] if lines else f"exit status {code}"


class Processes:
    """Starts children in a scratch folder and can end all of them at once.

    Args:
        scratch: for what children write; wiped at the start and at the end.
        threads: of torch in each child.
    """

    def __init__(self, scratch: Path, threads: int) -> None:
        self.threads = threads
        self._scratch = scratch
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def __enter__(self) -> Processes:
        """Make the scratch folder anew."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        """End every child and remove what they wrote."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()
        shutil.rmtree(self._scratch, ignore_errors=True)

    @contextmanager
    def start(self, kind: str, name: str, config: dict[str, Any]) -> Iterator[Child]:
        """Start a run; when the context ends so does the child, and its folder goes."""
        home = Path(tempfile.mkdtemp(dir=self._scratch))
        job = home / "job.json"
        folder = home / name
        content = {"kind": kind, "config": {**config, "output": str(folder)}, "parent": os.getpid()}
        job.write_text(json.dumps(content), encoding="utf-8")
        errors = home / "stderr"
        with errors.open("w", encoding="utf-8") as stream:
            process = self._popen([sys.executable, "-P", "-m", "frostline.comparison.child", str(job)], stream)
        try:
            yield Child(process, errors, folder)
        finally:
            process.kill()
            process.communicate()
            with self._lock:
                self._running.discard(process)
            shutil.rmtree(home, ignore_errors=True)

    def _popen(self, command: list[str], errors: IO[str]) -> subprocess.Popen[str]:
        threads = str(self.threads)
        with self._lock:
            if self._stopped:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
                start_new_session=True,  # Ctrl-C is for the parent, which then ends its children
            )
            self._running.add(process)
        return process


def run_info(began: float, seconds: float, *, threads: int, jobs: int) -> dict[str, Any]:
    """Return when a run started (ISO time, UTC), how long it took, and beside how many others."""
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began))
    return {"started": started, "seconds": round(seconds, 2), "threads": threads, "jobs": jobs}
