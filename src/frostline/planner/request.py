"""What a user wants planned, and the answer as JSON values: the plan, what it takes, and every rung on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from frostline.budget import free_memory, parse_budget, total_memory
from frostline.errors import ConfigError
from frostline.meter.steps import Steps
from frostline.planner.ladder import ladder
from frostline.planner.runtime import Runtime, runtime
from frostline.planner.search import Found, Tried, largest, search, smallest

Choice = str | dict[str, str]


@dataclass(frozen=True, slots=True)
class Request:
    """A model, a shape and a budget.

    Attributes:
        model, batch_size, sequence_length, image_size: as for `frostline.meter.steps.Steps`; the longest batch.
        budget: bytes, or text as `parse_budget` reads it: of the whole process on a CPU, of the GPU's memory on one.
        device: `cpu` or `cuda`.
        method, settings: kept if given; the planner chooses if None.
        storage: kept if given; the planner chooses if None.
        optimizer_state: of frozen units, of a method that is given.
        fused: whether each weight may move within backward; not where gradients are clipped or added up.
        evaluation: examples in a forward pass of the evaluation, 0 for none.
    """

    model: str
    batch_size: int
    budget: str | int
    sequence_length: int | None = None
    image_size: int | None = None
    device: str = "cpu"
    method: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    storage: Choice | None = None
    optimizer_state: str = "keep"
    fused: bool = True
    evaluation: int = 0


def make_plan(request: Request) -> dict[str, Any]:
    """Return the plan of a request and how it was found.

    Returns:
        `budget`, `runtime` (bytes of the process besides tensors, and whether that was measured here), `plan` (keys of
        `frostline train`), `predicted` (`peak`, `tensors`, `at_peak`, `saved`), `rungs` (each with `name`, `costs`,
        `peak`, `fits`), and `warnings`.

    Raises:
        BudgetError: the budget is no amount of memory; BudgetInfeasible if no plan fits it.
        ConfigError: the model, a size, the method, a setting or the storage is refused.
        UnsupportedModel: the model was not understood, or its step cannot be rehearsed.
    """
    budget = parse_budget(request.budget)
    if request.device not in ("cpu", "cuda"):
        raise ConfigError(f"device {request.device!r} is not understood: say cpu or cuda.")
    besides = runtime(request.device)
    found = search(_steps(request), budget, besides.bytes, _rungs(request), request.device, request.evaluation)
    return {
        "budget": budget,
        "runtime": {"bytes": besides.bytes, "measured": besides.measured},
        "plan": plan_of(found.chosen),
        "predicted": {
            "peak": found.peak,
            "tensors": found.chosen.rehearsal.peak,
            "at_peak": found.chosen.rehearsal.at_peak,
            "saved": found.chosen.rehearsal.saved,
        },
        "rungs": [_record(tried, budget, besides) for tried in found.tried],
        "warnings": _warnings(request, budget),
    }


def smallest_budget(request: Request) -> int:
    """Return the bytes of the smallest budget that any plan for the request fits."""
    besides = runtime(request.device)
    least = smallest(_steps(request), _rungs(request), request.device, request.evaluation)
    return least.rehearsal.peak + besides.bytes


def largest_batch(request: Request) -> int:
    """Return the most examples that a rung which splits no batch takes within the budget; 0 if not even one."""
    tensors = parse_budget(request.budget) - runtime(request.device).bytes
    rung = [rung for rung in _rungs(request) if rung.parts == 1][-1]
    return largest(_steps(request), tensors, rung, request.device, request.evaluation)


def plan_of(tried: Tried) -> dict[str, Any]:
    """Return the keys of `frostline train` that a rung stands for."""
    steps = tried.steps
    keys: dict[str, Any] = {
        "method": steps.method,
        "settings": steps.settings,
        "storage": steps.storage,
        "optimizer_state": steps.optimizer_state,
        "fused_backward": steps.fused_backward,
        "batch_size": steps.batch_size,
        "gradient_accumulation_steps": tried.rung.parts,
        "allocator": "compact",
    }
    return keys | ({"max_grad_norm": 0.0} if steps.fused_backward else {})


def _steps(request: Request) -> Steps:
    return Steps(
        request.model,
        request.batch_size,
        request.sequence_length,
        request.image_size,
        method=request.method or "full",
        settings=request.settings,
        optimizer_state=request.optimizer_state,
        count=2,
    )


def _rungs(request: Request) -> Any:
    return ladder(request.method, request.batch_size, request.storage, fused=request.fused)


def _record(tried: Tried, budget: int, besides: Runtime) -> dict[str, Any]:
    peak = tried.rehearsal.peak + besides.bytes
    return {"name": tried.rung.name, "costs": tried.rung.costs, "peak": peak, "fits": peak <= budget}


def _warnings(request: Request, budget: int) -> list[str]:
    if request.device != "cpu":
        return []
    if budget > total_memory():
        return [f"the budget is more than the {total_memory():,} bytes of memory that this machine has."]
    if budget > free_memory():
        return [f"the budget is more than the {free_memory():,} bytes of memory that are free now."]
    return []


def from_json(values: Mapping[str, Any]) -> Request:
    """Return the request that JSON values stand for."""
    return Request(**values)


__all__ = ["Found", "Request", "from_json", "largest_batch", "make_plan", "plan_of", "smallest_budget"]
