"""One training run from config to model: read, check, prepare, train, measure, save. Nothing is written before
everything that can be refused has been.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
from rich.console import Console
from safetensors import SafetensorError
from transformers import TrainerCallback

from frostline.config import TrainConfig
from frostline.errors import ConfigError, TrainingDiverged
from frostline.models import Loaded, quiet
from frostline.training import checkpoints, start
from frostline.training.card import model_card
from frostline.training.loop import PlannedAnew, train
from frostline.training.opening import Opened, opened
from frostline.training.planned import prediction
from frostline.training.record import summary
from frostline.training.recorder import Recorder
from frostline.training.run_folder import RunFolder, write_json
from frostline.training.stopping import explained
from frostline.training.trainer import MeasuredTrainer
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
    begun = start.resumed(config) if resume else start.new(config, overwrite, None, console)
    if begun.former is not None and begun.is_finished:
        console.print(f"{config.output} is finished already; nothing is left to do.")
        return begun.former
    while True:
        try:
            return _attempt(begun, console, callbacks)
        except PlannedAnew as again:
            changed, planned = again.config, again.planned
        gc.collect()  # the first attempt's model
        begun = start.new(changed, overwrite, planned, console)


def _attempt(begun: start.Start, console: Console, callbacks: Sequence[TrainerCallback]) -> dict[str, Any]:
    ready = opened(begun, console)
    trainer, recorder = train(ready, console, callbacks)
    return _ended(ready, trainer, recorder)


def _ended(run: Opened, trainer: MeasuredTrainer, recorder: Recorder) -> dict[str, Any]:
    """Take the method off, score, save the model, and return what run.json says at last."""
    folder, record, tuner = run.folder, run.record, run.tuner
    trainable = tuner.trainable_parameters
    tuner.finish()
    broken = checkpoints.first_not_finite(run.loaded.model)
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
    if run.start.planned is not None:
        record["prediction"] = prediction(run.start.planned, recorder.peaks.deciding)
    try:
        _save_model(folder, run.loaded, record)
        write_json(folder.run, record)
    except (OSError, SafetensorError) as error:
        raise explained(error, folder, record) from error
    return record


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
