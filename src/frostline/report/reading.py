"""`read(folder)`: a run folder or a comparison folder as one `Report`. What cannot be used is named, not fatal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from frostline.errors import ReportError
from frostline.report.loading import COMPARISON_FORMAT, Unreadable, clean, load_json, load_record, load_steps
from frostline.report.single import read_run
from frostline.report.values import INFERENCE, LeftOut, Record, Report, Steps, mapping

PLAN = "comparison.json"
_FROM_RECORDS = "the plan is taken from the records"


def read(folder: Path) -> Report:
    """Return what `folder` holds.

    Raises:
        ReportError: it is neither a run folder nor a comparison folder.
    """
    if not folder.is_dir():
        raise ReportError(f"there is no folder {str(folder)!r}; name a run folder or a comparison folder.")
    try:
        if (folder / "run.json").is_file() and not (folder / PLAN).is_file():
            return read_run(folder)
        paths = sorted(path for path in folder.glob("*.json") if path.name != PLAN and path.is_file())
    except OSError as error:
        raise ReportError(f"the folder {str(folder)!r} cannot be read: {error.strerror or error}.") from error
    planned = (folder / PLAN).is_file()
    plan, left_out = _plan(folder) if planned else ({}, [LeftOut(PLAN, f"it is not there; {_FROM_RECORDS}")])
    expected = _expected(plan)
    records, unusable = _records(sorted(paths, key=lambda path: not any(path.stem in e for e in expected.values())))
    left_out = [*unusable, *left_out]
    if not planned and not records:
        raise ReportError(
            f"{str(folder)!r} is neither a run folder (it has no run.json) nor a comparison folder (it has no "
            f"{PLAN} and no record); name the `output` of a `frostline train` or a `frostline compare`."
        )
    report = _assembled(folder, plan, expected, records, {file.name for file in left_out})
    steps, unread = _steps(folder / "steps", report.cells)
    return replace(report, steps=steps, left_out=(*left_out, *unread))


def _plan(folder: Path) -> tuple[Mapping[str, Any], list[LeftOut]]:
    try:
        plan = load_json(folder / PLAN)
        if plan.get("format") != COMPARISON_FORMAT:
            raise Unreadable(f"its format is {plan.get('format')!r}, not {COMPARISON_FORMAT!r}")
    except Unreadable as error:
        return {}, [LeftOut(PLAN, f"{error}; {_FROM_RECORDS}")]
    return plan, []


def _expected(plan: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {
        kind: tuple(name for name in names if isinstance(name, str))
        for kind, names in mapping(plan.get("expected")).items()
        if isinstance(names, list)
    }


def _records(paths: Iterable[Path]) -> tuple[list[Record], list[LeftOut]]:
    records: dict[tuple[object, ...], Record] = {}
    left_out: list[LeftOut] = []
    for path in paths:
        try:
            record = load_record(path)
        except Unreadable as error:
            left_out.append(LeftOut(clean(path.name), str(error)))
            continue
        rate = record.learning_rate if record.kind == "trial" else None
        seed = record.seed if record.kind == "cell" else None
        first = records.setdefault((record.kind, record.task, record.method, seed, rate), record)
        if first is not record:
            left_out.append(LeftOut(clean(path.name), f"it is the same {record.kind} as {first.name}"))
    return list(records.values()), left_out


def _assembled(
    folder: Path,
    plan: Mapping[str, Any],
    expected: Mapping[str, tuple[str, ...]],
    records: list[Record],
    unusable: Set[str],
) -> Report:
    cells = [record for record in records if record.kind == "cell"]
    methods = _ordered(plan.get("methods"), (record.method for record in records if record.method != INFERENCE))
    tasks = _ordered(plan.get("tasks"), (record.task for record in records))
    listed = plan.get("seeds")
    seeds = [seed for seed in listed if isinstance(seed, int)] if isinstance(listed, list) else []
    seeds = sorted({*seeds, *(cell.seed for cell in cells if cell.seed is not None)})
    there = {record.name for record in records}
    first: Mapping[str, Any] = next((record.meta_info for record in records if record.meta_info), {})
    return Report(
        folder=folder,
        single=False,
        name=clean(str(plan.get("name") or folder.resolve().name)),
        caption=str(plan["caption"]) if plan.get("caption") else None,
        started=str(plan["started"]) if plan.get("started") else None,
        reference=_reference(plan, records, methods),
        tasks=tasks,
        methods=methods,
        seeds=tuple(seeds),
        records=tuple(records),
        steps={},
        expected=expected,
        left_out=(),
        absent=tuple(
            name
            for names in expected.values()
            for name in names
            if name not in there and f"{name}.json" not in unusable
        ),
        versions=mapping(plan.get("versions")) or mapping(first.get("versions")),
        hardware=mapping(plan.get("hardware")) or mapping(first.get("hardware")),
        config=mapping(plan.get("config")),
    )


def _ordered(planned: object, found: Iterable[str]) -> tuple[str, ...]:
    """Return the names that the plan lists, in its order, and after them any others that there are records of."""
    listed = [name for name in planned if isinstance(name, str) and name] if isinstance(planned, list) else []
    return tuple(dict.fromkeys([*listed, *found]))


def _reference(plan: Mapping[str, Any], records: list[Record], methods: tuple[str, ...]) -> str | None:
    named = [plan.get("reference")] if plan else [r.train_info.get("reference") for r in records if r.kind == "time"]
    candidates = [name for name in named if name in methods] or ([] if plan else ["full"])
    return next((str(name) for name in candidates if name in methods), None)


def _steps(folder: Path, cells: Iterable[Record]) -> tuple[dict[str, Steps], list[LeftOut]]:
    found: dict[str, Steps] = {}
    left_out: list[LeftOut] = []
    for cell in cells:
        path = folder / f"{cell.name}.csv"
        try:
            if path.is_file():
                found[cell.name] = load_steps(path)
            elif cell.finished:
                left_out.append(LeftOut(f"steps/{path.name}", "it is not there"))
        except Unreadable as error:
            left_out.append(LeftOut(f"steps/{path.name}", str(error)))
    return found, left_out
