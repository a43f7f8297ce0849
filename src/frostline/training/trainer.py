"""A stock Trainer that also tells each step's loss and tokens; and its arguments from our config."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import Sampler, SequentialSampler
from transformers import SchedulerType, Trainer, TrainingArguments, get_scheduler
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.training_args import OptimizerNames

from frostline.config import TrainConfig
from frostline.errors import ConfigError, TrainingDiverged, nearest
from frostline.storage import Storage
from frostline.tasks.metrics import METRICS


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


OwnOptimizer = Callable[[list[dict[str, Any]], float], Optimizer | None]


class MeasuredTrainer(Trainer):
    """Trainer whose methods made to be overridden are: `training_step` notes loss and tokens and stops at a loss that
    is none, `create_optimizer` takes the optimizer that the method brings, if it brings one. And one that is not: see
    `_get_eval_sampler`.
    """

    def __init__(
        self,
        *args: Any,
        measures: StepMeasures,
        tokens: Callable[[dict[str, Any]], int],
        own_optimizer: OwnOptimizer,
        in_order: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._in_order = in_order
        self._measures = measures
        self._tokens = tokens
        self._own_optimizer = own_optimizer

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """Return the method's own optimizer over the groups that transformers makes; else the one of the arguments."""
        stock = super().create_optimizer(model)
        groups = [{"params": group["params"], "weight_decay": group["weight_decay"]} for group in stock.param_groups]
        self.optimizer = self._own_optimizer(groups, self.args.learning_rate) or stock
        return self.optimizer

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int] | None:
        """Return one that keeps the rows' order where the scores need it: transformers groups them by length, too."""
        return SequentialSampler(eval_dataset) if self._in_order else super()._get_eval_sampler(eval_dataset)

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Run forward and backward; TrainingDiverged if the loss is not finite, before an optimizer step."""
        tokens = self._tokens(inputs)
        loss = super().training_step(model, inputs, num_items_in_batch)
        value = float(loss)
        if not math.isfinite(value):
            raise TrainingDiverged(f"the loss is {value} at step {self.state.global_step + 1}.")
        self._measures.add(value, tokens)
        return loss


def require_usable(config: TrainConfig, folder: Path) -> None:
    """Raise ConfigError for storage, an optimizer, schedule or tracker that is not known, or cannot be used here."""
    Storage.of(config.storage)
    trackers = INTEGRATION_TO_CALLBACK
    for key, value, known in (
        ("optim", config.optim, [name.value for name in OptimizerNames]),
        ("lr_scheduler_type", config.lr_scheduler_type, [name.value for name in SchedulerType]),
        *(("report_to", tracker, list(trackers)) for tracker in config.report_to),
    ):
        if value not in known:
            raise ConfigError(f"{key}={value!r} is unknown to transformers{nearest(value, known)}")
    try:
        arguments = training_arguments(config, folder)
    except ValueError as error:  # of two settings together; transformers says which
        raise ConfigError(f"transformers refuses these settings: {error}") from error
    probe: Any = nn.Linear(1, 1)
    key, value = "optim", config.optim
    try:
        make, options = Trainer.get_optimizer_cls_and_kwargs(arguments, probe)
        optimizer = make(probe.parameters(), **options)
        for parameter in probe.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()  # torchao's compile their step, for which a compiler must be there
        key, value = "lr_scheduler_type", config.lr_scheduler_type
        get_scheduler(value, optimizer, num_warmup_steps=0, num_training_steps=1)
        for tracker in config.report_to:
            key, value = "report_to", tracker
            trackers[tracker]()
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"{key}={value!r} cannot be used here: {first_line} Install it, or choose another."
        ) from error


def training_arguments(config: TrainConfig, folder: Path) -> TrainingArguments:
    """Return transformers' arguments for our config.

    Args:
        config: the run's.
        folder: for checkpoints.
    """
    gpu, metric = torch.cuda.is_available(), METRICS.get(config.metric or "")
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
        train_sampling_strategy=config.sampling,
        seed=config.seed,
        eval_strategy=config.eval_strategy,
        eval_steps=config.eval_steps,
        save_strategy=config.save_strategy,
        save_steps=config.save_steps,
        save_only_model=True,  # the checkpoint callback adds the rest, without pickles
        save_total_limit=None,  # and removes older ones, once the new one is whole
        load_best_model_at_end=config.load_best_model_at_end or config.early_stopping_patience is not None,
        metric_for_best_model=f"eval_{config.metric}" if config.metric else None,
        greater_is_better=metric is None or metric.greater_is_better,
        logging_steps=config.logging_steps,
        report_to=config.report_to or "none",
        disable_tqdm=True,
        run_name=str(config.output),
    )
