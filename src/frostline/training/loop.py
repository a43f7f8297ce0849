"""The steps of a run: a Trainer with all that watches it, and what becomes of a run that ends before its time."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import PrinterCallback, TrainerCallback

from frostline.config import TrainConfig
from frostline.errors import ConfigError, Interrupted, PlanError, UnsupportedModel
from frostline.meter.enforce import enforce
from frostline.training import checkpoints
from frostline.training.early_stopping import AlreadyStopped, EarlyStopping
from frostline.training.epochs import Epochs
from frostline.training.opening import Opened
from frostline.training.recorder import Recorder, StepClock, StopOnInterrupt
from frostline.training.stopping import explained, is_out_of_memory, stopped
from frostline.training.trainer import MeasuredTrainer, StepMeasures, training_arguments
from frostline.training.watchdog import FirstStep, Watchdog
from frostline.training.weights import load_weights


class PlannedAnew(Exception):
    """The first step was not as predicted, and another plan came out; nothing of the attempt is left."""

    def __init__(self, config: TrainConfig, planned: dict[str, Any]) -> None:
        super().__init__()
        self.config, self.planned = config, planned


def train(run: Opened, console: Console, callbacks: Sequence[TrainerCallback]) -> tuple[MeasuredTrainer, Recorder]:
    """Train to the end; return the trainer and what was recorded.

    Args:
        run: that is ready.
        console: where progress is printed.
        callbacks: called before our own.

    Raises:
        PlannedAnew: the run shall start again, with another plan.
        FrostlineError: see `errors`; run.json says why, and what was saved stays.
    """
    config, folder, planned = run.config, run.folder, run.start.planned
    measures, clock = StepMeasures(), StepClock()
    recorder = Recorder(folder, run.tuner, clock, measures, console)
    interrupt = StopOnInterrupt(console.print)
    watchdog = None if planned is None else Watchdog(planned["budget"])
    first_step = None
    if planned is not None and watchdog is not None and run.start.calibrates:
        first_step = FirstStep(run.start.asked, planned, run.tuner, watchdog, console)
    watching = [one for one in (watchdog, first_step) if one is not None]
    keeper = checkpoints.CheckpointCallback(config.save_total_limit, run.start.checkpoint)
    ours: list[TrainerCallback] = [clock, keeper, run.tuner.callback(), *watching, recorder, interrupt]
    if run.encoded.begin_epoch is not None:
        ours.append(Epochs(run.encoded.begin_epoch))
    if config.early_stopping_patience is not None:
        ours.append(EarlyStopping(config.early_stopping_patience, run.start.checkpoint))
    trainer = _trainer(run, measures, [*callbacks, *ours])
    checkpoints.discard_partial(folder.checkpoints)
    if planned is not None and (config.enforce or torch.cuda.is_available()):  # a GPU's is kept by the allocator
        enforce(planned["budget"])
    try:
        with interrupt:
            trainer.train(resume_from_checkpoint=str(run.start.checkpoint) if run.start.checkpoint else None)
    except AlreadyStopped:
        load_weights(run.loaded.model, Path(str(trainer.state.best_model_checkpoint)))
    except (ConfigError, PlanError, UnsupportedModel):
        if trainer.state.global_step == 0:  # refused by what only the Trainer could know, such as the number of steps
            shutil.rmtree(folder.path)
        raise
    except BaseException as error:
        refused = first_step is not None and trainer.state.global_step == 0 and is_out_of_memory(error)
        if first_step is None or not refused or not first_step.refused(error):
            raise explained(error, folder, run.record) from error
    finally:
        recorder.close()
    if first_step is not None and first_step.again is not None:
        shutil.rmtree(folder.path)
        raise PlannedAnew(*first_step.again)
    if watchdog is not None and watchdog.exceeded is not None:
        raise stopped(watchdog.exceeded, folder, run.record)
    if interrupt.interrupted and trainer.state.global_step < trainer.state.max_steps:
        raise stopped(Interrupted(f"stopped after step {trainer.state.global_step}."), folder, run.record)
    return trainer, recorder


def _trainer(run: Opened, measures: StepMeasures, callbacks: list[TrainerCallback]) -> MeasuredTrainer:
    config, encoded, model = run.config, run.encoded, run.loaded.model
    known: dict[str, Any] = {"metric": config.metric or run.data.metric}
    if encoded.lengths is None and config.sampling == "group_by_length":
        known["sampling"] = "random"  # all are of one length
    trainer = MeasuredTrainer(
        model=model,
        args=training_arguments(config.model_copy(update=known), run.folder.checkpoints),
        train_dataset=encoded.train,
        eval_dataset=encoded.validation,
        data_collator=encoded.collate,
        processing_class=run.loaded.processor,
        compute_metrics=run.score,
        preprocess_logits_for_metrics=encoded.reduce,
        callbacks=callbacks,
        measures=measures,
        tokens=lambda inputs: run.task.tokens(inputs, model),
        own_optimizer=run.tuner.own_optimizer,
        in_order=encoded.outputs is not None,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
