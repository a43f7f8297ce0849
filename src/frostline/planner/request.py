"""What a user wants planned, and the answer as JSON values: the plan, what it takes, and every rung on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from frostline import methods
from frostline.anatomy import Anatomy, discover
from frostline.budget import free_memory, is_auto, parse_budget, times_inference, total_memory
from frostline.errors import BudgetError, BudgetInfeasible, ConfigError
from frostline.heads import CLASSIFICATION
from frostline.meter.steps import Steps, meta_step
from frostline.planner.ladder import AS_PLANNED, Rung, ladder, suffixes
from frostline.planner.limits import Limits
from frostline.planner.machine import Machine, machine
from frostline.planner.rehearsal import Source, rehearse, rehearse_inference, rehearse_saved
from frostline.planner.search import Tried, largest, search, smallest

Choice = str | dict[str, str]
_OF_STEPS = ("method", "settings", "storage", "optimizer_state", "fused_backward")
PLAN = (*_OF_STEPS, "batch_size", "gradient_accumulation_steps", "allocator", "max_grad_norm")
"""The keys of `frostline train` that a plan may say."""


_AS_SAID = ("allocator", "max_grad_norm")
_PRICED = frozenset({"capacity", "costs", "prices"})


@dataclass(frozen=True, slots=True)
class Request:
    """A model, a shape and a budget.

    Attributes:
        model, head, batch_size, sequence_length, image_size, optim, bf16: as for `frostline.meter.steps.Steps`; the
            longest batch.
        budget: bytes, or text as `parse_budget` reads it: of the whole process on a CPU, of the GPU's memory on one; or
            `1.5x`, so many times what inference takes on that batch.
        seconds, flops: of a step, at most; seconds need a machine that was calibrated.
        upload: bytes of all weights that may ever train, at most: what a device of a fleet sends.
        device: `cpu` or `cuda`.
        method, settings: kept if given; the planner chooses if None.
        storage: kept if given; the planner chooses if None.
        optimizer_state: of frozen units, kept if given; that of `auto` is chosen if None.
        fused: whether each weight may move within backward; not where gradients are clipped or added up.
        accumulation: batches of that size whose gradients are added up for one step.
        evaluation: examples in a forward pass of the evaluation, 0 for none.
        whole: the batch is not split.
        keys: of a plan that is there already, as `make_plan` returns it: nothing is chosen, all is predicted.
        runtime: bytes of the process besides its tensors, where they are known better than by calibration.
    """

    model: str
    batch_size: int
    budget: str | int
    sequence_length: int | None = None
    image_size: int | None = None
    seconds: float | None = None
    flops: float | None = None
    upload: str | int | None = None
    device: str = "cpu"
    method: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    storage: Choice | None = None
    optimizer_state: str | None = None
    optim: str = "adamw_torch_fused"
    bf16: bool = False
    fused: bool = True
    accumulation: int = 1
    evaluation: int = 0
    whole: bool = False
    keys: dict[str, Any] | None = None
    runtime: int | None = None
    head: str = CLASSIFICATION

    def __post_init__(self) -> None:
        """Raise ConfigError for a value that cannot be."""
        if self.device not in ("cpu", "cuda"):
            raise ConfigError(f"device {self.device!r} is not understood: say cpu or cuda.")
        if self.settings and self.method is None and self.keys is None:
            raise ConfigError(f"the settings {', '.join(self.settings)} are of no method: name theirs with --method.")
        if self.method == "auto" and self.keys is None and (found := _PRICED & self.settings.keys()):
            raise ConfigError(
                f"method auto: its {', '.join(sorted(found))} come from the budget; leave them out, or give them in a "
                "plan, or train without a budget."
            )
        for name, value in (("seconds", self.seconds), ("flops", self.flops)):
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"a limit of {value} {name} a step is refused: give more than 0.")


def make_plan(request: Request, source: Source = meta_step) -> dict[str, Any]:
    """Return the plan of a request and how it was found.

    Args:
        request: what is wanted.
        source: as for `rehearse`.

    Returns:
        `request`, `budget`, `runtime` (bytes of the process besides tensors), `inference` (bytes of a process that
        does forward passes alone), `plan` (keys of `frostline train`), `predicted` (see `_prediction`), `rungs`
        (each with `name`, `costs`, `share`, `fits` and a prediction), and `warnings`.

    Raises:
        BudgetError: the budget is no amount of memory; BudgetInfeasible if no plan fits it.
        ConfigError: the model, a size, the method, a setting or the storage is refused.
        UnsupportedModel: the model was not understood, or its step cannot be rehearsed.
    """
    here = _machine(request)
    inference = rehearse_inference(_steps(request), request.device, source=source) + here.runtime
    budget = bytes_of(request.budget, request.device, inference)
    limits, how = _limits(request, budget, here), _how(request, source)
    try:
        found = search(_steps(request), limits, _rungs(request, how["anatomy"]), whole=request.whole, **how)
    except BudgetInfeasible as error:
        if request.fused or request.keys is not None or request.accumulation > 1:
            raise
        raise BudgetInfeasible(
            f"{error} Gradients are clipped here; with max_grad_norm=0 each may go as soon as it is used."
        ) from error
    return {
        "request": {**asdict(request), "budget": budget},
        "budget": budget,
        "runtime": here.runtime,
        "inference": inference,
        "plan": plan_of(found[-1]) | {key: value for key, value in (request.keys or {}).items() if key in _AS_SAID},
        "predicted": _prediction(found[-1], here),
        "rungs": [
            {
                "name": tried.rung.name,
                "costs": tried.rung.costs,
                "share": tried.share,
                "fits": not limits.broken(tried.rehearsal),
                **_prediction(tried, here),
            }
            for tried in found
        ],
        "warnings": _warnings(request, budget),
    }


def smallest_budget(request: Request, source: Source = meta_step) -> int:
    """Return the bytes of the smallest budget that any plan for the request fits."""
    how = _how(request, source)
    least = smallest(_steps(request), _rungs(request, how["anatomy"]), whole=request.whole, **how)
    return Limits(0, _machine(request).runtime).budget_for(least.rehearsal.peak)


def largest_batch(request: Request, source: Source = meta_step) -> int:
    """Return the most examples that a rung which splits no batch takes within a budget in bytes; 0 if not even one."""
    limits, how = Limits(parse_budget(request.budget), _machine(request).runtime), _how(request, source)
    return largest(_steps(request), limits, _rungs(request, how["anatomy"]), **how)


def full_fine_tuning(request: Request, source: Source = meta_step) -> dict[str, Any]:
    """Return what stock full fine-tuning of the whole batch would take, as the prediction of a plan."""
    steps = _full(request)
    tried = Tried(Rung("full", "nothing"), steps, rehearse(steps, **_how(request, source)))
    return _prediction(tried, _machine(request))


def saved_by_operation(
    request: Request, keys: Mapping[str, Any] | None = None, source: Source = meta_step
) -> dict[str, int]:
    """Return what waits when backward begins, bytes by operation: under a plan's keys, or in full fine-tuning."""
    steps = _full(request) if keys is None else steps_of(request, keys)
    return rehearse_saved(steps, request.device, source=source)


