"""The tables: results per task, seed by seed, learning rates, what failed and what was left out."""

from __future__ import annotations

from collections.abc import Sequence

from frostline.report import numbers as n
from frostline.report.document import Cell, Column, Name, Table
from frostline.report.means import MEAN
from frostline.report.study import Study
from frostline.report.summary import Entry
from frostline.report.values import LeftOut, Record

FRONT = "◆"
_NUMBER = Column("#")
_METHOD = Column("method", numeric=False)


def results(study: Study, scope: str, entries: Sequence[Entry], name: str) -> Table:
    """Return a row for each method: score, memory, time, size. Columns that nobody has a value for are left out."""
    report = study.report
    candidates: list[tuple[Column, list[Cell]]] = [
        (_NUMBER, [Cell(str(study.numbers[e.method]), study.numbers[e.method]) for e in entries]),
        (_METHOD, [Cell((Name(e.method),), e.method, strong=e.on_front) for e in entries]),
        (Column("front", numeric=False), [Cell(FRONT if e.on_front else "", not e.on_front) for e in entries]),
        (Column("score"), [Cell(n.spread(e.mean, e.deviation, unit=e.unit), e.mean, e.on_front) for e in entries]),
        (Column("against reference"), [_difference(e, report.reference) for e in entries]),
        (Column("seeds"), _seeds(entries, report.seeds)),
        (Column(f"{report.peak_name}, MiB"), [Cell(n.mebibytes(e.peak, ""), e.peak) for e in entries]),
        (Column("peak / reference"), [Cell(n.times(e.peak_ratio), e.peak_ratio) for e in entries]),
        (Column("peak / inference"), [Cell(n.times(e.inference_ratio), e.inference_ratio) for e in entries]),
        (Column("step time / reference"), [_time(e) for e in entries]),
        (Column("training took"), [Cell(n.seconds(e.train_seconds), e.train_seconds) for e in entries]),
        (Column("trainable"), [Cell(n.millions(e.trainable), e.trainable) for e in entries]),
        (Column("active share"), [Cell(n.share(e.active_share), e.active_share) for e in entries]),
        (Column("learning rate"), [_rates(e) for e in entries]),
    ]
    if report.single:
        candidates = [pair for pair in candidates if pair[0].title not in ("#", "front")]
    kept = [(column, cells) for column, cells in candidates if any(cell.text not in ("", n.DASH) for cell in cells)]
    metric = entries[0].metric
    subject = (f"Mean over tasks: {metric}",) if scope == MEAN else (Name(scope), ": ", Name(metric))
    spread = " ± standard deviation over seeds" if any(e.deviation is not None for e in entries) else ""
    text = f"{_unit(entries[0])}{spread}. Peaks and times are medians over the seeds."
    if scope == MEAN:
        text = f", in points out of 100{spread}. Peaks are means of the tasks' peaks, time ratios geometric means."
    if report.single:
        text = f"{_unit(entries[0])}."
    rivals = "other method" if all(e.complete for e in entries) else "other method with all its seeds"
    marks = "" if report.single else f" {FRONT}: no {rivals} scores higher with less memory."
    return _table(name, (*subject, text + marks), kept)


def by_seed(study: Study, task: str, name: str) -> Table:
    """Return every score of a task on its own."""
    seeds, entries = study.report.seeds, study.entries[task]
    rows = []
    for e in entries:
        values = [*(e.scores.get(seed) for seed in seeds), e.mean, e.deviation]
        cells = [Cell(n.points(value, 2, e.unit), value) for value in values]
        rows.append((Cell(str(study.numbers[e.method])), Cell((Name(e.method),), e.method), *cells))
    columns = (_NUMBER, _METHOD, *(Column(f"seed {seed}") for seed in seeds), Column("mean"), Column("deviation"))
    caption = (Name(task), ": ", Name(entries[0].metric), f"{_unit(entries[0])}. The deviation is that of a sample.")
    return Table(name, caption, columns, tuple(rows))


def trials(study: Study, task: str, name: str) -> Table | None:
    """Return the scores of the runs that chose a task's learning rates; None if there were none."""
    found: dict[str, dict[float, Record]] = {}
    for record in study.report.of("trial"):
        if record.task == task and record.learning_rate is not None:
            found.setdefault(record.method, {})[record.learning_rate] = record
    if not found:
        return None
    rates = sorted({rate for records in found.values() for rate in records})
    chosen = {entry.method: entry.learning_rates for entry in study.entries[task]}
    rows = []
    for method, number in study.numbers.items():
        if records := found.get(method):
            cells = [_trial(records.get(rate), rate in chosen.get(method, ())) for rate in rates]
            rows.append((Cell(str(number)), Cell((Name(method),), method), *cells))
    columns = (_NUMBER, _METHOD, *(Column(n.rate(rate)) for rate in rates))
    caption = (Name(task), ": score on a part of the training data that these runs did not train on. ✓: chosen.")
    return Table(name, caption, columns, tuple(rows))


def failures(records: Sequence[Record], name: str) -> Table:
    """Return the records that did not come to their end, with the reason."""
    rows = [
        (
            Cell((Name(record.name),), record.name),
            Cell(record.kind, record.kind),
            Cell((Name(record.status.replace("_", " ")),), record.status),
            Cell((Name(record.reason),) if record.reason else "no reason is on record"),
        )
        for record in records
    ]
    columns = (Column("record", False), Column("kind", False), Column("status", False), Column("reason", False, True))
    return Table(name, f"{n.count(len(rows), 'record')} without a result.", columns, tuple(rows))


def left_out(files: Sequence[LeftOut], name: str, caption: str) -> Table:
    """Return files with the reason why the report does without them."""
    rows = [(Cell((Name(file.name),), file.name), Cell((Name(file.reason),))) for file in files]
    return Table(name, caption, (Column("file", False, True), Column("reason", False, True)), tuple(rows))


def _table(name: str, caption: tuple[str, ...], columns: Sequence[tuple[Column, list[Cell]]]) -> Table:
    rows = tuple(zip(*(cells for _, cells in columns), strict=True))
    return Table(name, caption, tuple(column for column, _ in columns), rows)


def _difference(entry: Entry, reference: str | None) -> Cell:
    if entry.method == reference:
        return Cell("reference", 0.0)
    return Cell(n.difference(entry.difference, unit=entry.unit), entry.difference)


def _time(entry: Entry) -> Cell:
    if entry.other_time is None:
        return Cell(n.times(entry.time_ratio), entry.time_ratio)
    row, ratio = entry.other_time
    return Cell((f"{n.times(ratio)} that of ", Name(row)), ratio)


def _seeds(entries: Sequence[Entry], seeds: Sequence[int]) -> list[Cell]:
    """Return how many seeds each method has; dashes where all have all."""
    if all(entry.complete for entry in entries):
        return [Cell(n.DASH)] * len(entries)
    return [Cell(f"{len(entry.scores)} of {len(seeds)}", len(entry.scores)) for entry in entries]


def _unit(entry: Entry) -> str:
    return ", in points out of 100" if entry.unit == 100 else " (less is better)"


def _rates(entry: Entry) -> Cell:
    rates = entry.learning_rates
    return Cell(", ".join(n.rate(rate) for rate in rates) or n.DASH, rates[0] if rates else None)


def _trial(record: Record | None, chosen: bool) -> Cell:
    if record is None:
        return Cell(n.DASH)
    if not record.finished:
        return Cell(record.status.replace("_", " "))
    text = n.points(record.score, unit=record.unit)
    return Cell(f"{text} ✓" if chosen else text, record.score, strong=chosen)
