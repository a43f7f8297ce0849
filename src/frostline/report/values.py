"""What a folder holds, as values. Every number may be absent: a record is read for what it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

FINISHED, FAILED, OUT_OF_MEMORY = "finished", "failed", "out_of_memory"
ERRORS = frozenset({"mse", "mae", "perplexity"})  # metrics of which less is better, in a unit of their own
_LARGEST = 1e150  # no score, loss or size; statistics square what they are given
INFERENCE = "inference"  # the "method" of the memory record that has forward passes only


def number(value: object) -> float | None:
    """Return a number as a float; None for anything else (NaN, text, null, yes or no) and where squares overflow."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if abs(found) < _LARGEST else None


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping as it is and anything else as an empty one."""
    return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True)
class Record:
    """One record of a comparison, or a run folder in the same form.

    Attributes:
        kind: `cell`, `trial`, `memory` or `time`.
        name: of its file, without the suffix.
        task, method, seed, status, reason: as the record says.
        config, run_info, train_info, meta_info: the record's mappings, possibly empty.
    """

    kind: str
    name: str
    task: str
    method: str
    seed: int | None
    status: str
    reason: str | None
    config: Mapping[str, Any]
    run_info: Mapping[str, Any]
    train_info: Mapping[str, Any]
    meta_info: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """Tell whether it came to its end."""
        return self.status == FINISHED

    @property
    def metric(self) -> str:
        """The name of the task's own metric, `score` where the record does not say."""
        return str(self.train_info.get("metric") or "score")

    @property
    def score(self) -> float | None:
        """The task's own metric as it was measured; None if there is no finite one."""
        return number(mapping(self.train_info.get("metrics")).get(self.metric)) if self.finished else None

    @property
    def unit(self) -> float:
        """What the score is multiplied by to be shown: 100, for points; 1 for an error, which has a unit of its own."""
        return 1.0 if self.metric in ERRORS else 100.0

    @property
    def learning_rate(self) -> float | None:
        """The learning rate that it was trained with; YAML reads `1e-4` as text, so text will do."""
        value = self.config.get("learning_rate")
        try:
            return number(float(value) if isinstance(value, str) else value)
        except ValueError:
            return None

    @property
    def command(self) -> str:
        """The command that gives this record again; empty if unknown."""
        return str(self.run_info.get("command") or "")

    def value(self, key: str) -> float | None:
        """Return a number of `train_info`."""
        return number(self.train_info.get(key))

    def memory(self, key: str) -> float | None:
        """Return a number of bytes of `train_info`'s memory."""
        return number(mapping(self.train_info.get("memory")).get(key))


@dataclass(frozen=True)
class Steps:
    """A run step by step.

    Attributes:
        losses: of each step; None where it was not finite.
        changes: (index of the step, names of the active units) wherever that set changed.
    """

    losses: tuple[float | None, ...]
    changes: tuple[tuple[int, tuple[str, ...]], ...]


@dataclass(frozen=True)
class LeftOut:
    """A file that the report had to do without, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Report:
    """Everything that was read of one folder.

    Attributes:
        folder: where it was read.
        single: whether it is a run folder.
        name, caption, started: as the user and the clock gave them.
        reference: the method that the others are measured against, None if there is none.
        tasks, methods, seeds: in the order to show; methods are row labels.
        records: every readable record.
        steps: by the name of the cell.
        expected: names of all records of a finished comparison, by kind; empty if nobody says.
        left_out: what could not be read, and records that are not there.
        versions, hardware, config: of the whole folder.
    """

    folder: Path
    single: bool
    name: str
    caption: str | None
    started: str | None
    reference: str | None
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    records: tuple[Record, ...]
    steps: Mapping[str, Steps]
    expected: Mapping[str, tuple[str, ...]]
    left_out: tuple[LeftOut, ...]
    absent: tuple[str, ...]
    versions: Mapping[str, Any]
    hardware: Mapping[str, Any]
    config: Mapping[str, Any]

    @cached_property
    def cells(self) -> tuple[Record, ...]:
        """The full training runs."""
        return self.of("cell")

    @cached_property
    def on_gpu(self) -> bool:
        """Tell whether all finished cells were measured on a GPU: then its memory is the one that counts."""
        finished = [cell for cell in self.cells if cell.finished]
        return bool(finished) and all(cell.memory("cuda_reserved") is not None for cell in finished)

    @property
    def peak_name(self) -> str:
        """What the peaks of this report are peaks of."""
        return "GPU peak" if self.on_gpu else "process peak"

    def peak(self, record: Record | None) -> float | None:
        """Return a record's peak in bytes: reserved on the GPU, or the process's resident size."""
        return record.memory("cuda_reserved" if self.on_gpu else "process_peak") if record else None

    def of(self, kind: str) -> tuple[Record, ...]:
        """Return the records of a kind."""
        return tuple(record for record in self.records if record.kind == kind)

    def one(self, kind: str, task: str, method: str) -> Record | None:
        """Return the finished record of a kind for a task and a method, the first if there are several."""
        found = (r for r in self.records if (r.kind, r.task, r.method) == (kind, task, method) and r.finished)
        return next(found, None)
