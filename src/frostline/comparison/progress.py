"""What the user sees while a comparison goes on."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

from rich.console import Console

from frostline.comparison.runs import Kind

Record = dict[str, Any]


class Progress:
    """A line for every run made, with the time that the rest will take about."""

    def __init__(self, expected: dict[Kind, int], jobs: int, console: Console) -> None:
        self._left = dict(expected)
        self._total = sum(expected.values())
        self._jobs = jobs
        self._console = console
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._done = self._kept = 0

    def found(self, record: Record) -> None:
        """Count a run that was made before."""
        self._count(record)
        self._kept += 1

    def made(self, record: Record) -> None:
        """Count a run and print its line."""
        if self._kept:
            runs = "1 run was made before and is" if self._kept == 1 else f"{self._kept} runs were made before and are"
            self._console.print(f"{runs} kept", highlight=False)
            self._kept = 0
        self._count(record)
        self._console.print(
            f"[{self._done}/{self._total}] {record['name']}  {_figures(record)}  {self._left_over()}", highlight=False
        )

    def _count(self, record: Record) -> None:
        self._done += 1
        self._left[record["kind"]] -= 1
        self._seconds[record["kind"]].append(record["run_info"]["seconds"])

    def _left_over(self) -> str:
        every = [seconds for kind in self._seconds.values() for seconds in kind]
        seconds = 0.0
        for kind, count in self._left.items():
            each = statistics.fmean(self._seconds[kind] or every)
            seconds += count * each / self._jobs
        if not any(self._left.values()):
            return ""
        return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"


def _figures(record: Record) -> str:
    if record["status"] != "finished":
        return f"{record['status']}: {record['reason']}"
    info = record["train_info"]
    if record["kind"] == "time":
        return f"{info['ratio']:.3f} of {info['reference']}'s step"
    if record["kind"] == "memory":
        return f"{info['memory']['tensor_peak'] / 2**20:,.0f} MiB of tensors"
    peak = max(value or 0 for value in info["memory"].values())
    score = f"{info['metric']} {info['metrics'][info['metric']]:.4f}"
    return f"{score}  {info['step_seconds']:.3f} s a step  {peak / 2**20:,.0f} MiB"
