"""The result in a sentence, and what a reader should know before the first chart."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from frostline.report.document import Name, Paragraph, Text, listed
from frostline.report.means import MEAN
from frostline.report.numbers import count, difference, mebibytes, points, seconds, share, times
from frostline.report.study import Study
from frostline.report.summary import Entry
from frostline.report.values import OUT_OF_MEMORY, Record

CLOSE = 0.01  # a method within one point of the reference counts as close to it
_STATES = {
    "running": "This run is still going, or was killed",
    "interrupted": "This run was stopped",
    "stopped": "This run was stopped",
    "trainingdiverged": "This run diverged",
}


def headline(study: Study) -> Text:
    """Return the result in a sentence."""
    if study.report.single:
        return _of_run(study, study.report.records[0])
    if not study.finished:
        return "No cell has finished yet: there is nothing to compare."
    entries = [entry for entry in study.main if entry.complete]
    if not entries:
        return "No method has a score for all its seeds yet: there is nothing to compare."
    partial = len(study.report.methods) > len(entries)
    scope = () if entries[0].task == MEAN or len(study.report.tasks) < 2 else (" on ", Name(entries[0].task))
    if len(entries) == 1:
        (only,) = entries
        who = ("Only ", Name(only.method), " has a score for all its seeds") if partial else (Name(only.method),)
        return (*who, *scope, f": {_score(only, only.mean)}{_at(only)}.")
    members = [entry for entry in entries if entry.on_front]
    opening = f"Of {count(len(entries), 'method')}{' with all their seeds' if partial else ''}, "
    opening += f"{len(members)} {'is' if len(members) == 1 else 'are'} on the front"
    reference = next((entry for entry in entries if entry.method == study.report.reference), None)
    return (opening, *scope, "; ", *_closest(entries, reference, partial))


def _at(entry: Entry) -> str:
    return f" at {mebibytes(entry.peak)}" if entry.peak is not None else ""


def _closest(entries: Sequence[Entry], reference: Entry | None, partial: bool) -> tuple[str, ...]:
    """Return what there is to say of the lightest method that is close to the reference."""
    if reference is None:
        best = max(entries, key=lambda entry: entry.better * (entry.mean or 0))
        among = "of these, " if partial else ""
        return (among, Name(best.method), f" scores best, {_score(best, best.mean)}{_at(best)}.")
    others = [entry for entry in entries if entry is not reference]
    lighter = [e for e in others if e.peak_ratio is not None and e.peak_ratio < 1 and e.difference is not None]
    if not lighter and any(entry.peak_ratio is None for entry in others):
        return ("not all have figures of memory beside ", Name(reference.method), "'s.")
    if not lighter:
        return ("none of them needs less memory than ", Name(reference.method), ".")
    close = [entry for entry in lighter if entry.unit == 100 and (entry.difference or 0) >= -CLOSE]
    if close:
        chosen = min(close, key=lambda entry: entry.peak or 0)
    else:
        chosen = max(lighter, key=lambda entry: entry.better * (entry.difference or 0))
    gap = chosen.better * (chosen.difference or 0)
    size = _score(chosen, abs(gap))
    spread = chosen.difference_deviation
    if spread is not None and abs(gap) < spread:
        told = f"{difference(chosen.difference, unit=chosen.unit)} ± {points(spread, unit=chosen.unit)} {_unit(chosen)}"
        like = (Name(chosen.method), " scores like ", Name(reference.method))
        return (*like, f", {told} between seeds, at {times(chosen.peak_ratio)} its memory.")
    if not float(points(abs(gap), unit=chosen.unit)):
        relation = " equals the score of "
    elif gap > 0:
        relation = f" is {size} better than "
    else:
        relation = f" comes within {size} of " if close else f" comes closest with less memory, {size} worse than "
    return (Name(chosen.method), relation, Name(reference.method), f" at {times(chosen.peak_ratio)} its memory.")


def _score(entry: Entry, value: float | None) -> str:
    text = points(value, unit=entry.unit)
    return f"{text} {'point' if entry.unit == 100 and text == '1.0' else _unit(entry)}"


def _unit(entry: Entry) -> str:
    return "points" if entry.unit == 100 else f"in {entry.metric}"


def _of_run(study: Study, record: Record) -> Text:
    method, task = Name(record.method), Name(record.task)
    if not record.finished:
        state = _STATES.get(record.status, "This run failed")
        so_far = count(len(study.report.steps[record.name].losses), "step") if record.name in study.report.steps else ""
        end = f", after {so_far}." if so_far else "."
        return (method, " on ", task, f". {state}{end}", *((" ", Name(record.reason)) if record.reason else ()))
    shown = points(record.score, unit=record.unit) + (" points" if record.unit == 100 else "")
    score = f" reached {shown} (" if record.score is not None else " finished ("
    peak = study.report.peak(record)
    memory = f", with a {study.report.peak_name} of {mebibytes(peak)}" if peak is not None else ""
    return (method, score, Name(record.metric), ") on ", task, memory, ".")


def progress(study: Study) -> str:
    """Return `12 of 40 cells finished`, with what became of the others."""
    report = study.report
    expected = max(len(report.expected.get("cell", ())), len(report.cells))
    failed = [cell for cell in report.cells if not cell.finished]
    memory = sum(cell.status == OUT_OF_MEMORY for cell in failed)
    text = f"{len(study.finished):,} of {count(expected, 'cell')} finished"
    for number, what in ((len(failed) - memory, "failed"), (memory, "out of memory")):
        text += f", {number:,} {what}" if number else ""
    return text


def lead(study: Study) -> tuple[Paragraph, ...]:
    """Return the paragraphs between the headline and the first section."""
    report = study.report
    found: list[Paragraph] = []
    if report.caption:
        found.append(Paragraph((Name(report.caption),)))
    if report.single:
        return tuple(found)
    if set(report.absent).intersection(report.expected.get("cell", ())):
        text: Text = f"{progress(study)}. The rest is still to come; this report shows what is there."
        found.append(Paragraph(text, "warning"))
    if report.left_out:
        text = f"{count(len(report.left_out), 'file')} could not be used; “Files left out” says which, and why."
        found.append(Paragraph(text, "warning"))
    deviations = [entry.deviation for entry in study.main if entry.deviation is not None and entry.unit == 100]
    if deviations and statistics.median(deviations) >= 0.0005:  # 0.1 points, as it is shown
        text = (
            f"A method's score varies by {points(statistics.median(deviations))} points between seeds (the median of "
            "the standard deviations). A difference of that size says nothing."
        )
        found.append(Paragraph(text))
    partial = [m for m in report.methods if study.means and m not in {entry.method for entry in study.means}]
    if partial:
        text = ("Not in the mean over tasks, for want of a seed on some task: ", *listed(partial), ".")
        found.append(Paragraph(text))
    return tuple(found)


def facts(study: Study) -> tuple[tuple[str, Text], ...]:
    """Return a handful of (what, value)."""
    report = study.report
    if not report.single:
        return (
            ("cells", progress(study)),
            ("tasks", listed(report.tasks)),
            ("methods", f"{len(report.methods):,}"),
            ("seeds", ", ".join(str(seed) for seed in report.seeds) or "–"),
            ("reference", (Name(report.reference),) if report.reference else "none"),
        )
    record = report.records[0]
    values: list[tuple[str, Text]] = [
        ("status", (Name(record.status),)),
        (report.peak_name, mebibytes(report.peak(record))),
        ("a step", seconds(record.value("step_seconds"))),
        ("training took", seconds(record.value("train_seconds"))),
        ("active at a step", share(record.value("active_share"))),
    ]
    return tuple((what, value) for what, value in values if value != "–")
