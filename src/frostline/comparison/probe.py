"""Measures that slow a run down or hold it up, and so are taken in runs of their own."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from typing import Any, TextIO

import torch
from rich.console import Console
from transformers import (
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from frostline import allocator, meter
from frostline.anatomy.batches import LABELS
from frostline.config import TrainConfig
from frostline.meter.step_peaks import StepPeaks, memory_record
from frostline.models import in_evaluation, quiet
from frostline.tasks import task_of
from frostline.training.run import run
from frostline.training.run_folder import RunFolder
from frostline.training.versions import hardware, versions


class Enough(Exception):
    """What was to be measured is; the run need not evaluate and save."""


class Probe(TrainerCallback, ABC):
    """A callback that measures and then ends the run by raising `Enough`."""

    @abstractmethod
    def result(self) -> dict[str, Any]:
        """Return what was measured, for `train_info`."""


def measured(config: TrainConfig, probe: Probe, console: Console) -> dict[str, Any]:
    """Return what the probe saw in a run of `config`, with the run's versions, data and plan."""
    with contextlib.suppress(Enough):
        run(config, console=console, callbacks=[probe])
    record = RunFolder(config.output).record()
    return {**(record or {}), "train_info": probe.result()}


class MemoryProbe(Probe):
    """Follows every tensor, see `meter.TensorTracker`; every step is on the first batch, which is the longest.

    So the optimizer's state is there when that batch comes, and every turn of a schedule meets it.
    """

    def __init__(self) -> None:
        self._peaks: StepPeaks | None = None
        self._first: dict[str, Any] | None = None

    def _repeat(self, model: Any, positional: Any, batch: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        self._first = batch if self._first is None else self._first
        return positional, self._first

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start to follow."""
        kwargs["model"].register_forward_pre_hook(self._repeat, with_kwargs=True)
        self._peaks = StepPeaks(kwargs["model"], args.device.type).__enter__()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the optimizer's state from other tensors."""
        assert self._peaks is not None
        self._peaks.optimizer_moved(kwargs["optimizer"])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep the step's peaks."""
        assert self._peaks is not None
        self._peaks.end_step()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop to follow."""
        assert self._peaks is not None
        self._peaks.__exit__(None, None, None)
        raise Enough

    def result(self) -> dict[str, Any]:
        """Return the peak of tensors, what it was made of, and the saved activations."""
        assert self._peaks is not None
        return {"memory": self._peaks.memory(), "steps": len(self._peaks.saved)}


class Baton(Probe):
    """Runs one step whenever the parent says `go`, and answers with its seconds; waits in between.

    A step's time includes the tuner's work and fetching the next batch, as the user waits for both.
    """

    def __init__(self, hear: TextIO, say: TextIO) -> None:
        self._hear, self._say = hear, say
        self._began: float | None = None

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Hand over, wait for the turn, and start the clock."""
        self._hand_over()
        if not self._hear.readline():
            raise EOFError("the parent is gone")
        self._began = time.perf_counter()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Hand over for the last time."""
        self._hand_over()
        raise Enough

    def result(self) -> dict[str, Any]:
        """Return nothing: the parent has the seconds."""
        return {}

    def _hand_over(self) -> None:
        meter.synchronize()
        seconds = 0.0 if self._began is None else time.perf_counter() - self._began
        print(f"step {seconds:.9f}", file=self._say, flush=True)


def measure_inference(config: TrainConfig) -> dict[str, Any]:
    """Return the peaks of forward passes alone, on the batch of the longest training rows."""
    quiet()
    task = task_of(config)
    data = task.read(config)
    set_seed(config.seed)
    loaded = task.load(config.model, data.label_names, config)
    batch = task.encode(data, loaded, config).longest(config.batch_size)
    model = in_evaluation(loaded.model)
    batch = {key: value.to(model.device) for key, value in batch.items() if key not in LABELS}
    held = allocator.use(config.allocator)
    meter.reset_peaks()
    for _ in range(3):
        with torch.inference_mode():
            model(**batch)
    peaks = meter.peaks()
    with meter.TensorTracker(model, model.device.type) as tracker, torch.no_grad():
        model(**batch)
    memory = memory_record(peaks, tracker.peak, tracker.saved_peak)
    made_with = {"versions": versions(), "hardware": hardware(), "allocator": held.to_json()}
    return {"train_info": {"memory": memory, "steps": 3}, **made_with}
