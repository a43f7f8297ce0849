"""A few real training steps on made-up data, measured: memory and time in one process, tensors in another.

The tracker and the accounting slow a step several times and add memory of their own, so no process does both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch.optim import AdamW, Optimizer

from frostline import allocator
from frostline.anatomy import Anatomy
from frostline.anatomy.inventory import Sites
from frostline.anatomy.sites import kept
from frostline.errors import ConfigError, nearest
from frostline.heads import CLASSIFICATION
from frostline.meter.process import peaks, reset_peaks, synchronize
from frostline.meter.saved import SavedMeter
from frostline.meter.step_peaks import StepPeaks, memory_record
from frostline.models import quiet
from frostline.skeletons import shaped_batch, skeleton
from frostline.tuner import prepare

_ADAMW = "adamw_torch_fused"


@dataclass(frozen=True, slots=True)
class Steps:
    """What to run.

    Attributes:
        model, head: as for `skeleton`; its weights are random, as neither bytes nor times depend on them.
        batch_size, sequence_length, image_size: as for `shaped_batch`.
        method, settings, storage, optimizer_state, fused_backward: as for `prepare`.
        allocator: of memory on a CPU, `default` or `compact`; see `frostline.allocator`.
        count: optimizer steps.
        learning_rate: of the optimizer.
        optim: the optimizer, as transformers names it, where the method brings none of its own.
        make_optimizer: makes one from the parameters, in place of `optim`.
        bf16: whether operations run in bfloat16 autocast.
        seed: of weights, data and dropout.
    """

    model: str
    batch_size: int
    sequence_length: int | None = None
    image_size: int | None = None
    method: str = "full"
    settings: dict[str, Any] = field(default_factory=dict)
    storage: str | dict[str, str] = "exact"
    optimizer_state: str = "keep"
    fused_backward: bool = False
    allocator: str = "default"
    count: int = 4
    learning_rate: float = 5e-5
    optim: str = _ADAMW
    make_optimizer: Callable[[list[torch.nn.Parameter]], Optimizer] | None = None
    bf16: bool = False
    seed: int = 0
    head: str = CLASSIFICATION

    def __post_init__(self) -> None:
        """Raise ConfigError for a number that cannot be."""
        if self.count < 1:
            raise ConfigError(f"{self.count} steps are refused: give 1 or more.")
        if not 0 < self.learning_rate < float("inf"):
            raise ConfigError(f"a learning rate of {self.learning_rate} is refused: give one above 0.")


class Run:
    """A model under way: prepared, in training mode, with an optimizer and a batch.

    Args:
        steps: what to run.
        model: as `skeleton` makes it.
        batch: keyword arguments of a forward pass, where the model lies.
        anatomy: as for `prepare`.

    Raises:
        ConfigError: the method, a setting or the storage is refused.
    """

    def __init__(self, steps: Steps, model: Any, batch: dict[str, Any], anatomy: Anatomy | None = None) -> None:
        self.model, self.batch = model.train(), batch
        self.tuner = prepare(
            self.model,
            steps.method,
            optimizer_state=steps.optimizer_state,
            storage=steps.storage,
            fused_backward=steps.fused_backward,
            seed=steps.seed,
            anatomy=anatomy,
            **steps.settings,
        )
        self.tuner.set_total_steps(steps.count)
        parameters = self.tuner.candidate_parameters()
        own = self.tuner.own_optimizer([{"params": parameters}], steps.learning_rate)
        self.optimizer: Optimizer = own or _optimizer(steps, model, parameters)
        self._bf16 = steps.bf16
        self.tuner.attach(self.optimizer)

    @classmethod
    def real(cls, steps: Steps) -> Run:
        """Return a run on the GPU if there is one, else on the CPU, with random weights and data.

        Raises:
            ConfigError: also for the model and a size.
        """
        quiet()
        torch.manual_seed(steps.seed)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        meta_step(steps)  # what is refused is so before memory is taken
        model = skeleton(steps.model, head=steps.head, image_size=steps.image_size, device=device)
        batch = shaped_batch(model, *_sizes(steps), generator=torch.Generator().manual_seed(steps.seed))
        return cls(steps, model, {name: value.to(device) for name, value in batch.items()})

    @property
    def device_type(self) -> str:
        """The kind of device the model lies on."""
        return str(self.model.device.type)

    def step(self) -> None:
        """Run one whole step."""
        self.tuner.before_step()
        self.finish_step(self.loss())

    def loss(self) -> torch.Tensor:
        """Run a forward pass with labels, and return its loss."""
        with torch.autocast(self.device_type, torch.bfloat16, enabled=self._bf16):
            return cast(torch.Tensor, self.model(**self.batch).loss)

    def finish_step(self, loss: torch.Tensor) -> None:
        """Run what follows the forward pass."""
        loss.backward()
        self.optimizer.step()
        self.tuner.after_step()
        self.optimizer.zero_grad(set_to_none=True)


def _optimizer(steps: Steps, model: Any, parameters: list[torch.nn.Parameter]) -> Optimizer:
    """Return the optimizer that was asked for: transformers' Trainer would make the same of a name."""
    if steps.make_optimizer is not None:
        return steps.make_optimizer(parameters)
    if steps.optim == _ADAMW:
        return AdamW(parameters, lr=steps.learning_rate, fused=True)
    # Not above: what a Trainer needs takes tens of MiB, which a process that is measured should not have to hold.
    from transformers import Trainer, TrainingArguments
    from transformers.training_args import OptimizerNames

    known = [name.value for name in OptimizerNames]
    if steps.optim not in known:
        raise ConfigError(f"optim={steps.optim!r} is unknown to transformers{nearest(steps.optim, known)}")
    arguments = TrainingArguments(
        output_dir="none", optim=steps.optim, learning_rate=steps.learning_rate, use_cpu=True, report_to="none"
    )
    try:
        make, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
        return cast(Optimizer, make(parameters, **options))
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"optim={steps.optim!r} cannot be used here: {error}") from error


