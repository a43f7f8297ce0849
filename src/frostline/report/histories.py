"""The charts of what happened step by step: which units were active, and the loss."""

from __future__ import annotations

from collections.abc import Sequence

from frostline.report import numbers as n
from frostline.report.activity import Activity, activity
from frostline.report.charts.heat import heat_map
from frostline.report.charts.loss import limits, loss_panel
from frostline.report.document import Block, Details, Figure, Gallery, Heading, Name, Paragraph, Text, listed
from frostline.report.study import Study
from frostline.report.values import Record, Steps


def active_units(study: Study) -> tuple[Block, ...]:
    """Return the heat maps, task by task; methods whose set of units never changes are named instead."""
    found: list[tuple[str, tuple[Block, ...]]] = []
    report = study.report
    for index, task in enumerate(report.tasks):
        figures: list[Figure] = []
        constant: list[str] = []
        for method in report.methods:
            run = _first(study, task, method)
            if run is None:
                continue
            seen = activity(run[1])
            if not seen.changes:
                constant += [method] if seen.units else []
                continue
            name = f"heat-{index}-{study.numbers[method]}"
            title: Text = (Name(method),) if run[0].seed is None else (Name(method), f", seed {run[0].seed}")
            drawings = tuple(heat_map(f"{name}-{shown}", seen, shown) for shown in _screens(study))
            figures.append(Figure(name, title, _in_words(seen), drawings, _changes(seen)))
        blocks: list[Block] = [Gallery(tuple(figures), 640 if report.single else 320)] if figures else []
        if constant:
            blocks.append(Paragraph(("The same units at every step: ", *listed(constant), ".")))
        if blocks:
            found.append((task, tuple(blocks)))
    return by_task(found)


def losses(study: Study) -> tuple[Block, ...]:
    """Return the loss curves, task by task."""
    found: list[tuple[str, tuple[Block, ...]]] = []
    report = study.report
    for index, task in enumerate(report.tasks):
        runs = {method: _runs(study, task, method) for method in report.methods}
        runs = {method: steps for method, steps in runs.items() if steps}
        if not runs:
            continue
        span = limits([steps for mine in runs.values() for _, steps in mine])
        figures = []
        for method, mine in runs.items():
            name = f"loss-{index}-{study.numbers[method]}"
            base = runs.get(report.reference or "", []) if method != report.reference else []
            behind = base[0][1] if base else None
            steps = [steps for _, steps in mine]
            drawings = tuple(loss_panel(f"{name}-{s}", steps, behind, span, s) for s in _screens(study))
            figures.append(Figure(name, (Name(method),), _ends(mine), drawings))
        found.append((task, (Gallery(tuple(figures), 640 if report.single else 200),)))
    return by_task(found)


def by_task(found: Sequence[tuple[str, tuple[Block, ...]]]) -> tuple[Block, ...]:
    """Return each task's blocks: the first task's in view, those of the others behind a line that opens them."""
    if len(found) < 2:
        return tuple(block for _, blocks in found for block in blocks)
    (first, opening), *others = found
    hidden = tuple(Details((Name(task),), blocks) for task, blocks in others)
    return (Heading((Name(first),)), *opening, *hidden)


def _screens(study: Study) -> tuple[str, ...]:
    """Return which drawings a chart needs: one of many is small on every screen."""
    return ("wide", "narrow") if study.report.single else ("always",)


def _runs(study: Study, task: str, method: str) -> list[tuple[Record, Steps]]:
    report = study.report
    cells = sorted(
        (c for c in report.cells if (c.task, c.method) == (task, method) and c.name in report.steps),
        key=lambda cell: (not cell.finished, -1 if cell.seed is None else cell.seed),
    )
    runs = [(cell, report.steps[cell.name]) for cell in cells if cell.finished or report.single]
    return [(cell, steps) for cell, steps in runs if steps.losses]


def _first(study: Study, task: str, method: str) -> tuple[Record, Steps] | None:
    return next(iter(_runs(study, task, method)), None)


def _changes(seen: Activity) -> str:
    return f"{n.count(len(seen.units), 'unit')} took turns; the set changed {n.count(seen.changes, 'time')}."


def _in_words(seen: Activity) -> Text:
    most = max(range(len(seen.units)), key=lambda index: seen.totals[index])
    least = min(range(len(seen.units)), key=lambda index: seen.totals[index])
    return (
        f"{n.count(len(seen.units), 'unit')} over {n.count(seen.steps, 'step')}. Most often active: ",
        Name(seen.units[most]),
        f", at {n.share(seen.totals[most])} of the steps; least often: ",
        Name(seen.units[least]),
        f", at {n.share(seen.totals[least])}.",
    )


def _ends(runs: list[tuple[Record, Steps]]) -> str:
    losses = [loss for loss in runs[0][1].losses if loss is not None]
    if not losses:
        return "No finite loss."
    tenth = max(1, len(losses) // 10)
    start, end = sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth
    what = "Loss" if len(runs) == 1 else f"Loss of {n.count(len(runs), 'seed')}; that of the first"
    return f"{what} goes from {start:.3f} to {end:.3f} (means of the first and the last tenth of the steps)."
