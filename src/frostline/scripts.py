"""What a script of one's own calls: `prepare`, which plans first where it is given a budget."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from operator import gt
from typing import Any

import torch
from torch import Tensor, nn

from frostline import allocator, tuner
from frostline.anatomy.batches import LABELS
from frostline.budget import exceeded
from frostline.errors import BudgetExceeded, ConfigError
from frostline.meter.enforce import limit_gpu
from frostline.meter.process import besides, peaks, reset_peaks
from frostline.meter.steps import Steps
from frostline.methods.base import Method
from frostline.planner.machine import machine
from frostline.planner.rehearsal import rehearse
from frostline.planner.request import Request, make_plan
from frostline.tuner import Tuner


def prepare(
    model: nn.Module,
    method: str | type[Method] | None = None,
    *,
    budget: str | int | None = None,
    example: Mapping[str, Any] | None = None,
    seed: int = 0,
    **options: Any,
) -> Tuner:
    """Put a method on a model, in place; within a budget, the one that gives up least.

    Args:
        model: a transformer, loaded and on its device.
        method: a name from `frostline.methods.names()`, or a `Method` class of your own. None is `full`, or with a
            budget what the planner chooses.
        budget: of the whole process on a CPU, of what torch reserves on a GPU: `2GiB`, bytes, `1.5x` (times inference),
            or `auto`. Where it is given, `allocator.use("compact")` is called, `tuner.planned` holds what was found,
            and a step that passes it raises BudgetExceeded; on a GPU torch reserves no more until `tuner.finish()`.
        example: keyword arguments of one forward pass. With a budget it must be the longest batch, labels included: a
            larger one is refused before it computes.
        seed: of every random choice the method makes.
        options: `optimizer_state`, `storage`, `fused_backward` and the method's settings, as for
            `frostline.tuner.prepare`; what is said here is kept by the planner.

    Raises:
        BudgetError: the budget is no amount of memory; BudgetInfeasible if no plan for the whole batch fits it.
        ConfigError, UnsupportedModel, StorageError, PlanError: as for `frostline.tuner.prepare`.
    """
    if budget is None:
        return tuner.prepare(model, method or "full", example=example, seed=seed, **options)
    if isinstance(method, type):
        raise ConfigError(f"budget={budget!r} is refused with a method class: register {method.__name__} as a plugin.")
    source = _Live(model, example)
    device = "cuda" if source.device.type == "cuda" else "cpu"
    own = {key: options.pop(key) for key in ("storage", "optimizer_state", "fused_backward") if key in options}
    request = Request(
        type(model).__name__,
        source.examples,
        budget,
        device=device,
        method=method,
        settings=options,
        storage=own.get("storage"),
        optimizer_state=own.get("optimizer_state", "keep"),
        fused=bool(own.get("fused_backward", False)),
        whole=True,
        runtime=_besides(model, source) if device == "cpu" else None,
    )
    found = make_plan(request, source)
    allocator.use("compact")
    keys = found["plan"]
    prepared = tuner.prepare(
        model,
        keys["method"],
        optimizer_state=keys["optimizer_state"],
        storage=keys["storage"],
        fused_backward=keys["fused_backward"],
        seed=seed,
        example=example,
        **keys["settings"],
    )
    prepared.planned = found
    _keep(prepared, model, source, found["budget"])
    return prepared


class _Live:
    """A model that is there already, and its longest batch, as the planner wants them: without memory."""

    def __init__(self, model: nn.Module, example: Mapping[str, Any] | None) -> None:
        if example is None or not LABELS & example.keys():
            raise ConfigError(
                "a budget needs example=, the longest batch as keyword arguments of the forward pass, with labels: "
                "the loss is part of the peak."
            )
        self._model = model
        self.batch = {name: value for name, value in example.items() if isinstance(value, Tensor)}
        self.device = next(model.parameters()).device

    @property
    def examples(self) -> int:
        """Examples in the longest batch."""
        return len(next(self.batch[name] for name in LABELS if name in self.batch))

    def __call__(self, steps: Steps) -> tuple[Any, dict[str, Tensor]]:
        """Return a copy on the meta device, and the first examples of the batch."""
        memo: dict[int, Any] = {
            id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in self._model.parameters()
        }
        memo |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in self._model.buffers()}
        return copy.deepcopy(self._model, memo), {name: value[: steps.batch_size] for name, value in self.batch.items()}


def _besides(model: nn.Module, source: _Live) -> int:
    """Return the bytes of this process besides the model, and what the first steps will add to them."""
    rehearse(Steps(type(model).__name__, 1, count=1), source=source)  # what planning itself loads stays here, too
    return besides(model) + machine().growth


def _named(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors that a forward pass is given, by the names that it knows them by."""
    names = inspect.signature(module.forward).parameters
    given = dict(zip(names, args, strict=False)) | kwargs
    return {name: tuple(value.shape) for name, value in given.items() if isinstance(value, Tensor)}


def _keep(prepared: Tuner, model: nn.Module, source: _Live, budget: int) -> None:
    """Refuse a batch that is longer than the longest, and stop after a step that passed the budget."""
    longest = {name: tuple(value.shape) for name, value in source.batch.items()}
    others = longest.get(getattr(model, "main_input_name", ""), next(iter(longest.values())))

    def before(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        given = _named(module, args, kwargs) if module.training else {}
        for name, shape in given.items():
            limit = longest.get(name, others)
            known = name in longest  # in place of another, as `inputs_embeds`: as many, and as long
            if (known and len(shape) != len(limit)) or any(map(gt, shape, limit)):
                raise BudgetExceeded(
                    f"step {prepared.step + 1}: {name} of shape {shape} is more than the {limit} that was planned for; "
                    "split the batch, or prepare with the longest one as example=."
                )

    def after() -> None:
        peak = peaks().deciding
        if peak > budget:
            raise exceeded(f"step {prepared.step}", peak, budget)

    hook = model.register_forward_pre_hook(before, with_kwargs=True)

    def end() -> None:
        hook.remove()
        if source.device.type == "cuda":
            limit_gpu(None)

    if source.device.type == "cuda":
        limit_gpu(budget)
    prepared.watch(end, after)
    reset_peaks()
