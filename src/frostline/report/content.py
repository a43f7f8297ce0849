"""The sections of the report, in order. One without content is left out."""

from __future__ import annotations

from collections.abc import Callable

from frostline import __version__
from frostline.report import budgets, figures, histories, numbers, settings, tables, words
from frostline.report.document import (
    Block,
    Cell,
    Column,
    Commands,
    Details,
    Document,
    Name,
    Paragraph,
    Section,
    Table,
    Text,
)
from frostline.report.provenance import disagreements, provenance
from frostline.report.study import Study
from frostline.report.values import LeftOut

_SAVED = "Weights to other tensors: at the moment when the tensors of a step take the most room. "


def document(study: Study) -> Document:
    """Return the report of a study."""
    made = [Section(name, title, blocks) for name, title, build in _SECTIONS if (blocks := build(study))]
    return Document(
        title=Name(study.report.name),
        kind="Run" if study.report.single else "Comparison",
        headline=words.headline(study),
        lead=(*words.lead(study), *disagreements(study.report)),
        facts=words.facts(study),
        sections=tuple(made),
        version=__version__,
    )


def _scores(study: Study) -> tuple[Block, ...]:
    blocks: list[Block] = []
    if study.report.single or not study.scopes:
        return tuple(tables.results(study, scope, entries, "results") for scope, entries in study.scopes)
    scope, entries = next((s for s in study.scopes if s[1] == study.main), study.scopes[0])
    if chart := figures.main_scatter(study, scope, entries):
        note = "◆ and bold: on the front, where nobody scores higher with less memory. ■: the reference. "
        note += "Lines through the points: ± a standard deviation over seeds. Best is up and to the left."
        blocks += [chart, Paragraph(note, "note")]
    others = figures.task_scatters(study, [task for task, _ in study.scopes if task in study.entries and task != scope])
    gallery = figures.gallery(others, 320)
    blocks += gallery
    if gallery or blocks:
        blocks.append(_key(study))
    for index, (name, found) in enumerate(study.scopes):
        blocks.append(tables.results(study, name, found, f"results-{index}"))
    return tuple(blocks)


def _key(study: Study) -> Block:
    entries = [entry for found in study.entries.values() for entry in found]
    lines: list[str] = []
    for number, method in figures.key(study, entries):
        lines += [f"{number}\u00a0", method, " · "]
    return Paragraph(("Numbers in the charts: ", *lines[:-1]), "key")


def _memory(study: Study) -> tuple[Block, ...]:
    charts = figures.memory_figures(study)
    if not charts or study.report.single:
        return ()
    whole = "what torch's allocator" if study.report.on_gpu else "what the process"
    note = f"{_SAVED}Rest: {whole} held beyond them at its own peak, in training."
    columns = [Column("task", False), Column("method", False)]
    columns += [Column(f"{part}, MiB") for part in (*figures.PART_NAMES, study.report.peak_name, *figures.OTHER_PEAKS)]
    rows = []
    for task in study.report.tasks:
        for stack in (stack for stack in figures.stacks_of(study, task) if stack.top):
            sizes = (*(stack.parts or (None,) * 5), stack.rest if stack.peak and stack.parts else None, stack.peak)
            sizes += figures.other_peaks(study.report, task, stack.method)
            cells = [Cell(numbers.mebibytes(size, ""), size) for size in sizes]
            rows.append((Cell((Name(task),), task), Cell((Name(stack.method),), stack.method), *cells))
    there = [place for place in range(len(columns)) if any(row[place].text != numbers.DASH for row in rows)]
    caption = "The parts are those at the peak of the tensors. Peaks of the process are medians over the seeds."
    kept = (tuple(columns[place] for place in there), tuple(tuple(row[place] for place in there) for row in rows))
    table = Table("memory-table", caption, *kept)
    return (
        Paragraph(note),
        figures.memory_legend(),
        *figures.gallery(charts, 400),
        Details("The numbers", (table,)),
    )


def _time(study: Study) -> tuple[Block, ...]:
    charts = figures.time_figures(study)
    if not charts:
        return ()
    note = "Steps of a method and of the reference took turns on the same batches; the bar is the median of the "
    note += "ratios of such pairs, the line across its end spans the quartiles."
    return (Paragraph(note), *figures.gallery(charts, 400))


