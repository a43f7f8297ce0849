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

from frostline.allocator import environment
from frostline.children import ending


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
        end = ending(self.process.returncode, output, text)
        return Outcome(end.status, end.reason, end.result, self.folder)


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
            process = self._popen([sys.executable, "-P", "-m", "frostline.comparison.child", str(job)], stream, config)
        try:
            yield Child(process, errors, folder)
        finally:
            process.kill()
            process.communicate()
            with self._lock:
                self._running.discard(process)
            shutil.rmtree(home, ignore_errors=True)

    def _popen(self, command: list[str], errors: IO[str], config: dict[str, Any]) -> subprocess.Popen[str]:
        threads = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        with self._lock:
            if self._stopped:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **environment(config.get("allocator", "default")), **threads},
                start_new_session=True,  # Ctrl-C is for the parent, which then ends its children
            )
            self._running.add(process)
        return process


def run_info(began: float, seconds: float, *, threads: int, jobs: int) -> dict[str, Any]:
    """Return when a run started (ISO time, UTC), how long it took, and beside how many others."""
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began))
    return {"started": started, "seconds": round(seconds, 2), "threads": threads, "jobs": jobs}
