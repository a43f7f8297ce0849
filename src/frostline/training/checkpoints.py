"""Checkpoints that are whole or not there: the manifest, written last, is what makes a folder a checkpoint.

The Trainer writes the model and its own state (JSON); this callback adds optimizer, schedule and random state as
safetensors and JSON, then the manifest with every file's size, and only then removes older checkpoints. A kill or a
full disk at any moment leaves the previous checkpoint as it was.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints, sort_checkpoints

from frostline.errors import TrainingDiverged
from frostline.training import state_files
from frostline.training.run_folder import write_json
from frostline.training.weights import load_weights, renames

MANIFEST = "manifest.json"


def latest(folder: Path) -> Path | None:
    """Return the newest whole checkpoint in `folder`, None if there is none."""
    if not folder.is_dir():
        return None
    whole = [Path(path) for path in sort_checkpoints(str(folder)) if is_whole(Path(path))]
    return whole[-1] if whole else None


def is_whole(checkpoint: Path) -> bool:
    """Tell whether every file that the manifest names is there with its size."""
    try:
        files = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all((checkpoint / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def discard_partial(folder: Path) -> None:
    """Remove checkpoints that were never finished."""
    for path in sort_checkpoints(str(folder)) if folder.is_dir() else []:
        if not is_whole(Path(path)):
            shutil.rmtree(path)


def first_not_finite(model: nn.Module) -> str | None:
    """Return the name of the first parameter that holds an infinity or a NaN, None if all are finite."""
    return next((name for name, p in model.named_parameters() if not bool(torch.isfinite(p).all())), None)


class CheckpointCallback(TrainerCallback):
    """Completes the Trainer's checkpoints, and restores what it adds to them.

    Args:
        keep: how many checkpoints stay, the best one besides.
        resume_from: the checkpoint that the Trainer resumes from, if any.
    """

    def __init__(self, keep: int, resume_from: Path | None) -> None:
        self._keep = keep
        self._resume_from = resume_from
        self._random_pending = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Restore optimizer and learning-rate schedule, and find the best checkpoint in a folder that was moved."""
        if self._resume_from is not None:
            best = self._resume_from.with_name(f"checkpoint-{state.best_global_step}")
            if is_whole(best):
                state.best_model_checkpoint = str(best)
            if renames(kwargs["model"]):
                load_weights(kwargs["model"], self._resume_from)
            state_files.load_optimizer(self._resume_from, kwargs["optimizer"], kwargs["lr_scheduler"])
            self._random_pending = True

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Seed the epoch by its number, so that its order can be drawn again when the run resumes within it."""
        torch.manual_seed(args.seed * 1_000_003 + int(state.epoch or 0))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Restore the random state of the interrupted step, now that the order of the epoch is drawn."""
        if self._random_pending and self._resume_from is not None:
            self._random_pending = False
            if (state.epoch or 0) % 1:  # at the start of an epoch its own seed has just been set
                state_files.load_random(self._resume_from)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take back the best weights where the Trainer, which does so itself, would miss those that were renamed."""
        best = state.best_model_checkpoint
        if args.load_best_model_at_end and best is not None and renames(kwargs["model"]):
            load_weights(kwargs["model"], Path(best))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Add what the Trainer left out, then the manifest; then remove older checkpoints."""
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        broken = first_not_finite(kwargs["model"])
        if broken:
            raise TrainingDiverged(f"{broken!r} is no longer finite after step {state.global_step}.")
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle, and run.json says it all
        state_files.save(folder, kwargs["optimizer"], kwargs["lr_scheduler"])
        files = {}
        for path in sorted(folder.iterdir()):
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
            files[path.name] = path.stat().st_size
        write_json(folder / MANIFEST, {"step": state.global_step, "files": files})
        rotate_checkpoints(str(args.output_dir), self._keep, state.best_model_checkpoint)
