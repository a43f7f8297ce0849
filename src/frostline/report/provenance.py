"""What a report was made with: hardware, versions, and the SHA-256 of data and model. And whether all records agree."""

from __future__ import annotations

from collections.abc import Iterable

from frostline.report.document import Block, Cell, Column, Definitions, Name, Paragraph, Table, Text, listed
from frostline.report.numbers import DASH, count, mebibytes, whole
from frostline.report.values import Record, Report, mapping, number


def disagreements(report: Report) -> list[Paragraph]:
    """Return a warning for everything that should be the same in all records and is not."""
    found = []
    with_meta = [record for record in report.records if record.meta_info]
    for task in report.tasks:
        mine = [record for record in with_meta if record.task == task]
        # Trials have a part of train alone, so the hash of their data is another.
        alike = ([r for r in mine if (r.kind == "trial") == is_trial] for is_trial in (True, False))
        if any(len(_distinct(map(_digest, records))) > 1 for records in alike):
            text: Text = ("The records of ", Name(task), " were not made on the same data: their SHA-256 differ.")
            found.append(Paragraph(text, "warning"))
    if len(_distinct(record.meta_info.get("model_sha256") for record in with_meta)) > 1:
        found.append(Paragraph("Not all records started from the same model: its SHA-256 differs.", "warning"))
    threads = _distinct(record.run_info.get("threads") for record in report.records)
    if len(threads) > 1:
        told = ", ".join(sorted(threads))
        found.append(Paragraph(f"Not all records were made with as many threads ({told}); times differ.", "warning"))
    other = [r for r in with_meta if r.meta_info.get("versions") and r.meta_info["versions"] != report.versions]
    if other and report.versions:
        names = sorted({name for record in other for name in _changed(record, report)})
        text = (f"{count(len(other), 'record')} made with other versions: ", *listed(names), ".")
        found.append(Paragraph(text, "warning"))
    return found


def provenance(report: Report) -> tuple[Block, ...]:
    """Return hardware, conditions, versions and hashes."""
    blocks: list[Block] = []
    lines = [_hardware(str(key), value) for key, value in report.hardware.items()]
    for key, words in (("threads", "threads of a run"), ("jobs", "runs at a time")):
        values = _distinct(record.run_info.get(key) for record in report.records)
        if values:
            lines.append((words, ", ".join(sorted(values))))
    lines += [("started", report.started)] if report.started else []
    if lines:
        blocks.append(Definitions(tuple(((Name(key),), ((Name(value),),)) for key, value in lines)))
    if report.versions:
        versions = tuple((Cell((Name(str(k)),)), Cell((Name(str(v)),))) for k, v in report.versions.items())
        columns = (Column("package", False), Column("version", False))
        blocks.append(Table("versions", "Versions.", columns, versions))
    rows = [row for task in report.tasks for row in _data(report, task)]
    if rows:
        titles = (Column("what", False), Column("train"), Column("validation"), Column("SHA-256", False, True))
        blocks.append(Table("hashes", "Data and model, by the SHA-256 of their content.", titles, tuple(rows)))
    return tuple(blocks)


def _data(report: Report, task: str) -> list[tuple[Cell, ...]]:
    """Return a row for each version of a task's data, and with the first task one for each model."""
    rows: dict[str, tuple[Cell, ...]] = {}
    for record in (r for r in report.records if r.task == task and r.meta_info):
        data = mapping(record.meta_info.get("data"))
        if digest := data.get("sha256"):
            train, validation = number(data.get("train")), number(data.get("validation"))
            counts = (Cell(whole(train), train), Cell(whole(validation), validation))
            rows.setdefault(str(digest), (Cell((Name(task),)), *counts, Cell((Name(str(digest)),))))
    if report.tasks and task == report.tasks[0]:
        for model in sorted(_distinct(record.meta_info.get("model_sha256") for record in report.records)):
            rows[f"model {model}"] = (Cell("model"), Cell(DASH), Cell(DASH), Cell((Name(model),)))
    return list(rows.values())


def _hardware(key: str, value: object) -> tuple[str, str]:
    words = key.removesuffix("_bytes").replace("_", " ")
    if key.endswith("_bytes") and (size := number(value)) is not None:
        return words, mebibytes(size)
    return words, "none" if value is None else str(value)


def _changed(record: Record, report: Report) -> set[str]:
    mine = mapping(record.meta_info.get("versions"))
    return {
        f"{name} {mine.get(name)}" for name in {*mine, *report.versions} if mine.get(name) != report.versions.get(name)
    }


def _digest(record: Record) -> object:
    return mapping(record.meta_info.get("data")).get("sha256")


def _distinct(values: Iterable[object]) -> set[str]:
    return {str(value) for value in values if value is not None}
