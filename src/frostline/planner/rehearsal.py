"""A training step rehearsed: the very tuner, optimizer and storage on fake tensors, which have shapes and no memory.

What is rehearsed is what will run, operation by operation: forward, backward and the optimizer's step. So the peak of
tensors is that of the real step, but for what operations allocate inside themselves, which neither sees.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from frostline.anatomy import Anatomy, discover
from frostline.anatomy.batches import LABELS, with_decoder_inputs
from frostline.anatomy.fakes import Fakes, fakes
from frostline.anatomy.target import traced_for
from frostline.errors import FrostlineError, UnsupportedModel
from frostline.meter.saved import SavedMeter
from frostline.meter.step_peaks import StepPeaks
from frostline.meter.steps import Run, Steps, meta_step
from frostline.meter.tensors import TensorTracker
from frostline.meter.work import Work, WorkCounter
from frostline.models import quiet

_LOOKS_AT_DATA = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    GuardOnDataDependentSymNode,
)
Active = frozenset[str]
Source = Callable[[Steps], tuple[Any, dict[str, Tensor]]]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What rehearsed steps take.

    Attributes:
        peak: bytes of all tensors together.
        at_peak: what that was made of: weights, gradients, optimizer, saved, other; bytes.
        saved: most bytes that waited for backward at any moment.
        work: of one whole step, the last of those that the schedule chose.
        upload: bytes of all weights that may ever train: what a device of a fleet sends.
    """

    peak: int
    at_peak: dict[str, int]
    saved: int
    work: Work
    upload: int


def rehearse(
    steps: Steps,
    sets: Sequence[Active] | None = None,
    device: str = "cpu",
    *,
    worst: bool = False,
    parts: int = 1,
    evaluation: int = 0,
    fresh: bool = False,
    ahead: bool = False,
    source: Source = meta_step,
    anatomy: Anatomy | None = None,
) -> Rehearsal:
    """Return the highest peak over steps on fake tensors.

    Args:
        steps: what to run; `count` steps of its schedule, unless `sets` are given; one is enough if it never changes.
        sets: the units that train at each step, in place of the schedule's; those of the first have trained before.
        device: where the real steps shall run, `cpu` or `cuda`.
        worst: after the schedule's own sets, also the heaviest that it may come to.
        parts: of which the batch is one: gradients of the parts before it are there already.
        evaluation: examples in a forward pass of the evaluation between two steps, 0 for none.
        fresh: nothing has trained before: the optimizer has no state at the first step.
        ahead: the next batch is there already, as Accelerate's loader has it.
        source: gives the model and a batch, on the meta device; made from the names in `steps` unless told otherwise.
        anatomy: of the model, if it is known: finding it takes a third of the time.

    Raises:
        ConfigError: something in `steps` is refused.
        UnsupportedModel: the step depends on the data, or was not understood.
    """
    with _ready(steps, device, source, anatomy) as run:
        heaviest = run.tuner.heaviest() if worst else None
        count = 1 if run.tuner.constant and not fresh else steps.count
        if not fresh:
            _fill_optimizer(run, sets[0] if sets else None)
        own: list[Active | None] = list(sets) if sets is not None else [None] * count
        return _rehearsed(run, own, [] if heaviest is None else [heaviest] * 2, parts, evaluation, ahead)


def rehearse_saved(
    steps: Steps, device: str = "cpu", *, source: Source = meta_step, anatomy: Anatomy | None = None
) -> dict[str, int]:
    """Return what waits when backward begins, bytes by operation, most first; of the heaviest set of a schedule.

    A model that runs its blocks more than once has no such places: nothing is returned.

    Args:
        steps, device, source, anatomy: as for `rehearse`.

    Raises:
        ConfigError, UnsupportedModel: as for `rehearse`.
    """
    with _ready(steps, device, source, anatomy) as run:
        run.tuner.force(run.tuner.heaviest())
        run.tuner.before_step()
        try:
            with SavedMeter(run.model, run.device_type) as meter:
                loss = run.loss()
        except UnsupportedModel:
            return {}
        run.finish_step(loss)
        run.tuner.finish()
        return meter.sites.by_operation()


@contextmanager
def _ready(steps: Steps, device: str, source: Source, anatomy: Anatomy | None) -> Iterator[Run]:
    """Give a run of the steps on fake tensors."""
    quiet()
    model, batch = source(steps)
    try:
        anatomy = anatomy or discover(model, batch)  # not on fakes: it looks at the tokens
        with traced_for(device) as place, _fakes() as known, torch.random.fork_rng(devices=[]):
            _materialise(model, known, place)
            yield Run(steps, model, {name: known.like(value, place) for name, value in batch.items()}, anatomy)
    except FrostlineError:
        raise
    except Exception as error:
        raise _unforeseen(steps, error) from error


