"""A training step rehearsed: the very tuner, optimizer and storage on fake tensors, which have shapes and no memory.

What is rehearsed is what will run, operation by operation: forward, backward and the optimizer's step. So the peak of
tensors is that of the real step, but for what operations allocate inside themselves, which neither sees.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from frostline.errors import FrostlineError, UnsupportedModel
from frostline.meter.step_peaks import StepPeaks
from frostline.meter.steps import Run, Steps, meta_step
from frostline.models import quiet

Active = frozenset[str]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What rehearsed steps take, in bytes.

    Attributes:
        peak: of all tensors together.
        at_peak: what that was made of: weights, gradients, optimizer, saved, other.
        saved: most that waited for backward at any moment.
    """

    peak: int
    at_peak: dict[str, int]
    saved: int

    def __or__(self, other: Rehearsal) -> Rehearsal:
        """Return the one of the higher peak, with the most saved of both."""
        higher = self if self.peak >= other.peak else other
        return Rehearsal(higher.peak, higher.at_peak, max(self.saved, other.saved))


def rehearse(
    steps: Steps,
    sets: Sequence[Active] | None = None,
    device: str = "cpu",
    *,
    worst: bool = False,
    parts: bool = False,
    evaluation: int = 0,
) -> Rehearsal:
    """Return the highest peak over steps on fake tensors.

    Args:
        steps: what to run; `count` steps of its schedule, unless `sets` are given.
        sets: the units that train at each step, in place of the schedule's.
        device: where the real steps shall run, `cpu` or `cuda`.
        worst: after the schedule's own sets, also the heaviest that it may come to.
        parts: the batch is a part of one: gradients of the parts before it are there already.
        evaluation: examples in a forward pass of the evaluation between two steps, 0 for none.

    Raises:
        ConfigError: something in `steps` is refused.
        UnsupportedModel: the step depends on the data, or was not understood.
    """
    quiet()
    model, batch = meta_step(steps)
    try:
        with _fakes(), torch.random.fork_rng(devices=[]):
            _materialise(model, torch.device(device))
            run = Run(steps, model, {name: _empty(value, device) for name, value in batch.items()})
            return _rehearsed(run, sets if sets is not None else _schedule(run, steps.count, worst), parts, evaluation)
    except FrostlineError:
        raise
    except Exception as error:
        raise UnsupportedModel(
            f"a step of {steps.model!r} cannot be rehearsed on fake tensors: {type(error).__name__}: {error}. "
            "A forward pass that depends on the data cannot be predicted; `frostline measure` runs it."
        ) from error


def _schedule(run: Run, count: int, worst: bool) -> list[Active | None]:
    heaviest = run.tuner.heaviest() if worst else None
    return [*[None] * count, *([] if heaviest is None else [heaviest] * 2)]


def _rehearsed(run: Run, sets: Sequence[Active | None], parts: bool, evaluation: int) -> Rehearsal:
    run.batch.pop("attention_mask", None)  # it masks nothing, and models that look at its values drop it
    _fill_optimizer(run)
    with StepPeaks(run.model, run.device_type) as peaks:
        peaks.optimizer_moved(run.optimizer)
        for active in sets:
            run.tuner.force(active)
            run.tuner.before_step()
            if parts:
                run.model(**run.batch).loss.backward()
            loss = run.model(**run.batch).loss
            run.finish_step(loss)
            del loss
            peaks.optimizer_moved(run.optimizer)
            if evaluation:
                _evaluate(run, evaluation)
            peaks.end_step()
    memory = peaks.memory()
    run.tuner.finish()
    return Rehearsal(memory["tensor_peak"], memory["at_tensor_peak"], memory["saved_activations"])


@contextmanager
def _fakes() -> Iterator[None]:
    """Make every new tensor a fake one."""
    # All lie on the device already, and torch cannot move a module of fakes, as PEFT asks it to.
    stay = patch.object(nn.Module, "to", lambda module, *_, **__: module)
    with FakeTensorMode(allow_non_fake_inputs=True), stay, warnings.catch_warnings():
        # Some modules look where their tensors lie; fake ones lie nowhere, which is no answer but no harm.
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
        yield


def _materialise(model: nn.Module, device: torch.device) -> None:
    """Put tensors of the device in place of those of the meta device; what is tied stays tied."""
    made: dict[Tensor, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if parameter not in made:
                    made[parameter] = nn.Parameter(_empty(parameter, device), parameter.requires_grad)
                module._parameters[name] = made[parameter]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _empty(buffer, device)


def _empty(tensor: Tensor, device: torch.device | str) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)


def _evaluate(run: Run, examples: int) -> None:
    """Run a forward pass as an evaluation does."""
    batch = {name: value.new_empty((examples, *value.shape[1:])) for name, value in run.batch.items()}
    run.model.eval()
    with torch.no_grad():
        run.model(**batch)
    run.model.train()


def _fill_optimizer(run: Run) -> None:
    """Give the optimizer the state of every unit that it will come to hold, as after a long run."""
    if run.tuner.plan.optimizer_state != "keep":
        return
    for parameter in run.tuner.candidate_parameters():
        parameter.grad = torch.zeros_like(parameter)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
