"""The tables of every folder that holds a comparison: its scores, and its costs."""

from __future__ import annotations

from pathlib import Path

from table import Table

from frostline.report import numbers
from frostline.report.reading import read
from frostline.report.study import Study, study


def comparison(folder: Path) -> Study:
    """Return the comparison in the results of a benchmark's folder."""
    return study(read(folder / "results"))


def scores(folder: Path) -> Table:
    """Score of every method on every task, mean and deviation over the seeds in points, and the mean over the tasks."""
    found = comparison(folder)
    means = {entry.method: entry for entry in found.means}
    rows = []
    for method in found.report.methods:
        cells = []
        for task in found.report.tasks:
            entry = next((e for e in found.entries[task] if e.method == method), None)
            text = numbers.spread(entry.mean, entry.deviation, unit=entry.unit) if entry else numbers.DASH
            seeds = "" if entry is None or entry.complete else f" ({numbers.count(len(entry.scores), 'seed')})"
            cells.append(text + seeds)
        mean = means.get(method)
        row = [method, *cells]
        if len(found.report.tasks) > 1:
            row.append(numbers.spread(mean.mean, mean.deviation) if mean else numbers.DASH)
            row.append(numbers.difference(mean.difference if mean else None))
        rows.append(row)
    head = ["method", *found.report.tasks]
    if len(found.report.tasks) > 1:
        head += ["mean", f"to {found.report.reference}"]
    return Table(head, rows, _caption(found))


def costs(folder: Path) -> Table:
    """Memory and time of every method; of several tasks their means, of those methods that have all of every task.

    Tensors and saved activations are those of the task with the most.
    """
    found = comparison(folder)
    report = found.report
    shown = found.means if len(report.tasks) > 1 else [entry for task in report.tasks for entry in found.entries[task]]
    entries = {entry.method: entry for entry in shown}
    rows = []
    for method in report.methods:
        entry = entries.get(method)
        memory = [record for record in report.of("memory") if record.method == method and record.finished]
        largest = max(memory, key=lambda record: record.memory("tensor_peak") or 0, default=None)
        rows.append(
            [
                method,
                numbers.times(entry.peak_ratio if entry else None),
                numbers.times(entry.inference_ratio if entry else None),
                numbers.mebibytes(largest.memory("tensor_peak") if largest else None),
                numbers.mebibytes(largest.memory("saved_activations") if largest else None),
                numbers.times(entry.time_ratio if entry else None),
                numbers.share(entry.active_share if entry else None),
            ]
        )
    reference = report.reference or "the first"
    head = ["method", f"process peak / {reference}", "/ inference", "tensors", "saved", "step time", "trains at a step"]
    return Table(head, rows, _caption(found))


TABLES = {"scores": scores, "costs": costs}


def _caption(found: Study) -> str:
    done, asked = len(found.finished), len(found.report.expected.get("cell", ())) or len(found.report.cells)
    notes = [found.report.caption or ""]
    if done < asked:
        notes.append(f"{done} of {asked} cells are finished.")
    return " ".join(note for note in notes if note)
