"""One JSON file a run, in the three parts that PEFT's method comparison has: run, train and meta information."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from frostline.comparison.runs import Run
from frostline.errors import ConfigError
from frostline.training.run_folder import write_json

RECORD_FORMAT = "frostline-cell/1"
COMPARISON_FORMAT = "frostline-comparison/1"
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
META = ("versions", "hardware", "data", "model_sha256", "plan")


def command_of(config: dict[str, Any], name: str) -> str:
    """Return the command that makes this run again."""
    keys = {**config, "output": f"runs/{name}"}
    words = (f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in keys.items())
    return "frostline train " + " ".join(shlex.quote(word) for word in words)


def make_record(
    run: Run,
    *,
    status: str,
    reason: str | None = None,
    result: dict[str, Any] | None = None,
    run_info: dict[str, Any],
) -> dict[str, Any]:
    """Return the content of a run's JSON file.

    Args:
        run: what was run.
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
        "run_info": {"command": command_of(run.config, run.name), **run_info},
        "train_info": found.get("train_info", {key: found[key] for key in RESULTS if key in found}),
        "meta_info": {key: found[key] for key in META if key in found},
    }


class ComparisonFolder:
    """The records of a comparison, one file each, beside `comparison.json` and the steps of the cells."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plan = path / "comparison.json"
        self.steps = path / "steps"

    def open(self) -> None:
        """Make the folder, unless it is there; one that holds other things raises ConfigError."""
        if self.path.is_file():
            raise ConfigError(f"output {str(self.path)!r} is a file; name a folder.")
        if self.path.is_dir() and any(self.path.iterdir()) and not self.plan.is_file():
            raise ConfigError(f"{str(self.path)!r} is no comparison (it has no comparison.json); name another output.")
        try:
            self.steps.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"the folder {str(self.path)!r} cannot be made: {error}") from error

    def write_plan(self, plan: dict[str, Any]) -> None:
        """Write comparison.json; what an earlier start of this comparison planned besides stays planned."""
        try:
            former = json.loads(self.plan.read_text(encoding="utf-8"))
            assert former["format"] == COMPARISON_FORMAT
        except (OSError, ValueError, KeyError, TypeError, AssertionError):
            former = {}
        for key in ("tasks", "methods", "seeds"):
            plan[key] += [value for value in former.get(key, ()) if value not in plan[key]]
        for kind, names in plan["expected"].items():
            names += [name for name in former.get("expected", {}).get(kind, ()) if name not in names]
        plan["started"] = former.get("started", plan["started"])
        write_json(self.plan, plan)

    def read(self, run: Run, *, overwrite: bool = False) -> dict[str, Any] | None:
        """Return the record of a run that was made already, None if it is to be made.

        Args:
            run: what is wanted.
            overwrite: whether a record of other keys may be made anew.

        Raises:
            ConfigError: the record is of a run with other keys, and may not be made anew.
        """
        path = self.path / f"{run.name}.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            config = record["config"]
            assert record["format"] == RECORD_FORMAT
            assert record["kind"] == run.kind
        except (OSError, ValueError, KeyError, TypeError, AssertionError):
            return None  # not there, or damaged: it is made anew
        for key in {**config, **run.config}:
            if config.get(key) != run.config.get(key):
                if overwrite:
                    return None
                raise ConfigError(
                    f"{path} was made with {key}={config.get(key)!r}, not {run.config.get(key)!r}. Take another "
                    "output, or --overwrite to make such records anew."
                )
        found: dict[str, Any] = record
        return found

    def write(self, record: dict[str, Any]) -> None:
        """Write one record."""
        write_json(self.path / f"{record['name']}.json", record)
