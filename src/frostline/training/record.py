"""The content of run.json: what a run is made of, whether another is the same, and how it went."""

from __future__ import annotations

import json
import statistics
import sys
from typing import Any

from frostline.config import TrainConfig
from frostline.errors import CheckpointError
from frostline.models import Loaded
from frostline.plan import Plan
from frostline.tasks.base import Task, TaskData
from frostline.training.run_folder import RunFolder
from frostline.training.versions import hardware, versions


def opening_record(config: TrainConfig, task: Task, data: TaskData, loaded: Loaded, plan: Plan) -> dict[str, Any]:
    """Return what is known of a run before its first step."""
    return {
        "status": "running",
        "name": config.output.name,
        "config": json.loads(config.model_dump_json()),
        "plan": plan.to_json(),
        "data": {
            "name": data.name,
            "sha256": data.sha256,
            "train": len(data.train),
            "validation": len(data.validation),
            "label_names": list(data.label_names),
        },
        "model_sha256": loaded.sha256,
        "seed": config.seed,
        "task": task.settled(data.label_names),
        "pipeline": task.pipeline,
        "metric": config.metric or data.metric,
        "versions": versions(),
        "hardware": hardware(),
        "command": sys.argv,
    }


def require_same(former: dict[str, Any], record: dict[str, Any]) -> None:
    """Raise CheckpointError unless data, base model and plan are those the run was started with."""
    for what, key in (("data", "data"), ("base model", "model_sha256")):
        if former[key] != record[key]:
            raise CheckpointError(
                f"the {what} is not what this run was started with (SHA-256 differs); restore it, or start another run."
            )
    if not Plan.from_json(former["plan"]).same_schedule(Plan.from_json(record["plan"])):
        raise CheckpointError("the plan is not the one this run was started with; start another run.")


def summary(folder: RunFolder, total_parameters: int) -> dict[str, Any]:
    """Return what steps.csv says of the whole run: steps, active share, median seconds, tokens a second, late loss."""
    rows = folder.read_steps()
    seconds = [float(row["seconds"]) for row in rows]
    return {
        "steps": len(rows),
        "active_share": statistics.fmean(int(row["trainable_parameters"]) for row in rows) / total_parameters,
        "step_seconds": statistics.median(seconds),
        "tokens_per_second": sum(int(row["tokens"]) for row in rows) / sum(seconds),
        "train_loss": statistics.fmean(float(row["loss"]) for row in rows[-50:]),
    }