def rehearse_inference(steps: Steps, device: str = "cpu", *, source: Source = meta_step) -> int:
    """Return the peak bytes of all tensors of a forward pass as inference does it: no gradients, no dropout, no labels.

    Args:
        steps: of which the model, the batch and `bf16` count.
        device, source: as for `rehearse`.

    Raises:
        ConfigError, UnsupportedModel: as for `rehearse`.
    """
    quiet()
    model, batch = source(steps)
    try:
        with traced_for(device) as place, _fakes() as known, torch.no_grad():
            _materialise(model.eval(), known, place)
            batch = with_decoder_inputs(model, batch)
            inputs = {name: known.like(value, place) for name, value in batch.items() if name not in LABELS}
            inputs.pop("attention_mask", None)  # it masks nothing
            with (
                TensorTracker(model, place.type) as tracker,
                torch.autocast(place.type, torch.bfloat16, enabled=steps.bf16),
            ):
                model(**inputs)
            return int(tracker.peak_bytes)
    except FrostlineError:
        raise
    except Exception as error:
        raise _unforeseen(steps, error) from error


def _unforeseen(steps: Steps, error: Exception) -> UnsupportedModel:
    """Return the error in words: a step that looks at the data, or one that failed for a reason of its own."""
    why = (
        "A forward pass that depends on the data cannot be predicted; `frostline measure` runs it."
        if isinstance(error, _LOOKS_AT_DATA) or "meta tensor" in str(error)
        else "`frostline measure` runs a real one, and shows whether the model or its config is at fault."
    )
    said = str(error).strip().partition("\n")[0]
    return UnsupportedModel(
        f"a step of {steps.model!r} cannot be rehearsed on fake tensors: {type(error).__name__}: {said}. {why}"
    )


def _rehearsed(
    run: Run, own: Sequence[Active | None], more: Sequence[Active | None], parts: int, evaluation: int, ahead: bool
) -> Rehearsal:
    """Rehearse the schedule's own sets, of which the last says how much work a step is, and more for their peak."""
    run.batch.pop("attention_mask", None)  # it masks nothing, and models that look at its values drop it
    work = Work()
    with StepPeaks(run.model, run.device_type, run.tuner.held()) as peaks, WorkCounter() as counter:
        peaks.optimizer_moved(run.optimizer)
        following = [value.clone() for value in run.batch.values()] if ahead else []
        for index, active in enumerate((*own, *more)):
            run.tuner.force(active)
            counter.take()
            run.tuner.before_step()
            before = Work()
            if parts > 1:
                run.loss().backward()
                before = counter.take()
            loss = run.loss()
            run.finish_step(loss)
            del loss
            if index < len(own):
                work = counter.take() + before * (parts - 1)
            peaks.optimizer_moved(run.optimizer)
            if evaluation:
                _evaluate(run, evaluation)
            peaks.end_step()
        del following
    memory = peaks.memory()
    upload = sum(parameter.nbytes for parameter in run.tuner.candidate_parameters())
    run.tuner.finish()
    return Rehearsal(memory["tensor_peak"], memory["at_tensor_peak"], memory["saved_activations"], work, upload)


@contextmanager
def _fakes() -> Iterator[Fakes]:
    """Make every new tensor a fake one."""
    # All lie on the device already, and torch cannot move a module of fakes, as PEFT asks it to.
    stay = patch.object(nn.Module, "to", lambda module, *_, **__: module)
    with fakes() as known, stay, warnings.catch_warnings():
        # Some modules look where their tensors lie; fake ones lie nowhere, which is no answer but no harm.
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
        yield known


def _materialise(model: nn.Module, known: Fakes, device: torch.device) -> None:
    """Put tensors of the device in place of those of the meta device; what is tied stays tied."""
    made: dict[Tensor, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if parameter not in made:
                    made[parameter] = nn.Parameter(known.like(parameter, device), parameter.requires_grad)
                module._parameters[name] = made[parameter]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = known.like(buffer, device)


def _evaluate(run: Run, examples: int) -> None:
    """Run a forward pass as an evaluation does."""
    batch = {name: _repeated(value, examples) for name, value in run.batch.items()}
    run.model.eval()
    with torch.no_grad():
        run.model(**batch)
    run.model.train()


def _repeated(value: Tensor, examples: int) -> Tensor:
    """Return a batch of the first example so many times."""
    return value[:1].repeat(examples, *[1] * (value.dim() - 1))


def _fill_optimizer(run: Run, active: Active | None) -> None:
    """Give the optimizer the state that it holds after a long run: of all that may train, or of these units alone."""
    if run.tuner.plan.optimizer_state == "keep" or run.tuner.constant:
        parameters = run.tuner.candidate_parameters()
    else:
        always = frozenset(unit.name for unit in run.tuner.always) if active is not None else frozenset()
        parameters = run.tuner.parameters_of((active or frozenset()) | always)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
