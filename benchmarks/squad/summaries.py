"""F1 and exact match of every method, on all questions and where there is an answer or none, and its memory."""

from __future__ import annotations

from pathlib import Path

from comparisons import comparison
from table import Table

from frostline.report import numbers
from frostline.report.values import Record

HERE = Path(__file__).parent

_PARTS = (
    ("squad1", "squad_f1"),
    ("squad1", "exact_match"),
    ("squad2", "squad_f1"),
    ("squad2", "exact_match"),
    ("squad2", "has_answer_f1"),
    ("squad2", "no_answer"),
)
_TITLES = ("squad1: F1", "EM", "squad2: F1", "EM", "F1 where there is an answer", "right where there is none")


def answers() -> Table:
    """Return every metric of every method, in percent, and the peak of squad1's process."""
    found = comparison(HERE)
    records = {(record.method, record.task): record for record in found.finished}
    rows = []
    for method in found.report.methods:
        cells = [_percent(records.get((method, task)), metric) for task, metric in _PARTS]
        record = records.get((method, "squad1"))
        peak = record.memory("process_peak") if record else None
        rows.append([method, *cells, numbers.mebibytes(peak)])
    return Table(["method", *_TITLES, "peak, squad1"], rows)


TABLES = {"answers": answers}


def _percent(record: Record | None, metric: str) -> str:
    value = (record.train_info.get("metrics") or {}).get(metric) if record else None
    return numbers.DASH if value is None else f"{100 * value:.1f}"
