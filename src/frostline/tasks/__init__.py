"""Tasks: data in, metric out. `base` says what one is; `sources` read, `metrics` score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from frostline.config import TrainConfig
    from frostline.tasks.base import Task


def task_of(config: TrainConfig) -> Task:
    """Return the task of a run."""
    return _task(config.model)


def task_of_model(folder: Path) -> Task:
    """Return the task of the trained model in a folder."""
    return _task(str(folder))


def _task(model: str) -> Task:
    from frostline.tasks.text_classification import TextClassification

    return TextClassification()
