"""One JSON file a run, in the three parts that PEFT's method comparison has: run, train and meta information."""

from __future__ import annotations

import fcntl
import json
import shlex
from pathlib import Path
from typing import Any

from frostline.comparison.runs import Run
from frostline.config import make_config
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
META = ("versions", "hardware", "allocator", "data", "model_sha256", "plan")


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
        """Make the folder, unless it is there, and keep others out of it as long as this process lives.

        Raises:
            ConfigError: it holds other things, cannot be made, or another comparison is under way in it.
        """
        if self.path.is_file():
            raise ConfigError(f"output {str(self.path)!r} is a file; name a folder.")
        ours = {self.steps.name, ".lock", ".running"}
        if self.path.is_dir() and not self.plan.is_file() and {path.name for path in self.path.iterdir()} - ours:
            raise ConfigError(f"{str(self.path)!r} is no comparison (it has no comparison.json); name another output.")
        try:
            self.steps.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise ConfigError(f"the folder {str(self.path)!r} cannot be made or written to: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"a comparison is under way in {str(self.path)!r}; wait for it, or name another output."
            ) from error

    def write_plan(self, plan: dict[str, Any]) -> None:
        """Write comparison.json; what an earlier start of this comparison planned besides stays planned."""
        try:
            former = json.loads(self.plan.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            former = {}
        if not isinstance(former, dict) or former.get("format") != COMPARISON_FORMAT:
            former = {}
        for key in ("tasks", "methods", "seeds"):
            plan[key] += [value for value in former.get(key, ()) if value not in plan[key]]
        for kind, names in plan["expected"].items():
            names += [name for name in former.get("expected", {}).get(kind, ()) if name not in names]
        plan["started"] = former.get("started", plan["started"])
        write_json(self.plan, plan)

    def read(self, run: Run, *, overwrite: bool = False, ignore: frozenset[str] = frozenset()) -> dict[str, Any] | None:
        """Return the record of a run that was made already, None if it is to be made.

        Args:
            run: what is wanted.
            overwrite: whether a record of other keys may be made anew.
            ignore: keys that may differ.

        Raises:
            ConfigError: the record is of a run with other keys, and may not be made anew.
        """
        path = self.path / f"{run.name}.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            config = _full(record["config"])
        except (OSError, ValueError, KeyError, TypeError, ConfigError):
            return None  # not there, or damaged: it is made anew
        if (record.get("format"), record.get("kind")) != (RECORD_FORMAT, run.kind) or not _is_whole(record):
            return None
        wanted = _full(run.config)
        for key in (key for key in wanted if key not in ignore and config.get(key) != wanted[key]):
            if overwrite or run.kind in ("memory", "time"):  # probes are cheap
                return None
            raise ConfigError(
                f"{path} was made with {key}={config.get(key)!r}, not {wanted[key]!r}. Take another "
                "output, or --overwrite to make such records anew."
            )
        found: dict[str, Any] = record
        return found

    def data_of(self, run: Run) -> str | None:
        """Return the SHA-256 of the data that a run was made with; None if it is not made, or does not say."""
        try:
            record = json.loads((self.path / f"{run.name}.json").read_text(encoding="utf-8"))
            return str(record["meta_info"]["data"]["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, record: dict[str, Any]) -> None:
        """Write one record."""
        write_json(self.path / f"{record['name']}.json", record)


def _full(config: dict[str, Any]) -> dict[str, Any]:
    """Return every key of a run, those at their defaults as well."""
    full: dict[str, Any] = json.loads(make_config({**config, "output": "-"}).model_dump_json())
    return full


def _is_whole(record: dict[str, Any]) -> bool:
    """Tell whether a record has what the comparison itself reads of it."""
    info, train = record.get("run_info"), record.get("train_info")
    if not isinstance(info, dict) or not isinstance(info.get("seconds"), int | float) or not isinstance(train, dict):
        return False
    if record.get("status") != "finished" or record["kind"] in ("memory", "time"):
        return True
    return isinstance(train.get("metrics"), dict) and train.get("metric") in train["metrics"]
