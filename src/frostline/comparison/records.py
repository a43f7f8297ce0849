"""One JSON file a run, in the three parts that PEFT's method comparison has: run, train and meta information."""

from __future__ import annotations

import json
import shlex
from typing import Any

from frostline.comparison.runs import Run
from frostline.config import parse_values

RECORD_FORMAT = "frostline-cell/1"
RESULTS = (
    "metric",
    "metrics",
    "trainable_parameters",
    "active_share",
    "steps",
    "step_seconds",
    "train_seconds",
    "tokens_per_second",
    "train_loss",
    "memory",
)
META = ("versions", "hardware", "allocator", "data", "model_sha256", "plan")


STATUSES = ("finished", "failed", "out_of_memory")


def command_of(config: dict[str, Any], name: str) -> str:
    """Return the command that makes a training run again."""
    keys = {**config, "output": f"runs/{name}"}
    return "frostline train " + " ".join(shlex.quote(f"{key}={_typed(key, value)}") for key, value in keys.items())


def _typed(key: str, value: Any) -> str:
    """Return a value as it is typed on the command line: text plain, unless it would be read as something else."""
    if isinstance(value, str) and parse_values({key: value})[key] == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def make_record(
    run: Run,
    *,
    command: str,
    status: str,
    reason: str | None = None,
    result: dict[str, Any] | None = None,
    run_info: dict[str, Any],
) -> dict[str, Any]:
    """Return the content of a run's JSON file.

    Args:
        run: what was run.
        command: that makes this record again.
        status: `finished`, `failed` or `out_of_memory`.
        reason: one line, for what is not finished.
        result: the content of run.json, or of a probe.
        run_info: when it ran, how long, and beside how many others.
    """
    found = result or {}
    return {
        "format": RECORD_FORMAT,
        "kind": run.kind,
        "name": run.name,
        "task": run.task,
        "method": run.method,
        "seed": run.seed,
        "status": status,
        "reason": reason,
        "config": run.config,
        **({} if run.reference is None else {"reference": named(run.reference)}),
        "run_info": {"command": command, **run_info},
        "train_info": found.get("train_info", {key: found[key] for key in RESULTS if key in found}),
        "meta_info": {key: found[key] for key in META if key in found},
    }


def named(reference: Run) -> dict[str, Any]:
    """Return what the record of a pair says of the other run."""
    return {"method": reference.method, "config": reference.config}


def is_whole(record: dict[str, Any]) -> bool:
    """Tell whether a record has what the comparison itself reads of it."""
    info, train = record.get("run_info"), record.get("train_info")
    texts = all(isinstance(record.get(key), str) for key in ("name", "kind", "task", "method"))
    if not texts or record.get("status") not in STATUSES or not isinstance(record.get("reason"), str | None):
        return False
    if not isinstance(info, dict) or not _is_number(info.get("seconds")) or not isinstance(train, dict):
        return False
    if not isinstance(record.get("seed"), int) or not isinstance(record.get("config"), dict):
        return False
    if record["status"] != "finished" or record["kind"] in ("memory", "time"):
        return "reason" in record
    metrics, metric = train.get("metrics"), train.get("metric")
    if not isinstance(metrics, dict) or not isinstance(metric, str):
        return False
    return _is_number(metrics.get(metric)) and _is_number(metrics.get("loss", 0.0))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
