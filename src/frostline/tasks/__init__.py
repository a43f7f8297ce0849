"""Tasks: data in, metric out. `base` says what one is; `sources` read, `metrics` score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from frostline.config import TrainConfig
    from frostline.tasks.base import Task


def task_of(config: TrainConfig) -> Task:
    """Return the task of a run: what it is asked for, else classification of what its model reads."""
    return _task(config.task, config.model)


def task_of_model(folder: Path) -> Task:
    """Return the task of the trained model in a folder: its class says which."""
    from frostline.errors import ConfigError
    from frostline.heads import head_of
    from frostline.model_configs import config_of

    try:
        made = config_of(str(folder)).architectures
    except ConfigError:
        made = None  # said where the model is loaded
    return _task(head_of(made[0]) if made else "auto", str(folder))


def _task(asked: str, model: str) -> Task:
    from frostline.errors import ConfigError
    from frostline.model_configs import config_of, reads_images
    from frostline.tasks.image_classification import ImageClassification
    from frostline.tasks.language_modeling import LanguageModeling
    from frostline.tasks.question_answering import QuestionAnswering
    from frostline.tasks.text_classification import TextClassification
    from frostline.tasks.token_classification import TokenClassification

    for task in (QuestionAnswering, TokenClassification, LanguageModeling):
        if asked == task.head:
            return task()
    try:
        images = reads_images(config_of(model))
    except ConfigError:
        images = False  # said where the model is loaded, after what is wrong with the data
    return ImageClassification() if images else TextClassification()
