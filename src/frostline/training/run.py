"""One training run from config to model: read, check, prepare, train, measure, save. Nothing is written before
everything that can be refused has been.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from rich.console import Console
from safetensors import SafetensorError
from transformers import EvalPrediction, PrinterCallback, TrainerCallback, set_seed

from frostline import allocator, interrupts, methods
from frostline.config import FREE_ON_RESUME, TrainConfig
from frostline.errors import (
    CheckpointError,
    ConfigError,
    Interrupted,
    PlanError,
    TrainingDiverged,
    UnsupportedModel,
)
from frostline.meter.enforce import enforce
from frostline.methods import plugins
from frostline.methods.base import validate_settings
from frostline.models import Loaded, quiet
from frostline.tasks import task_of
from frostline.tasks.base import Encoded, Task, TaskData
from frostline.training import checkpoints
from frostline.training.card import model_card
from frostline.training.early_stopping import AlreadyStopped, EarlyStopping
from frostline.training.epochs import Epochs
from frostline.training.planned import as_started, prediction, within_budget
from frostline.training.record import opening_record, require_same, summary
from frostline.training.recorder import Recorder, StepClock, StopOnInterrupt
from frostline.training.run_folder import RunFolder, write_json
from frostline.training.stopping import explained, stopped
from frostline.training.trainer import MeasuredTrainer, StepMeasures, require_usable, training_arguments
from frostline.training.watchdog import FirstStep, Watchdog
from frostline.training.weights import load_weights
from frostline.tuner import Tuner, prepare
from frostline.tuner.processes import require_alone


def run(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console,
    callbacks: Sequence[TrainerCallback] = (),
) -> dict[str, Any]:
    """Train as `config` says and leave a run folder; return the content of its run.json.

    Args:
        config: every setting of the run.
        resume: go on from the newest whole checkpoint in the run folder.
        overwrite: replace a run folder that exists.
        console: where progress is printed.
        callbacks: called before our own, for instance to measure.

    Raises:
        FrostlineError: see `errors`; `Interrupted` after Ctrl-C, with a checkpoint written.
    """
    datasets.disable_progress_bars()
    quiet()
    if resume and overwrite:
        raise ConfigError("resume and overwrite contradict each other: go on with the run, or start it anew.")
    require_alone(
        "a run folder has one writer, use frostline.prepare in a script of your own",
        int(os.environ.get("WORLD_SIZE", 1)),
    )
    planned: dict[str, Any] | None = None
    chosen = config
    while True:
        try:
            return _attempt(chosen, planned, config, resume, overwrite, console, callbacks)
        except _PlannedAnew as again:
            chosen, planned = again.config, again.planned
        gc.collect()  # the first attempt's model


class _PlannedAnew(Exception):
    """The first step was not as predicted, and another plan came out; nothing of the attempt is left."""

    def __init__(self, config: TrainConfig, planned: dict[str, Any]) -> None:
        super().__init__()
        self.config, self.planned = config, planned


def _attempt(
    config: TrainConfig,
    planned: dict[str, Any] | None,
    asked: TrainConfig,
    resume: bool,
    overwrite: bool,
    console: Console,
    callbacks: Sequence[TrainerCallback],
) -> dict[str, Any]:
    """Run as `config` says, which is what was asked for or, with `planned`, what another plan made of it."""
    folder = RunFolder(config.output)
    former = folder.record() if resume else None
    if former is not None:
        config = as_started(config, former)
    checkpoint = _checkpoint_to_resume(folder, former, config) if resume else None
    if former is not None and former["status"] == "finished":
        console.print(f"{config.output} is finished already; nothing is left to do.")
        return former
    if not resume:
        folder.require_new(overwrite=overwrite, keep=[config.model, config.data, config.validation])
    calibrates = planned is None and former is None and config.plan is None
    if former is not None:
        planned = former.get("planned")
    elif planned is None and (config.budget is not None or config.plan is not None):
        config, planned = within_budget(config, console)
    require_usable(config, folder.checkpoints)
    plugins.load(config.plugins)
    validate_settings(methods.get(config.method), config.settings)

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
    if planned is not None:
        record["planned"] = planned
    if former is not None:
        require_same(former, record)
        changed = [name for name, now in record["versions"].items() if former["versions"].get(name) != now]
        if changed:
            console.print(f"warning: other versions than at the start of this run: {', '.join(changed)}")
    else:
        interrupts.check()
        folder.create()
    write_json(folder.run, record)
    write_json(folder.plan, tuner.plan.to_json())
    _announce(console, config, task, data, tuner, encoded)

    def score(prediction: EvalPrediction) -> dict[str, float]:
        if encoded.outputs is not None:
            return scorer(encoded.outputs(prediction.predictions), data.validation["label"])
        return scorer(np.asarray(prediction.predictions), np.asarray(prediction.label_ids))

    known = {"metric": config.metric or data.metric}
    if encoded.lengths is None and config.sampling == "group_by_length":
        known["sampling"] = "random"  # all are of one length
    arguments = training_arguments(config.model_copy(update=known), folder.checkpoints)
    measures, clock = StepMeasures(), StepClock()
    recorder = Recorder(folder, tuner, clock, measures, console)
    keeper = checkpoints.CheckpointCallback(config.save_total_limit, checkpoint)
    interrupt = StopOnInterrupt(console.print)
    watchdog, first_step = None, None
    watch: list[TrainerCallback] = []
    if planned is not None:
        watchdog = Watchdog(planned["budget"])
        watch.append(watchdog)
        if calibrates:
            first_step = FirstStep(asked, planned, tuner, watchdog, console)
            watch.append(first_step)
    ours: list[TrainerCallback] = [clock, keeper, tuner.callback(), *watch, recorder, interrupt]
    if encoded.begin_epoch is not None:
        ours.append(Epochs(encoded.begin_epoch))
    if config.early_stopping_patience is not None:
        ours.append(EarlyStopping(config.early_stopping_patience, checkpoint))
    trainer = MeasuredTrainer(
        model=loaded.model,
        args=arguments,
        train_dataset=encoded.train,
        eval_dataset=encoded.validation,
        data_collator=encoded.collate,
        processing_class=loaded.processor,
        compute_metrics=score,
        preprocess_logits_for_metrics=encoded.reduce,
        callbacks=[*callbacks, *ours],
        measures=measures,
        tokens=lambda inputs: task.tokens(inputs, loaded.model),
        own_optimizer=tuner.own_optimizer,
        in_order=encoded.outputs is not None,
    )
    trainer.remove_callback(PrinterCallback)
    checkpoints.discard_partial(folder.checkpoints)
    if planned is not None and config.enforce:
        enforce(planned["budget"])
    try:
        with interrupt:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except AlreadyStopped:
        load_weights(loaded.model, Path(str(trainer.state.best_model_checkpoint)))
    except (ConfigError, PlanError, UnsupportedModel):
        if trainer.state.global_step == 0:  # refused by what only the Trainer could know, such as the number of steps
            shutil.rmtree(folder.path)
        raise
    except BaseException as error:
        raise explained(error, folder, record) from error
    finally:
        recorder.close()
    if first_step is not None and first_step.again is not None:
        shutil.rmtree(folder.path)
        raise _PlannedAnew(*first_step.again)
    if watchdog is not None and watchdog.exceeded is not None:
        raise stopped(watchdog.exceeded, folder, record)
    if interrupt.interrupted and trainer.state.global_step < trainer.state.max_steps:
        raise stopped(Interrupted(f"stopped after step {trainer.state.global_step}."), folder, record)

    trainable = tuner.trainable_parameters
    tuner.finish()
    broken = checkpoints.first_not_finite(loaded.model)
    if broken:
        diverged = TrainingDiverged(f"{broken!r} is no longer finite after step {trainer.state.global_step}.")
        raise explained(diverged, folder, record)
    record |= {
        "status": "finished",
        "metrics": _scores(trainer),
        "trainable_parameters": trainable,
        "peak_bytes": recorder.peaks.deciding,
        "memory": {
            "process_peak": recorder.peaks.process,
            "cuda_allocated": recorder.peaks.cuda_allocated,
            "cuda_reserved": recorder.peaks.cuda_reserved,
        },
        "train_seconds": recorder.seconds,
        **summary(folder, tuner.anatomy.parameter_count),
    }
    if planned is not None:
        record["prediction"] = prediction(planned, recorder.peaks.deciding)
    try:
        _save_model(folder, loaded, record)
        write_json(folder.run, record)
    except (OSError, SafetensorError) as error:
        raise explained(error, folder, record) from error
    return record


def _checkpoint_to_resume(folder: RunFolder, former: dict[str, Any] | None, config: TrainConfig) -> Path | None:
    if former is None:
        raise CheckpointError(f"there is no run to resume in {str(folder.path)!r}; leave --resume out to start one.")
    now = json.loads(config.model_dump_json())
    for key, value in former["config"].items():
        if key not in FREE_ON_RESUME and now.get(key) != value:
            raise CheckpointError(
                f"this run was started with {key}={value!r}, not {now.get(key)!r}: a resumed run ends as if it had "
                f"never stopped. Resume it with {key}={value!r}, or start another run folder."
            )
    if former["status"] == "finished":
        return None
    found = checkpoints.latest(folder.checkpoints)
    if found is None:
        raise CheckpointError(
            f"{str(folder.path)!r} has no whole checkpoint to resume from; start it anew with --overwrite."
        )
    return found


def _announce(
    console: Console, config: TrainConfig, task: Task, data: TaskData, tuner: Tuner, encoded: Encoded
) -> None:
    plan = tuner.plan
    asked = f"{len(data.label_names)} classes" if data.label_names else task.settled(data.label_names)
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
    for note in encoded.notes:
        console.print(note)


def _scores(trainer: MeasuredTrainer) -> dict[str, float]:
    """Return the validation scores of the final weights; from the last step's own evaluation, if there was one."""
    state = trainer.state
    last = next((entry for entry in reversed(state.log_history) if "eval_loss" in entry), None)
    same_weights = last is not None and last["step"] == state.global_step and not trainer.args.load_best_model_at_end
    found = last if same_weights and last is not None else trainer.evaluate()
    return {
        key.removeprefix("eval_"): value
        for key, value in found.items()
        if key.startswith("eval_") and not key.endswith(("runtime", "per_second"))
    }


def _save_model(folder: RunFolder, loaded: Loaded, record: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(dir=folder.path, prefix=".saving-") as name:
        staging = Path(name)
        loaded.model.save_pretrained(staging)
        loaded.processor.save_pretrained(staging)
        (staging / "README.md").write_text(model_card(record), encoding="utf-8")
        folder.publish(staging)
