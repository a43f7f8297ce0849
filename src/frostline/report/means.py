"""The mean over the tasks of a comparison, for the methods that have every seed of every task."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from frostline.report.summary import Entry, deviation, differences_to, mean, middle, ratio, with_front
from frostline.report.values import ERRORS, Report

MEAN = "mean over tasks"


def over_tasks(report: Report, entries: Mapping[str, tuple[Entry, ...]]) -> tuple[Entry, ...]:
    """Return an entry for each method that is complete on all tasks; nothing for a single task, or for errors.

    The score of a seed is its mean over the tasks, and mean and deviation are over those. The peak is the mean of the
    tasks' peaks, its ratios are of such means; time ratios, and those to inference, are averaged as ratios are, by the
    geometric mean, over the tasks of which any method has one (`measured_tasks` may leave some out).
    """
    metrics = {entry.metric for found in entries.values() for entry in found}
    if len(report.tasks) < 2 or not report.seeds or metrics & ERRORS:
        return ()
    complete = {
        method: found
        for method in report.methods
        if len(found := [e for task in report.tasks for e in entries[task] if e.method == method and e.complete])
        == len(report.tasks)
    }
    reference = complete.get(report.reference or "")
    rivals = [entry for found in entries.values() for entry in found if entry.method != report.reference]
    timed = {entry.task for entry in rivals if entry.time_ratio is not None}
    inferred = {entry.task for found in entries.values() for entry in found if entry.inference_ratio is not None}
    averaged = []
    for method, found in complete.items():
        scores: dict[int | None, float] = {
            seed: statistics.fmean(entry.scores[seed] for entry in found) for seed in report.seeds
        }
        base: dict[int | None, float] = {
            seed: statistics.fmean(entry.scores[seed] for entry in reference or found) for seed in report.seeds
        }
        differences = differences_to(base, scores) if reference else []
        peaks = [entry.peak for entry in found if entry.peak is not None]
        peak = statistics.fmean(peaks) if len(peaks) == len(found) else None
        averaged.append(
            Entry(
                task=MEAN,
                method=method,
                metric="mean of the tasks' metrics",
                scores=scores,
                complete=True,
                mean=statistics.fmean(scores.values()),
                deviation=deviation(list(scores.values())),
                difference=mean(differences),
                difference_deviation=deviation(differences),
                peak=peak,
                peak_ratio=ratio(peak, _mean_peak(reference)),
                inference_ratio=_mean_ratio([entry.inference_ratio for entry in found if entry.task in inferred]),
                time_ratio=_mean_ratio([entry.time_ratio for entry in found if entry.task in timed]),
                trainable=middle(entry.trainable for entry in found),
                active_share=middle(entry.active_share for entry in found),
            )
        )
    return with_front(averaged)


def _mean_peak(entries: list[Entry] | None) -> float | None:
    peaks = [entry.peak for entry in entries or () if entry.peak is not None]
    return statistics.fmean(peaks) if entries and len(peaks) == len(entries) else None


def _mean_ratio(ratios: list[float | None]) -> float | None:
    found = [value for value in ratios if value is not None and value > 0]
    return statistics.geometric_mean(found) if found and len(found) == len(ratios) else None
