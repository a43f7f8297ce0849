"""The charts of scores and costs with their titles and descriptions, from a study."""

from __future__ import annotations

from collections.abc import Sequence

from frostline.report import numbers as n
from frostline.report.charts.bars import Stack, memory_bars, time_bars
from frostline.report.charts.scatter import drawable, scatter
from frostline.report.document import Figure, Gallery, Legend, Name, Text, listed
from frostline.report.means import MEAN
from frostline.report.study import Study
from frostline.report.summary import Entry, middle
from frostline.report.values import INFERENCE, Report, mapping, number

PARTS = ("weights", "gradients", "optimizer", "saved", "other")
PART_NAMES = (
    "weights",
    "gradients",
    "optimizer state",
    "saved activations",
    "other tensors",
    "rest, up to the peak",
)


OTHER_PEAKS = ("peak of tensors", "saved activations at most", "CUDA allocated", "CUDA reserved")


def other_peaks(report: Report, task: str, method: str) -> tuple[float | None, ...]:
    """Return the bytes of `OTHER_PEAKS`: of the memory record, and on a GPU the medians over the cells."""
    record = report.one("memory", task, method)
    tracked = [record.memory(key) if record else None for key in ("tensor_peak", "saved_activations")]
    cells = [cell for cell in report.cells if (cell.task, cell.method) == (task, method) and cell.finished]
    return (*tracked, *(middle(cell.memory(key) for cell in cells) for key in ("cuda_allocated", "cuda_reserved")))


def memory_legend() -> Legend:
    """Return what the colours of the memory bars mean."""
    return Legend(tuple((f"part-{index}", words) for index, words in enumerate(PART_NAMES, 1)))


def main_scatter(study: Study, scope: str, entries: Sequence[Entry]) -> Figure | None:
    """Return the large chart of score against peak, with names on wide screens and numbers on narrow ones."""
    found = drawable(entries)
    if not found:
        return None
    name, reference, peak = "scatter-main", study.report.reference, study.report.peak_name
    drawings = (
        scatter(f"{name}-wide", found, reference, peak, shown="wide"),
        scatter(f"{name}-narrow", found, reference, peak, study.numbers, shown="narrow"),
    )
    return Figure(name, _subject(f"Score against {study.report.peak_name}", scope), _front_in_words(found), drawings)


def task_scatters(study: Study, tasks: Sequence[str]) -> tuple[Figure, ...]:
    """Return a small chart of score against peak for each task."""
    figures = []
    for index, task in enumerate(tasks):
        if found := drawable(study.entries[task]):
            name = f"scatter-{index}"
            drawing = scatter(name, found, study.report.reference, study.report.peak_name, study.numbers)
            figures.append(Figure(name, (Name(task),), _front_in_words(found), (drawing,)))
    return tuple(figures)


def memory_figures(study: Study) -> tuple[Figure, ...]:
    """Return a chart of stacked memory for each task."""
    figures = []
    for index, task in enumerate(study.report.tasks):
        stacks = [stack for stack in stacks_of(study, task) if stack.top]
        if not stacks:
            continue
        inference = study.report.one("memory", task, INFERENCE)
        peak = study.report.peak(inference)
        name = f"memory-{index}"
        least, most = min(stacks, key=lambda s: s.top), max(stacks, key=lambda s: s.top)
        words: Text = ("A bar for each method, from ", Name(least.method), f" with {n.mebibytes(least.top)} to ")
        words = (*words, Name(most.method), f" with {n.mebibytes(most.top)}. The table below has the numbers.")
        figures.append(Figure(name, (Name(task),), words, (memory_bars(name, stacks, peak),)))
    return tuple(figures)


def stacks_of(study: Study, task: str) -> list[Stack]:
    """Return each method's memory on a task, in the report's order."""
    report = study.report
    peaks = {entry.method: entry.peak for entry in study.entries[task]}
    stacks = []
    for method in report.methods:
        record = report.one("memory", task, method)
        split = mapping(mapping(record.train_info.get("memory")).get("at_tensor_peak")) if record else {}
        sizes = [number(split.get(part)) for part in PARTS]
        parts = tuple(size or 0.0 for size in sizes) if any(size is not None for size in sizes) else None
        peak = peaks.get(method) or report.peak(record)
        stacks.append(Stack(method, parts, peak))
    return stacks


def time_figures(study: Study) -> tuple[Figure, ...]:
    """Return a chart of paired step times for each task that has some."""
    figures, reference = [], study.report.reference or "the reference"
    for index, task in enumerate(study.report.tasks):
        timed = [e for e in study.entries[task] if e.time_ratio is not None and e.method != study.report.reference]
        if not timed:
            continue
        rows = [(entry.method, entry.time_ratio or 0.0, entry.quartiles) for entry in timed]
        fastest, slowest = min(rows, key=lambda row: row[1]), max(rows, key=lambda row: row[1])
        words: Text = ("Step time of ", Name(fastest[0]), f": {n.times(fastest[1])} that of ", Name(reference), ".")
        if len(rows) > 1:
            words = ("Step times from ", Name(fastest[0]), f" with {n.times(fastest[1])} to ", Name(slowest[0]))
            words = (*words, f" with {n.times(slowest[1])} that of ", Name(reference), ".")
        name = f"time-{index}"
        figures.append(Figure(name, (Name(task),), words, (time_bars(name, rows, reference),)))
    return tuple(figures)


def key(study: Study, entries: Sequence[Entry]) -> tuple[tuple[int, Name], ...]:
    """Return what the numbers in small charts stand for."""
    there = {entry.method for entry in entries}
    return tuple((number, Name(method)) for method, number in study.numbers.items() if method in there)


def gallery(figures: Sequence[Figure], minimum: int) -> tuple[Gallery, ...]:
    """Return the figures side by side, nothing if there are none."""
    return (Gallery(tuple(figures), minimum),) if figures else ()


def _subject(what: str, scope: str) -> Text:
    return f"{what}, {MEAN}" if scope == MEAN else (f"{what}: ", Name(scope))


def _front_in_words(entries: Sequence[Entry]) -> Text:
    members = sorted((e for e in entries if e.on_front), key=lambda e: e.peak or 0)
    opening = f"{n.count(len(entries), 'point')}, peak to the right and score upwards."
    if not members:
        return f"{opening} No method has all its seeds, so there is no front."
    return (f"{opening} On the front, from the least memory: ", *listed([entry.method for entry in members]), ".")
