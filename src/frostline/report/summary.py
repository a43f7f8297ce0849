"""Per task and method: what the seeds say together. Statistics only; no score is computed here."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from frostline.report.pareto import front
from frostline.report.values import ERRORS, INFERENCE, Record, Report, number


@dataclass(frozen=True)
class Entry:
    """One method on one task (or on the mean over tasks). Scores are as measured, memory is in bytes.

    Attributes:
        task, method: which.
        metric: what the score is.
        scores: by seed, the finished ones only.
        complete: whether every seed is there.
        mean, deviation: over the seeds; the deviation is the sample's (n - 1), None for one seed.
        difference, difference_deviation: mean difference to the reference over the seeds that both have, and the sample
            deviation of these differences.
        peak: of the process, or reserved on the GPU (`Report.peak`); median over seeds.
        peak_ratio, inference_ratio: that peak over the reference's, and over that of forward passes only.
        time_ratio, quartiles: step time over the reference's, in pairs of steps on the same batches.
        other_time: (row, ratio) where the steps were paired with another row's than the report's reference.
        step_seconds, train_seconds, trainable, active_share: medians over the seeds.
        learning_rates: those of the cells, mostly one.
        on_front: whether no other complete method has both a better score and a lower peak.
    """

    task: str
    method: str
    metric: str
    scores: Mapping[int | None, float]
    complete: bool
    mean: float | None = None
    deviation: float | None = None
    difference: float | None = None
    difference_deviation: float | None = None
    peak: float | None = None
    peak_ratio: float | None = None
    inference_ratio: float | None = None
    time_ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    other_time: tuple[str, float] | None = None
    step_seconds: float | None = None
    train_seconds: float | None = None
    trainable: float | None = None
    active_share: float | None = None
    learning_rates: tuple[float, ...] = ()
    on_front: bool = False

    @property
    def unit(self) -> float:
        """What a score is multiplied by to be shown: 100 (points), 1 for an error."""
        return 1.0 if self.metric in ERRORS else 100.0

    @property
    def better(self) -> int:
        """1 where a higher score is better, -1 for an error."""
        return -1 if self.metric in ERRORS else 1


def summarize(report: Report, task: str) -> tuple[Entry, ...]:
    """Return an entry for each method that has a finished cell on `task`, in the report's order."""
    cells = {method: _cells(report, task, method) for method in report.methods}
    reference = _by_seed(cells.get(report.reference or "", []))
    reference_peak = middle(report.peak(cell) for cell in cells.get(report.reference or "", []))
    inference = report.one("memory", task, INFERENCE)
    inference_peak = report.peak(inference)
    entries = []
    for method, mine in cells.items():
        if not mine:
            continue
        scores = _by_seed(mine)
        peak = middle(report.peak(cell) for cell in mine)
        entry = Entry(
            task=task,
            method=method,
            metric=mine[0].metric,
            scores=scores,
            complete=bool(scores) and set(report.seeds) <= scores.keys(),
            mean=mean(list(scores.values())),
            deviation=deviation(list(scores.values())),
            difference=mean(differences := differences_to(reference, scores)),
            difference_deviation=deviation(differences),
            peak=peak,
            peak_ratio=ratio(peak, reference_peak),
            inference_ratio=ratio(peak, inference_peak),
            step_seconds=middle(cell.value("step_seconds") for cell in mine),
            train_seconds=middle(cell.value("train_seconds") for cell in mine),
            trainable=middle(cell.value("trainable_parameters") for cell in mine),
            active_share=middle(cell.value("active_share") for cell in mine),
            learning_rates=tuple(sorted({c.learning_rate for c in mine if c.learning_rate is not None})),
        )
        entries.append(_with_time(entry, report))
    return with_front(entries)


def with_front(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the entries with the members of the front marked; only complete ones can be members."""
    entries = tuple(entries)
    complete = [entry for entry in entries if entry.complete and entry.peak is not None]
    members = front({e.method: (e.better * e.mean, e.peak or 0.0) for e in complete if e.mean is not None})
    return tuple(replace(entry, on_front=entry.method in members) for entry in entries)


def middle(values: Iterable[float | None]) -> float | None:
    """Return the median of the numbers that are there, None if there are none."""
    found = [value for value in values if value is not None]
    return statistics.median(found) if found else None


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation (n - 1), None for fewer than two numbers."""
    return statistics.stdev(values) if len(values) > 1 else None


def differences_to(reference: Mapping[int | None, float], scores: Mapping[int | None, float]) -> list[float]:
    """Return scores minus the reference's, for each seed that both have."""
    return [scores[seed] - reference[seed] for seed in scores if seed in reference]


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, None of no numbers."""
    return statistics.fmean(values) if values else None


def ratio(value: float | None, base: float | None) -> float | None:
    """Return `value / base` where both are there and the base is not 0."""
    return value / base if value is not None and base else None


def _cells(report: Report, task: str, method: str) -> list[Record]:
    return [cell for cell in report.cells if (cell.task, cell.method) == (task, method) and cell.finished]


def _by_seed(cells: Iterable[Record]) -> dict[int | None, float]:
    return {cell.seed: cell.score for cell in cells if cell.score is not None}


def _with_time(entry: Entry, report: Report) -> Entry:
    if entry.method == report.reference:
        return replace(entry, time_ratio=1.0)
    record = report.one("time", entry.task, entry.method)
    if record is None:
        return entry
    ratio, base = record.value("ratio"), record.train_info.get("reference")
    if base not in (None, report.reference):
        return entry if ratio is None else replace(entry, other_time=(str(base), ratio))
    bounds = record.train_info.get("ratio_quartiles")
    pair = [number(bound) for bound in bounds] if isinstance(bounds, list) else []
    low, high = pair if len(pair) == 2 else (None, None)
    quartiles = (low, high) if low is not None and high is not None else None
    return replace(entry, time_ratio=ratio, quartiles=quartiles)