def _activity(study: Study) -> tuple[Block, ...]:
    blocks = histories.active_units(study)
    note = "Units from the embeddings (top) to the head (bottom), steps from left to right. The stronger the colour, "
    note += "the more of a column's steps the unit trained at. Units that never trained are not shown."
    has_maps = any(not isinstance(block, Paragraph) for block in blocks)
    return (Paragraph(note), *blocks) if has_maps else blocks


def _losses(study: Study) -> tuple[Block, ...]:
    blocks = histories.losses(study)
    note = "Training loss, smoothed over a tenth of the run; the steps themselves are the faint line."
    if study.report.reference and not study.report.single:
        note = "Training loss, smoothed over a tenth of the run, a line a seed; the steps of the first seed are the "
        note += "faint line behind, the reference is dashed. One scale for all panels of a task."
    return (Paragraph(note), *blocks) if blocks else ()


def _settings(study: Study) -> tuple[Block, ...]:
    found = settings.in_words(study.report)
    common = settings.training(study.report)
    cell = settings.example(study.report)
    title: Text = "Every key of this run"
    if not study.report.single and cell is not None:
        title = ("Every key of ", Name(cell.name))
    blocks: list[Block] = [found] if found.entries else []
    return (*blocks, Details(title, (common,))) if common.entries else tuple(blocks)


def _seeds(study: Study) -> tuple[Block, ...]:
    tasks = [] if study.report.single else [task for task, entries in study.entries.items() if entries]
    made = [(task, (tables.by_seed(study, task, f"seeds-{index}"),)) for index, task in enumerate(tasks)]
    return histories.by_task(made)


def _trials(study: Study) -> tuple[Block, ...]:
    made = [(t, tables.trials(study, t, f"trials-{index}")) for index, t in enumerate(study.report.tasks)]
    return histories.by_task([(task, (table,)) for task, table in made if table])


def _failures(study: Study) -> tuple[Block, ...]:
    if study.report.single or not study.not_finished:
        return ()
    return (tables.failures(study.not_finished, "failure-table"),)


def _left_out(study: Study) -> tuple[Block, ...]:
    files, absent = study.report.left_out, study.report.absent
    blocks: list[Block] = []
    if files:
        text = f"{numbers.count(len(files), 'file')} that could not be used."
        blocks.append(tables.left_out(files, "left-out-table", text))
    if absent:
        rows = [LeftOut(f"{name}.json", "it is not there: not made yet, or removed") for name in absent]
        text = f"{numbers.count(len(rows), 'record')} of the plan that {'is' if len(rows) == 1 else 'are'} not there."
        table = tables.left_out(rows, "absent-table", text)
        blocks.append(table if len(rows) <= 12 else Details(text, (table,)))
    return tuple(blocks)


def _rerun(study: Study) -> tuple[Block, ...]:
    records = [record for record in study.report.records if record.command]
    if study.report.single:
        return (Commands(tuple((Name(record.name), record.command) for record in records)),) if records else ()
    blocks: list[Block] = []
    for task in study.report.tasks:
        mine = [r for r in records if r.task == task and r.kind == "cell"]
        if mine:
            lines = Commands(tuple((Name(record.name), record.command) for record in mine))
            blocks.append(Details((Name(task), f": {numbers.count(len(mine), 'command')}"), (lines,)))
    return tuple(blocks)


def _provenance(study: Study) -> tuple[Block, ...]:
    return provenance(study.report)


_SECTIONS: tuple[tuple[str, str, Callable[[Study], tuple[Block, ...]]], ...] = (
    ("scores", "Scores and memory", _scores),
    ("memory", "What the memory holds", _memory),
    ("budget", "Within the budget", budgets.within),
    ("time", "Time of a step", _time),
    ("units", "What trained when", _activity),
    ("loss", "Loss", _losses),
    ("methods", "Settings", _settings),
    ("seeds", "Scores seed by seed", _seeds),
    ("trials", "Learning rates tried", _trials),
    ("failures", "Without a result", _failures),
    ("left-out", "Files left out", _left_out),
    ("rerun", "How to run it again", _rerun),
    ("provenance", "Made with", _provenance),
)
