"""All of a run before its first step: data, model and tuner are there, and the run folder."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from transformers import EvalPrediction, set_seed

from frostline import allocator, interrupts
from frostline.config import TrainConfig
from frostline.models import Loaded
from frostline.tasks import task_of
from frostline.tasks.base import Encoded, Task, TaskData
from frostline.training.loaded import with_data
from frostline.training.record import opening_record, require_same
from frostline.training.run_folder import RunFolder, write_json
from frostline.training.start import Start
from frostline.tuner import Tuner, prepare


@dataclass(frozen=True)
class Opened:
    """A run that is ready.

    Attributes:
        start: what it starts from.
        task, data, loaded, encoded: what is learnt, and by what.
        tuner: of the model.
        scorer: from predictions and labels to scores.
        record: what run.json says so far; grows.
    """

    start: Start
    task: Task
    data: TaskData
    loaded: Loaded
    encoded: Encoded
    tuner: Tuner
    scorer: Callable[[Any, Any], dict[str, float]]
    record: dict[str, Any]

    @property
    def config(self) -> TrainConfig:
        """Every setting of the run."""
        return self.start.config

    @property
    def folder(self) -> RunFolder:
        """The folder of the run."""
        return self.start.folder

    def score(self, prediction: EvalPrediction) -> dict[str, float]:
        """Return the scores of an evaluation."""
        if self.encoded.outputs is not None:
            return self.scorer(self.encoded.outputs(prediction.predictions), self.data.validation["label"])
        return self.scorer(np.asarray(prediction.predictions), np.asarray(prediction.label_ids))


def opened(start: Start, console: Console) -> Opened:
    """Read, load and prepare; make the run folder, or take it up, once nothing is left that can be refused.

    Raises:
        FrostlineError: data, model or method are refused, or not those of the run that is resumed.
    """
    config = start.config
    memory = allocator.use(config.allocator)
    if config.allocator not in ("default", memory.in_force):
        console.print(f"warning: allocator={config.allocator} does nothing here: {memory.reason}")
    task = task_of(config)
    data = task.read(config)
    scorer = task.scorer(config.metric or data.metric, data.label_names)
    set_seed(config.seed)
    loaded = task.load(config.model, data.label_names, config)
    set_seed(config.seed)  # loading draws a varying number of random numbers; the run starts from here
    encoded = task.encode(data, loaded, config)
    gc.collect()
    allocator.trim()
    start = with_data(start, loaded.model, console)
    config = start.config
    tuner = prepare(
        loaded.model,
        config.method,
        optimizer_state=config.optimizer_state,
        storage=config.storage,
        fused_backward=config.fused_backward,
        seed=config.seed,
        **config.settings,
    )
    record = opening_record(config, task, data, loaded, tuner.plan) | {"allocator": memory.to_json()}
    if encoded.lengths is not None:
        record["longest"] = int(max(encoded.lengths))
    if start.planned is not None:
        record["planned"] = start.planned
    if start.former is not None:
        _require_same(start.former, record, console)
    else:
        interrupts.check()
        start.folder.create()
    write_json(start.folder.run, record)
    write_json(start.folder.plan, tuner.plan.to_json())
    found = Opened(start, task, data, loaded, encoded, tuner, scorer, record)
    _announce(found, console)
    return found


def _require_same(former: dict[str, Any], record: dict[str, Any], console: Console) -> None:
    require_same(former, record)
    changed = [name for name, now in record["versions"].items() if former["versions"].get(name) != now]
    if changed:
        console.print(f"warning: other versions than at the start of this run: {', '.join(changed)}")


def _announce(run: Opened, console: Console) -> None:
    config, data, plan = run.config, run.data, run.tuner.plan
    asked = f"{len(data.label_names)} classes" if data.label_names else run.task.settled(data.label_names)
    console.print(
        f"{config.method} on {plan.model} ({config.model}), {data.name}: {len(data.train):,} train, "
        f"{len(data.validation):,} validation, {asked}",
        highlight=False,
    )
    console.print(
        f"{plan.trainable_parameters:,} of {plan.total_parameters:,} parameters "
        f"({plan.trainable_parameters / plan.total_parameters:.1%}) train at a step, as planned",
        highlight=False,
    )
    for note in run.encoded.notes:
        console.print(note)
