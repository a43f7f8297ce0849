"""cells.csv: a row a cell, for a spreadsheet or a data frame. Numbers as they were measured: shares of 1, bytes, s."""

from __future__ import annotations

import csv
import io

from frostline.report.values import Record, Report

COLUMNS = (
    "task",
    "method",
    "seed",
    "status",
    "reason",
    "metric",
    "score",
    "process_peak",
    "tensor_peak",
    "saved_activations",
    "cuda_allocated",
    "cuda_reserved",
    "step_seconds",
    "time_ratio",
    "time_reference",
    "train_seconds",
    "trainable_parameters",
    "active_share",
    "learning_rate",
    "steps",
    "tokens_per_second",
    "train_loss",
    "name",
    "command",
)


def cells_csv(report: Report) -> str:
    """Return the table as text; an empty field is a number that is not there.

    Tensor peak and saved activations are those of the method's memory record, the time ratio that of its time record.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    ranks = {method: index for index, method in enumerate(report.methods)}
    tasks = {task: index for index, task in enumerate(report.tasks)}
    for cell in sorted(report.cells, key=lambda c: (tasks[c.task], ranks[c.method], c.seed or 0)):
        writer.writerow({key: _plain(value) for key, value in _row(report, cell).items()})
    return stream.getvalue()


def _row(report: Report, cell: Record) -> dict[str, object]:
    memory = report.one("memory", cell.task, cell.method)
    time = report.one("time", cell.task, cell.method)
    values = ("step_seconds", "train_seconds", "trainable_parameters", "active_share", "steps", "tokens_per_second")
    return {
        "task": cell.task,
        "method": cell.method,
        "seed": cell.seed,
        "status": cell.status,
        "reason": cell.reason,
        "metric": cell.metric if cell.train_info.get("metric") else None,
        "score": cell.score,
        "process_peak": cell.memory("process_peak"),
        "tensor_peak": memory.memory("tensor_peak") if memory else None,
        "saved_activations": memory.memory("saved_activations") if memory else None,
        "cuda_allocated": cell.memory("cuda_allocated"),
        "cuda_reserved": cell.memory("cuda_reserved"),
        "time_ratio": time.value("ratio") if time else None,
        "time_reference": time.train_info.get("reference") if time else None,
        **{key: cell.value(key) for key in (*values, "train_loss")},
        "learning_rate": cell.learning_rate,
        "name": cell.name,
        "command": cell.command,
    }


def _plain(value: object) -> object:
    if isinstance(value, float) and value.is_integer() and abs(value) >= 1:
        return int(value)
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value  # a spreadsheet would take it for a formula
    return value
