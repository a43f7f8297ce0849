"""The folder of a comparison: its plan, a record a run, and what of them may be gone on with."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

from frostline.comparison.records import RECORD_FORMAT, is_whole, named
from frostline.comparison.runs import INFERENCE, Run
from frostline.config import make_config
from frostline.errors import ConfigError
from frostline.training.run_folder import write_json

COMPARISON_FORMAT = "frostline-comparison/1"


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
        if self._foreign():
            raise ConfigError(
                f"{self.plan} is no plan of a comparison (its format is no {COMPARISON_FORMAT!r}); name another output."
            )
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
        """Write comparison.json; what an earlier start of this comparison has made besides stays in it."""
        former = _loaded(self.plan)
        planned = former.get("expected") if former.get("format") == COMPARISON_FORMAT else None
        for kind, names in plan["expected"].items():
            listed = planned.get(kind) if isinstance(planned, dict) else None
            for name in listed if isinstance(listed, list) else ():
                record = _loaded(self.path / f"{name}.json") if name not in names else {}
                if record.get("kind") != kind or not is_whole(record):
                    continue
                names.append(name)
                for key, value in (("tasks", "task"), ("methods", "method"), ("seeds", "seed")):
                    if record[value] not in (*plan[key], INFERENCE):
                        plan[key].append(record[value])
        if planned is not None and isinstance(former.get("started"), str):
            plan["started"] = former["started"]
        write_json(self.plan, plan)

    def read(
        self,
        run: Run,
        *,
        threads: int | None = None,
        overwrite: bool = False,
        retry: bool = False,
        ignore: frozenset[str] = frozenset(),
    ) -> dict[str, Any] | None:
        """Return the record of a run that was made already, None if it is to be made.

        Args:
            run: what is wanted.
            threads: of torch, with which it would be made; None: any will do.
            overwrite: whether a record of other keys may be made anew.
            retry: whether one that failed is to be made anew.
            ignore: keys that may differ.

        Raises:
            ConfigError: the record is of a run with other keys, and may not be made anew.
        """
        path = self.path / f"{run.name}.json"
        record = _loaded(path)
        if (record.get("format"), record.get("kind")) != (RECORD_FORMAT, run.kind) or not is_whole(record):
            return None  # not there, or damaged: it is made anew
        if retry and record["status"] != "finished":
            return None
        try:
            made = _full(record["config"]) | {key: record[key] for key in ("task", "method")}
        except ConfigError:
            return None
        wanted = _full(run.config) | {"task": run.task, "method": run.method}
        if threads is not None:
            made["threads"], wanted["threads"] = record["run_info"].get("threads"), threads
        if run.reference is not None:
            made["reference"], wanted["reference"] = record.get("reference"), named(run.reference)
        for key in (key for key in wanted if key not in ignore and made.get(key) != wanted[key]):
            if overwrite or run.kind in ("memory", "time"):  # probes are cheap
                return None
            raise ConfigError(
                f"{path} was made with {key}={made.get(key)!r}, not {wanted[key]!r}. Take another "
                "output, or --overwrite to make such records anew."
            )
        return record

    def data_of(self, run: Run) -> str | None:
        """Return the SHA-256 of the data that a run was made with; None if it is not made, or does not say."""
        try:
            return str(_loaded(self.path / f"{run.name}.json")["meta_info"]["data"]["sha256"])
        except (KeyError, TypeError):
            return None

    def write(self, record: dict[str, Any]) -> None:
        """Write one record."""
        write_json(self.path / f"{record['name']}.json", record)

    def _foreign(self) -> bool:
        """Tell whether comparison.json is a whole JSON file, but no plan; a damaged one is written anew."""
        try:
            plan = json.loads(self.plan.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return False
        return not isinstance(plan, dict) or plan.get("format") != COMPARISON_FORMAT


def _loaded(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file; an empty one if there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _full(config: dict[str, Any]) -> dict[str, Any]:
    """Return every key of a run, those at their defaults as well."""
    full: dict[str, Any] = json.loads(make_config({**config, "output": "-"}).model_dump_json())
    return full
