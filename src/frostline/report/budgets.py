"""A run within a budget: what was predicted, what was measured, and the ways that were tried before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from frostline.report import numbers
from frostline.report.document import Block, Cell, Column, Name, Paragraph, Table
from frostline.report.study import Study
from frostline.report.values import mapping, number


def within(study: Study) -> tuple[Block, ...]:
    """Return a sentence on prediction and measurement, and a table of the ways tried; nothing without a plan."""
    if not study.report.single:
        return ()
    values = study.report.records[0].train_info
    planned = mapping(values.get("planned"))
    listed = planned.get("rungs")
    rungs = [mapping(rung) for rung in listed if mapping(rung)] if isinstance(listed, list) else []
    if not rungs:
        return ()
    predicted = number(mapping(planned.get("predicted")).get("peak"))
    found = [f"Budget: {numbers.mebibytes(number(planned.get('budget')))}. Chosen: ", Name(str(rungs[-1].get("name")))]
    found += [f". Predicted peak: {numbers.mebibytes(predicted)}"]
    measured = number(mapping(values.get("prediction")).get("measured"))
    if measured is not None and predicted:
        found += [f"; measured: {numbers.mebibytes(measured)}, {numbers.times(measured / predicted)} of it"]
    columns = (
        Column("way", False, True),
        Column("predicted peak, MiB"),
        Column("verdict", False),
        Column("gives up", False, True),
    )
    table = Table("budget-table", "The ways tried, the chosen one last.", columns, tuple(_row(rung) for rung in rungs))
    return (Paragraph((*found, ".")), table)


def _row(rung: Mapping[str, Any]) -> tuple[Cell, ...]:
    name, verdict, costs = str(rung.get("name")), "fits" if rung.get("fits") else "too much", str(rung.get("costs"))
    peak = number(rung.get("peak"))
    return (
        Cell((Name(name),), name),
        Cell(numbers.mebibytes(peak, ""), peak),
        Cell(verdict, verdict),
        Cell((Name(costs),), costs),
    )
