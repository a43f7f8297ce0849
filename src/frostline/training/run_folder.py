"""The folder that a run leaves behind: made whole, resumed, or refused."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from frostline.errors import CheckpointError

STEP_COLUMNS = (
    "step",
    "loss",
    "learning_rate",
    "active_units",
    "trainable_parameters",
    "tokens",
    "seconds",
    "active",
)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file in one atomic step."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(values, stream, indent=2, ensure_ascii=False, default=str)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def share(folder: Path) -> None:
    """Give a temporary folder and its files the permissions that any new ones get; safetensors makes private files."""
    mask = os.umask(0)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)
    for path in folder.iterdir():
        path.chmod(0o666 & ~mask)


class RunFolder:
    """Paths and records of one run.

    `run.json` is there from the first moment (status `running`) and says `finished` at the end; `plan.json`,
    `steps.csv` and `checkpoints/` grow beside it; the model's files and the card come last.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.plan = path / "plan.json"
        self.run = path / "run.json"
        self.steps = path / "steps.csv"

    def record(self) -> dict[str, Any] | None:
        """Return run.json's content, None if there is none; one that cannot be read raises CheckpointError."""
        if not self.run.is_file():
            return None
        try:
            values = json.loads(self.run.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.run} cannot be read: {error}") from error
        if not isinstance(values, dict) or not {"status", "config", "plan", "data"} <= values.keys():
            raise CheckpointError(f"{self.run} does not hold the record of a run.")
        return values

    def require_new(self, *, overwrite: bool, keep: Iterable[str | None] = ()) -> None:
        """Raise CheckpointError if the folder is taken and may not be replaced; changes nothing.

        Args:
            overwrite: whether the user allows a run folder to be replaced.
            keep: paths (or other names) that the new run reads and that must not go with the old one.
        """
        if self.path.is_file():
            raise CheckpointError(f"output {str(self.path)!r} is a file; name a folder.")
        if not self.path.exists() or not any(self.path.iterdir()):
            return
        if not overwrite:
            raise CheckpointError(
                f"the run folder {str(self.path)!r} exists: --resume goes on with it, --overwrite starts anew in its "
                "place, or name another output."
            )
        if not self.run.is_file():
            raise CheckpointError(f"{str(self.path)!r} is no run folder (it has no run.json) and is not overwritten.")
        for name in keep:
            if name and Path(name).exists() and Path(name).resolve().is_relative_to(self.path.resolve()):
                raise CheckpointError(f"{name!r}, read by this run, lies in {str(self.path)!r}: name another output.")

    def create(self) -> None:
        """Make the folder anew; what a former run left in it goes."""
        try:
            if self.path.exists():
                shutil.rmtree(self.path)
            self.path.mkdir(parents=True)
        except OSError as error:
            raise CheckpointError(f"the run folder {str(self.path)!r} cannot be made: {error}") from error

    def publish(self, staging: Path) -> None:
        """Move the finished files in."""
        share(staging)
        for path in staging.iterdir():
            path.replace(self.path / path.name)

    def start_steps(self, resumed_at: int) -> list[dict[str, str]]:
        """Begin steps.csv, or cut it back to the step of the checkpoint that the run resumes from; return its rows."""
        rows = [row for row in self.read_steps() if int(row["step"]) <= resumed_at] if resumed_at else []
        temporary = self.steps.with_name("steps.csv.tmp")
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, STEP_COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(self.steps)
        return rows

    def read_steps(self) -> list[dict[str, str]]:
        """Return the whole rows of steps.csv; a last line cut short by a kill is left out."""
        if not self.steps.is_file():
            return []
        with self.steps.open(encoding="utf-8", newline="") as stream:
            return [row for row in csv.DictReader(stream) if None not in row.values() and row["seconds"]]
