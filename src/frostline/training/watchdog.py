"""Watches a run within a budget: the first step checks the prediction, every step the budget."""

from __future__ import annotations

import math
from typing import Any

import torch
from rich.console import Console
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from frostline import meter
from frostline.anatomy.batches import sizes_of
from frostline.anatomy.sites import kept
from frostline.budget import exceeded, written
from frostline.config import TrainConfig
from frostline.errors import BudgetExceeded, BudgetInfeasible, FrostlineError
from frostline.training.planned import ask, within_budget
from frostline.training.save_and_stop import SaveAndStop
from frostline.training.stopping import what_was_refused
from frostline.tuner import Tuner

TOLERANCE = 0.05
"""Of the predicted peak: a first step further above it makes the run plan anew."""


class Watchdog(SaveAndStop):
    """Stops a run whose peak has passed its budget, at the end of that step and with a checkpoint.

    Attributes:
        exceeded: the error to raise when the Trainer has saved and stopped; None while all is well.
        batch: the last one, as tensors without memory.
    """

    def __init__(self, budget: int) -> None:
        self.exceeded: BudgetExceeded | None = None
        self.batch: dict[str, torch.Tensor] = {}
        self._budget = budget

    @property
    def asked(self) -> bool:
        """Whether the budget has been passed."""
        return self.exceeded is not None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin to note the shapes of batches."""
        kwargs["model"].register_forward_pre_hook(self._note, with_kwargs=True)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Look at the peak since the last step."""
        peak = meter.peaks().deciding
        if peak > self._budget and self.exceeded is None:
            why = self._largest_site(kwargs["model"])
            self.exceeded = exceeded(f"step {state.global_step}", peak, self._budget, why)
        super().on_step_end(args, state, control, **kwargs)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Look at the peak of an evaluation, which the Trainer may save after."""
        peak = meter.peaks().deciding
        if peak > self._budget and self.exceeded is None:
            why = "; eval_batch_size makes it smaller"
            self.exceeded = exceeded(f"the evaluation after step {state.global_step}", peak, self._budget, why)
            control.should_save = control.should_training_stop = True

    def _note(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if model.training:
            tensors = {name: value for name, value in kwargs.items() if isinstance(value, torch.Tensor)}
            self.batch = {name: torch.empty_like(value, device="meta") for name, value in tensors.items()}

    def _largest_site(self, model: Any) -> str:
        """Say which site kept most of that batch; nothing if the step cannot be traced."""
        batch = {name: value for name, value in self.batch.items() if name != "attention_mask"}
        try:
            found = max(kept(model, batch), key=lambda site: site.bytes, default=None)
        except FrostlineError:
            return ""
        if found is None:
            return ""
        shape = " x ".join(map(str, self.batch[model.main_input_name].shape))
        return f"; with its batch of {shape}, {found.module} ({found.operation}) kept most: {written(found.bytes)}"


class FirstStep(TrainerCallback):
    """Compares the first real step with its own prediction; where it took more, plans anew with what it measured.

    Args:
        config: as the user wrote it, with a budget.
        planned: what the planner found for it.
        tuner: of the run.
        watchdog: which knows the batch.
        console: where it is said.

    Attributes:
        again: another config and plan for the run to start anew with; None if the plan stays.
    """

    def __init__(
        self, config: TrainConfig, planned: dict[str, Any], tuner: Tuner, watchdog: Watchdog, console: Console
    ) -> None:
        self.again: tuple[TrainConfig, dict[str, Any]] | None = None
        self._config, self._planned, self._tuner = config, planned, tuner
        self._watchdog, self._console = watchdog, console
        self._active: list[str] = []

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note what trains."""
        self._active = sorted(self._tuner.active)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """After the first step compare; ask for the end of this attempt if another plan came out."""
        if state.global_step != 1:
            return
        measured, expected = meter.peaks().deciding, self._expected() + int(self._planned["runtime"])
        if abs(measured / expected - 1) <= TOLERANCE:
            return
        found = f"the first step took {written(measured)} where {written(expected)} were predicted for it"
        if measured < expected:  # what it has not taken yet, an evaluation or a larger batch may still take
            self._console.print(f"{found}: the plan stays as it is")
            return
        try:
            other = self._plan_anew(measured - expected, found)
        except BudgetInfeasible:  # whether this one is kept, every step will tell
            other = False
        if not other:
            self._console.print(f"{found}: the plan stays as it is")
            return
        control.should_training_stop = True
        control.should_save = control.should_evaluate = False

    def refused(self, error: BaseException) -> bool:
        """After a step that the system refused its memory, plan anew with more spared; tell whether that is possible.

        A GPU's allocator cannot fill every gap, and kernels take room to work in, which no prediction knows.
        """
        said = what_was_refused(error)
        spared = math.ceil(self._planned["budget"] * TOLERANCE)
        try:
            while not self._plan_anew(spared, f"the first step: {said}"):
                spared *= 2
        except BudgetInfeasible:
            return False
        return True

    def _plan_anew(self, more: int, why: str) -> bool:
        """Plan with `more` bytes beside the tensors; tell whether another plan came out."""
        runtime = self._planned["runtime"] + more
        config, planned = within_budget(self._config, Console(quiet=True), self._planned, runtime)
        if planned["plan"] == self._planned["plan"]:
            return False
        self._console.print(f"{why}: planned anew, {planned['rungs'][-1]['name']}; the run starts again")
        self.again = config, planned
        return True

    def _expected(self) -> int:
        """Return the bytes of all tensors that the first step should have taken, with its own batch and units."""
        active = None if self._tuner.constant else self._active
        job = {name: self._planned[name] for name in ("request", "plan")}
        return int(
            ask({"kind": "first_step", **job, "sizes": sizes_of(self._watchdog.batch), "active": active})["peak"]
        )
