"""LOMO and AdaLomo: each weight moves inside backward, and its gradient goes at once.

Published:
    LOMO     plain gradient descent without momentum, fused into backward (Lv et al., arXiv 2306.09782): one weight's
             gradient exists at a time, and no optimizer state; clipping by norm costs a second backward pass
    AdaLomo  the same with Adafactor's factored second moment and updates normalised group by group, a step being a
             share of the weight's own size (Lv et al., arXiv 2310.10195)

Written from the papers on `register_post_accumulate_grad_hook`: the authors' package (lomo-optim 0.1.1) drives backward
itself (`optimizer.fused_backward(loss, lr)`), which a Trainer does, looks through all parameters at every gradient, and
its AdaLomo asks for CUDA. A test compares LOMO with the package where that is installed. Without the second backward
pass nothing can be clipped by norm: `max_grad_norm` must be 0, and a step is one backward pass
(`gradient_accumulation_steps` 1); the Trainer's run is refused otherwise. AdaLomo needs no clipping, by its paper.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from frostline import methods
from frostline.errors import PlanError
from frostline.methods import base
from frostline.methods.full import Full


class Fused(Optimizer):
    """An optimizer whose work is done during backward; `step` only ends the step.

    Args:
        groups: parameter groups with `weight_decay`.
        lr: learning rate.
        defaults: further values of a group.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, **defaults: Any) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, **defaults})
        self._moved: set[Tensor] = set()
        self._hooks = [
            weight.register_post_accumulate_grad_hook(partial(self._use, index))
            for index, group in enumerate(self.param_groups)
            for weight in group["params"]
        ]

    def move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Move one weight by its gradient, in place."""
        weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(gradient, alpha=-group["lr"])

    def step(self, closure: Any = None) -> None:
        """End the step: from here on the next backward pass may come."""
        self._moved.clear()

    def release(self) -> None:
        """Take the hooks off the parameters."""
        for hook in self._hooks:
            hook.remove()

    @torch.no_grad()
    def _use(self, index: int, weight: Tensor) -> None:
        gradient, weight.grad = weight.grad, None
        if weight in self._moved:
            raise PlanError(
                "a weight got a second gradient within one step, but its first has moved it already: call "
                "optimizer.step() after every backward pass (gradient_accumulation_steps=1)."
            )
        self._moved.add(weight)
        assert gradient is not None
        self.move(weight, gradient, self.param_groups[index])  # by index: loading a state puts new groups in place


class FactoredFused(Fused):
    """AdaLomo's rule: Adafactor's second moment without a first, the step's size relative to the weight's."""

    def move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Move one weight by its normalised gradient, in place."""
        state = self.state[weight]
        state["step"] = state.get("step", 0) + 1
        keep = 1 - state["step"] ** -group["decay"]  # 0 at the first step
        square = gradient.square().add_(1e-30)
        if gradient.dim() > 1:
            rows = _average(state, "rows", square.mean(dim=-1), keep)
            columns = _average(state, "columns", square.mean(dim=-2), keep)
            del square  # as large as the weight, and so is what follows
            scale = (rows / rows.mean(dim=-1, keepdim=True)).rsqrt_().unsqueeze(-1)
            update = scale * columns.rsqrt().unsqueeze(-2)
        else:
            update = _average(state, "square", square, keep).rsqrt()
        update.mul_(gradient)
        update.div_((_rms(update) / group["threshold"]).clamp_(min=1.0))
        rate = group["lr"] * max(group["floor"], float(_rms(weight)))
        weight.mul_(1 - rate * group["weight_decay"]).add_(update, alpha=-rate)


def _average(state: dict[str, Any], key: str, value: Tensor, keep: float) -> Tensor:
    """Move the running average under `key` towards `value`, which takes 1 - keep of it; return it."""
    if key not in state:
        state[key] = torch.zeros_like(value)
    average: Tensor = state[key].mul_(keep).add_(value, alpha=1 - keep)
    return average


def _rms(tensor: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(tensor)
    return norm / math.sqrt(tensor.numel())


@methods.register
class Lomo(Full):
    """Everything trains by gradient descent; each weight moves in backward and its gradient goes."""

    name = "lomo"
    summary = "every parameter, by gradient descent fused into backward; max_grad_norm=0"
    source = "LOMO, arXiv 2306.09782"
    updates_in_backward = True
    _made: ClassVar[type[Fused]] = Fused
    _optimizer: Fused | None = None

    def optimizer(self, groups: list[dict[str, Any]], learning_rate: float) -> Optimizer:
        """Return the fused optimizer; the one made before lets go of the weights."""
        if self._optimizer is not None:
            self._optimizer.release()
        self._optimizer = self._made(groups, learning_rate, **self.settings.model_dump())
        return self._optimizer

    def restore(self, model: nn.Module) -> None:
        """Take the hooks off the parameters."""
        if self._optimizer is not None:
            self._optimizer.release()


@methods.register
class AdaLomo(Lomo):
    """Everything trains by AdaLomo's rule; each weight moves in backward and its gradient goes."""

    name = "adalomo"
    summary = "every parameter, by a factored second moment fused into backward; max_grad_norm=0"
    source = "AdaLomo, arXiv 2310.10195"
    _made = FactoredFused

    class Settings(base.Settings):
        """As in the authors' package, whose decay_rate is -`decay`."""

        decay: float = Field(0.8, gt=0, description="at step t the second moment keeps 1 - t ** -decay of itself")
        threshold: float = Field(1.0, gt=0, description="greatest root mean square of an update")
        floor: float = Field(1e-3, gt=0, description="a weight's size counts as at least this")
