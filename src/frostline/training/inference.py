"""Scores and predictions of a trained model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.config import make_config
from frostline.errors import ConfigError, DataError
from frostline.models import Loaded, quiet
from frostline.tasks import task_of_model
from frostline.tasks.base import Task
from frostline.training.run_folder import RunFolder

if TYPE_CHECKING:
    import datasets

Columns = dict[str, str | None]


def evaluate_model(
    folder: Path,
    data: str | None,
    metric: str | None,
    columns: Columns,
    batch_size: int,
    warn: Callable[[str], None] = lambda text: None,
) -> dict[str, float | int]:
    """Return the scores of the model in `folder` on labelled data.

    Args:
        folder: a run folder, or any folder with a model that a task knows.
        data: what to score on; the run's own validation data if None.
        metric: a name in METRICS; the run's own, else the task's, if None.
        columns: names of columns, and the `delimiter`; which there are, the task says.
        batch_size: examples in a forward pass.
        warn: is told what the user should know of what becomes of the data, a line each.

    Raises:
        ConfigError: the folder holds no model, the metric is not for such a model, or no data were named and it is
            no run folder.
        DataError: the data cannot be read, have no labels, or a label is not among the model's.
    """
    record, task, loaded = _load(folder)
    names = task.classes(loaded)
    scorer = task.scorer(metric or (record or {}).get("metric"), names)
    if data is None:
        if record is None:
            raise ConfigError(f"{folder} is no run folder, so it names no data; say --data.")
        examples = _own_validation(record, task, names)
    else:
        examples = task.read_examples(data, names, _given(task, columns))
    labels = task.labels(examples)
    if labels is None:
        raise DataError(f"{data} has no labels to score against; use `frostline predict`, or name the column: --label.")
    outputs = _outputs(task, loaded, examples, batch_size, record, warn)
    scores: dict[str, float | int] = dict(scorer(outputs, labels))
    return {**scores, "examples": len(examples)}


def predict_rows(
    folder: Path,
    words: Sequence[str] | None,
    data: str | None,
    columns: Columns,
    batch_size: int,
    warn: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Return for each example what the model says, see the task's `predictions`.

    Args:
        folder: a run folder, or any folder with a model that a task knows.
        words: examples as they stand on a command line; or None and
        data: a file or folder of examples.
        columns: as for `evaluate_model`.
        batch_size: examples in a forward pass.
        warn: as for `evaluate_model`.
    """
    record, task, loaded = _load(folder)
    if words is not None:
        examples = task.examples(words)
    else:
        assert data is not None
        examples = task.read_examples(data, None, _given(task, columns))
    outputs = _outputs(task, loaded, examples, batch_size, record, warn)
    return task.predictions(loaded, examples, outputs)


def _outputs(
    task: Task,
    loaded: Loaded,
    examples: datasets.Dataset,
    batch_size: int,
    record: dict[str, Any] | None,
    warn: Callable[[str], None],
) -> Any:
    for text in task.warnings(loaded, examples, _max_length(record)):
        warn(text)
    return task.outputs(loaded, examples, batch_size, _max_length(record))


def _load(folder: Path) -> tuple[dict[str, Any] | None, Task, Loaded]:
    import datasets

    datasets.disable_progress_bars()
    quiet()
    record = RunFolder(folder).record()
    if record is not None and record["status"] != "finished":
        raise ConfigError(
            f"the run in {folder} is not finished (status: {record['status']}); resume it, or export a checkpoint."
        )
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {str(folder)!r}.")
    task = task_of_model(folder)
    loaded = task.load(str(folder))
    problem, outputs = loaded.model.config.problem_type, loaded.model.config.num_labels
    if problem == "multi_label_classification" or (problem == "regression" and outputs > 1):
        raise ConfigError(
            f"the model in {folder} has {outputs} outputs for problem_type={problem!r}; here a model gives each text "
            "one class or one score."
        )
    return record, task, loaded


def _own_validation(record: dict[str, Any], task: Task, names: tuple[str, ...]) -> datasets.Dataset:
    # The model's kind is settled, whatever `auto` would make of the data now.
    config = make_config({**record["config"], "task": task.settled(names)})
    found = task.read(config)
    if found.label_names != names:
        raise DataError(f"{config.data} now has the classes {found.label_names}; the model knows {names}.")
    return found.validation


def _given(task: Task, columns: Columns) -> dict[str, str]:
    task.refuse_columns(columns)
    return {key: value for key, value in columns.items() if value is not None}


def _max_length(record: dict[str, Any] | None) -> int | None:
    return None if record is None else int(record["config"]["max_length"])
