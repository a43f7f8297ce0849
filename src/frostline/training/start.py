"""What a run starts from: a new folder or a checkpoint, and a plan where there is a budget. Nothing is written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from frostline import methods
from frostline.config import FREE_ON_RESUME, TrainConfig
from frostline.errors import CheckpointError
from frostline.methods import plugins
from frostline.methods.base import validate_settings
from frostline.training import checkpoints
from frostline.training.planned import as_started, with_budget, within_budget
from frostline.training.run_folder import RunFolder
from frostline.training.trainer import require_usable


@dataclass(frozen=True)
class Start:
    """A run that may begin.

    Attributes:
        asked: every setting as the user wrote it.
        config: the same with what the plan says.
        folder: of the run.
        former: run.json as the run left it that is resumed; None for a new one.
        checkpoint: to go on from.
        planned: what the planner found; None without a budget.
        calibrates: whether the first step may show that the plan was made on a wrong prediction.
    """

    asked: TrainConfig
    config: TrainConfig
    folder: RunFolder
    former: dict[str, Any] | None = None
    checkpoint: Path | None = None
    planned: dict[str, Any] | None = None
    calibrates: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether the run that is resumed has nothing left to do."""
        return self.former is not None and self.former["status"] == "finished"


def new(config: TrainConfig, overwrite: bool, planned: dict[str, Any] | None, console: Console) -> Start:
    """Return the start of a new run.

    Args:
        config: as it was asked for, or with `planned`, what another plan made of it.
        overwrite: whether a run folder that exists may be replaced.
        planned: what the planner found before, for this config.
        console: where a plan is told.

    Raises:
        FrostlineError: whatever can be refused before anything is loaded.
    """
    folder = RunFolder(config.output)
    folder.require_new(overwrite=overwrite, keep=[config.model, config.data, config.validation])
    asked = config
    calibrates = planned is None and config.budget is not None and config.plan is None
    if planned is None and (config.budget is not None or config.plan is not None):
        config, planned = within_budget(config, console)
    _require_sound(config, folder)
    return Start(asked, config, folder, planned=planned, calibrates=calibrates)


def resumed(config: TrainConfig) -> Start:
    """Return the start of a run that goes on from the newest whole checkpoint in its folder.

    Raises:
        CheckpointError: there is no run, no checkpoint, or the config is of another run.
        BudgetInfeasible: it has another budget, within which its plan does not fit.
    """
    folder = RunFolder(config.output)
    former = folder.record()
    if former is None:
        raise CheckpointError(f"there is no run to resume in {str(folder.path)!r}; leave --resume out to start one.")
    asked, config = config, as_started(config, former)
    now = json.loads(config.model_dump_json())
    planned = former.get("planned")
    free = FREE_ON_RESUME if planned is None or config.budget is None else FREE_ON_RESUME | {"budget", "enforce"}
    for key, value in former["config"].items():
        if key not in free and now.get(key) != value:
            raise CheckpointError(
                f"this run was started with {key}={value!r}, not {now.get(key)!r}: a resumed run ends as if it had "
                f"never stopped. Resume it with {key}={value!r}, or start another run folder."
            )
    if planned is not None and now["budget"] != former["config"]["budget"]:
        planned = with_budget(planned, now["budget"])
    start = Start(asked, config, folder, former, planned=planned)
    if start.is_finished:
        return start
    checkpoint = checkpoints.latest(folder.checkpoints)
    if checkpoint is None:
        raise CheckpointError(
            f"{str(folder.path)!r} has no whole checkpoint to resume from; start it anew with --overwrite."
        )
    _require_sound(config, folder)
    return Start(asked, config, folder, former, checkpoint, start.planned)


def _require_sound(config: TrainConfig, folder: RunFolder) -> None:
    require_usable(config, folder.checkpoints)
    plugins.load(config.plugins)
    validate_settings(methods.get(config.method), config.settings)