def plan_of(tried: Tried) -> dict[str, Any]:
    """Return the keys of `frostline train` that a rung stands for."""
    steps = tried.steps
    keys: dict[str, Any] = {name: getattr(steps, name) for name in _OF_STEPS}
    keys |= {"batch_size": steps.batch_size, "gradient_accumulation_steps": tried.rung.parts, "allocator": "compact"}
    return keys | ({"max_grad_norm": 0.0} if steps.fused_backward else {})


def steps_of(request: Request, keys: Mapping[str, Any], **changes: Any) -> Steps:
    """Return the steps that a plan's keys stand for, each of a part of the batch, with other changes made."""
    own = {name: keys[name] for name in (*_OF_STEPS, "batch_size")}
    return replace(_steps(request), **{**own, **changes})


def bytes_of(budget: str | int, device: str, inference: int) -> int:
    """Return the bytes of a budget, `inference` being those of forward passes alone; BudgetError if it is none."""
    times = times_inference(budget)
    if times is not None:
        return int(times * inference)
    if not is_auto(budget) or device == "cpu":
        return parse_budget(budget)
    if not torch.cuda.is_available():
        raise BudgetError("the budget auto is what a GPU has free, and there is none here; say how much: 24GiB.")
    return int(torch.cuda.mem_get_info()[0])