def meta_step(steps: Steps) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return the model on the meta device, and a batch on the CPU; ConfigError if the model or a size is refused."""
    model = skeleton(steps.model, head=steps.head, image_size=steps.image_size)
    return model, shaped_batch(model, *_sizes(steps))


def measure_process(steps: Steps) -> dict[str, Any]:
    """Return peaks of the process and the accelerator, and the seconds of each step.

    `process_before` is the size with all libraries loaded, before there is a model; `seconds` is the median over all
    steps but the first, which warms up.
    """
    reset_peaks()
    before = peaks().process
    allocator.use(steps.allocator)  # before there is a model, as a run does
    run = Run.real(steps)
    seconds = []
    for _ in range(steps.count):
        synchronize()
        began = time.perf_counter()
        run.step()
        synchronize()
        seconds.append(time.perf_counter() - began)
    memory = memory_record(peaks(), None, None)
    return {"memory": {**memory, "process_before": before}, "step_seconds": seconds, "device": run.device_type}


def measure_tensors(steps: Steps) -> dict[str, Any]:
    """Return the peak of tensors by category, and what the last step keeps by site, predicted and measured."""
    run = Run.real(steps)
    with StepPeaks(run.model, run.device_type, run.tuner.held()) as step_peaks:
        for _ in range(steps.count):
            run.tuner.before_step()
            loss = run.loss()
            run.finish_step(loss)
            del loss
            step_peaks.optimizer_moved(run.optimizer)
            step_peaks.end_step()
    run.tuner.before_step()
    predicted = kept(run.model, run.batch)
    with SavedMeter(run.model) as meter:
        loss = run.loss()
    run.finish_step(loss)
    return {
        "class": type(run.model).__name__,
        "batch": {name: list(value.shape) for name, value in run.batch.items()},
        "memory": step_peaks.memory(),
        "predicted": predicted.total,
        "measured": meter.sites.total,
        "sites": side_by_side(predicted, meter.sites),
    }


def side_by_side(predicted: Sites, measured: Sites) -> list[dict[str, Any]]:
    """Return a record of each site that either knows, with `predicted` and `measured` bytes, in forward order."""
    expected = {site.key: site for site in predicted}
    found = {site.key: site for site in measured}
    records = []
    for key in {**expected, **found}:
        site = expected.get(key) or found[key]
        records.append(
            {
                "module": site.module,
                "operation": site.operation,
                "call": site.call,
                "region": site.region,
                "block": site.block,
                "predicted": expected[key].bytes if key in expected else 0,
                "measured": found[key].bytes if key in found else 0,
            }
        )
    return records


def _sizes(steps: Steps) -> tuple[int, int | None, int | None]:
    return steps.batch_size, steps.sequence_length, steps.image_size
