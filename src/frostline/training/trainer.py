"""A stock Trainer that also tells each step's loss and tokens; and its arguments from our config."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from frostline.config import TrainConfig
from frostline.errors import TrainingDiverged


class StepMeasures:
    """Loss and tokens of the forward passes since they were last taken."""

    def __init__(self) -> None:
        self._loss = 0.0
        self._tokens = 0

    def add(self, loss: float, tokens: int) -> None:
        """Add one forward pass; `loss` is already divided by the number of passes in a step."""
        self._loss += loss
        self._tokens += tokens

    def take(self) -> tuple[float, int]:
        """Return the sums for one optimizer step and start the next."""
        sums = self._loss, self._tokens
        self._loss, self._tokens = 0.0, 0
        return sums


class MeasuredTrainer(Trainer):
    """Trainer whose `training_step` (made to be overridden) notes loss and tokens and stops at a loss that is none."""

    def __init__(self, *args: Any, measures: StepMeasures, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._measures = measures

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Run forward and backward; TrainingDiverged if the loss is not finite, before any weight has moved."""
        tokens = int(inputs["attention_mask"].sum())
        loss = super().training_step(model, inputs, num_items_in_batch)
        value = float(loss)
        if not math.isfinite(value):
            raise TrainingDiverged(f"the loss is {value} at step {self.state.global_step + 1}.")
        self._measures.add(value, tokens)
        return loss


def training_arguments(config: TrainConfig, folder: Path) -> TrainingArguments:
    """Return transformers' arguments for our config.

    Args:
        config: the run's.
        folder: for checkpoints.
    """
    gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.eval_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        optim=config.optim,
        bf16=config.bf16,
        use_cpu=not gpu,
        dataloader_pin_memory=gpu,
        train_sampling_strategy="group_by_length" if config.group_by_length else "random",
        seed=config.seed,
        eval_strategy=config.eval_strategy,
        eval_steps=config.eval_steps,
        save_strategy=config.save_strategy,
        save_steps=config.save_steps,
        save_only_model=True,  # the checkpoint callback adds the rest, without pickles
        save_total_limit=None,  # and removes older ones, once the new one is whole
        load_best_model_at_end=config.load_best_model_at_end or config.early_stopping_patience is not None,
        metric_for_best_model=f"eval_{config.metric}" if config.metric else None,
        greater_is_better=True,
        logging_steps=config.logging_steps,
        report_to=config.report_to or "none",
        disable_tqdm=True,
        run_name=str(config.output),
    )