def from_json(values: Mapping[str, Any]) -> Request:
    """Return the request that JSON values stand for; ConfigError if they are none."""
    try:
        return Request(**values)
    except TypeError as error:
        raise ConfigError(f"these values are no request for a plan: {error}") from error


def _machine(request: Request) -> Machine:
    if request.runtime is not None:
        return Machine(request.runtime)
    return machine(request.device, bf16=request.bf16)


def _limits(request: Request, budget: int, here: Machine) -> Limits:
    if request.seconds is not None and here.speed is None:
        raise ConfigError(
            f"a limit of {request.seconds} seconds a step needs the speed of this machine: run `frostline calibrate` "
            "once, or limit the FLOPs."
        )
    if request.upload is not None and is_auto(request.upload):
        raise BudgetError("the upload auto is refused: say how many bytes a device may send, 5MiB.")
    upload = None if request.upload is None else parse_budget(request.upload, "upload")
    return Limits(budget, here.runtime, request.seconds, request.flops, upload, here.speed)


def _steps(request: Request) -> Steps:
    return Steps(
        request.model,
        request.batch_size,
        request.sequence_length,
        request.image_size,
        method=request.method or "full",
        settings=request.settings,
        optimizer_state=request.optimizer_state or "keep",
        optim=request.optim,
        bf16=request.bf16,
        head=request.head,
        count=2,
    )


def _full(request: Request) -> Steps:
    """Return stock full fine-tuning of the whole batch."""
    return replace(_steps(request), method="full", settings={}, storage="exact", optimizer_state="keep")


def _rungs(request: Request, anatomy: Anatomy) -> list[Rung]:
    if request.keys is not None:
        changes = {name: request.keys[name] for name in _OF_STEPS if name in request.keys}
        return [Rung(AS_PLANNED, "", changes, accumulation=request.accumulation)]
    lighter: tuple[dict[str, Any], ...] = ()
    blocks = len(anatomy.blocks)
    if request.method is not None and not request.settings:
        lighter = methods.get(request.method).lighter(blocks)
    rungs = ladder(
        request.method,
        request.storage,
        blocks=blocks,
        fused=request.fused,
        lighter=lighter,
        accumulation=request.accumulation,
        optimizer_state=request.optimizer_state,
        work_is_limited=request.seconds is not None or request.flops is not None,
    )
    if request.upload is None or request.method is not None:
        return rungs
    return [rung for rung in rungs if not rung.budgeted] + suffixes(request.storage, blocks)


def _how(request: Request, source: Source) -> dict[str, Any]:
    # On a GPU the next batch waits in the machine's memory.
    return {
        "device": request.device,
        "evaluation": request.evaluation,
        "ahead": request.device == "cpu",
        "source": source,
        "anatomy": discover(*source(_steps(request))),
    }


def _prediction(tried: Tried, here: Machine) -> dict[str, Any]:
    """Return bytes at the peak (`peak` of the process, `tensors`, `at_peak` by category), `saved` for backward at most,
    `flops` and `seconds` of a step (None where the machine was not calibrated), and `upload`.
    """
    found = tried.rehearsal
    return {
        "peak": found.peak + here.runtime,
        "tensors": found.peak,
        "at_peak": found.at_peak,
        "saved": found.saved,
        "flops": found.work.flops,
        "seconds": None if here.speed is None else here.speed.seconds(found.work),
        "upload": found.upload,
    }


def _warnings(request: Request, budget: int) -> list[str]:
    if request.device == "cpu":
        free, total = free_memory(), total_memory()
    elif torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
    else:
        return []
    what = "this machine has" if request.device == "cpu" else "this GPU has"
    if budget > total:
        return [f"the budget is more than the {total:,} bytes of memory that {what}."]
    if budget > free:
        return [f"the budget is more than the {free:,} bytes of memory that are free now."]
    return []
