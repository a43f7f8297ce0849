"""Fused backward: each weight moves as soon as its gradient is complete, and the gradient goes at once.

The idea is LOMO's (arXiv 2306.09782, section 3.1), with the user's own optimizer instead of plain gradient descent: a
hook behind each weight's gradient calls `optimizer.step()`. At that moment this gradient is the only one there is, and
every optimizer passes over weights without one, so the step moves this weight and no other, by its own group's learning
rate and weight decay, with its own state, under the same names in the same `state_dict()`. The step that the training
loop calls afterwards finds no gradient and does nothing. So nothing of the optimizer is replaced: not for schedulers,
checkpoints or a Trainer.

Moving a weight early is right because autograd hands out a gradient only when every use of the weight within the
backward pass has given its part, and each use has then done with the weight's value. What asks for more than that is
refused: a second gradient of the same weight within a step (PlanError: the first has moved the weight already), and an
optimizer that keeps something of a step as a whole.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.weak import WeakTensorKeyDictionary

from frostline.errors import ConfigError, PlanError

_WAY_OUT = "choose another optimizer, such as AdamW, or leave fused_backward out."


class FusedBackward:
    """Steps an optimizer weight by weight, within the backward pass of every step that is opened by `begin`.

    Args:
        model: says the weights' names, for errors.
        optimizer: a torch optimizer, or accelerate's wrapper of one.

    Raises:
        ConfigError: the optimizer needs all gradients at once, holds weights on several devices, or works with a
            GradScaler, which looks at all gradients before a step.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        if getattr(optimizer, "scaler", None) is not None:
            raise ConfigError(
                "fused_backward=True is refused with a GradScaler (fp16), which looks at all gradients before a step; "
                "train in bf16, or leave fused_backward out."
            )
        self._model = model
        self._optimizer: Optimizer = getattr(optimizer, "optimizer", optimizer)
        closure = inspect.signature(type(self._optimizer).step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            raise ConfigError(
                f"fused_backward=True is refused: {self._name} needs all gradients at once, in a closure; {_WAY_OUT}"
            )
        devices = sorted({str(p.device) for p in self._parameters()})
        if len(devices) > 1:  # autograd runs a thread for each, and their steps would meet
            raise ConfigError(
                f"fused_backward=True is refused for weights on several devices ({', '.join(devices)}); put the model "
                "on one, or leave fused_backward out."
            )
        self._hooks = WeakTensorKeyDictionary()
        self._moved: set[Tensor] = set()
        self._open = False
        self._tried = False

    @property
    def _name(self) -> str:
        return type(self._optimizer).__name__

    def begin(self) -> None:
        """Open a step, when what trains has been thawed: its gradients are used up from here on.

        Raises:
            PlanError: a weight has a gradient already.
        """
        for parameter in self._parameters():
            if parameter.grad is not None:
                raise PlanError(
                    f"{self._called(parameter)!r} has a gradient from before this step, which would move it before its "
                    "time; call optimizer.zero_grad() first, or leave fused_backward out."
                )
            if parameter.requires_grad and parameter not in self._hooks:
                hook = _hook(weakref.ref(self))  # weak: a weight shall not keep its optimizer alive
                self._hooks[parameter] = parameter.register_post_accumulate_grad_hook(hook)
        self._open = True

    def end(self) -> None:
        """Close the step: a backward pass outside of steps leaves its gradients where they are."""
        self._open = False
        self._moved.clear()

    def close(self) -> None:
        """Take the hooks off the weights."""
        self._open = False
        for handle in self._hooks.values():
            handle.remove()
        self._hooks = WeakTensorKeyDictionary()

    def use(self, parameter: Tensor) -> None:
        """Move the weight whose gradient has just been completed, and drop the gradient."""
        if not self._open:
            return
        if parameter in self._moved:
            raise PlanError(
                f"{self._called(parameter)!r} got a second gradient within one step, but the first has moved it. Fused "
                "backward takes one backward pass a step, and no weight in two reentrant checkpoints: make one loss of "
                "several, checkpoint with use_reentrant=False, or leave fused_backward out."
            )
        self._moved.add(parameter)
        with torch.no_grad():
            if self._tried:
                self._optimizer.step()
            else:
                self._try()
        parameter.grad = None

    def _try(self) -> None:
        """Take the first step of all and see that it changed no parameter group: it would change n times a step."""
        before = self._settings()
        self._optimizer.step()
        for key, value in self._settings().items():
            if before.get(key) != value:
                raise ConfigError(
                    f"fused_backward=True is refused: {self._name} changes {key[1]!r} of a parameter group at every "
                    f"step, and here each weight has a step of its own; {_WAY_OUT}"
                )
        self._tried = True

    def _settings(self) -> dict[tuple[int, str], str]:
        """Return what the groups say, as text: a tensor in them may be changed in place."""
        groups = enumerate(self._optimizer.param_groups)
        return {(index, key): repr(value) for index, group in groups for key, value in group.items() if key != "params"}

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]

    def _called(self, parameter: Tensor) -> str:
        names = (name for name, p in self._model.named_parameters() if p is parameter)
        return next(names, "a weight outside the model")


def _hook(reference: weakref.ref[FusedBackward]) -> Callable[[Tensor], None]:
    def hook(parameter: Tensor) -> None:
        fused = reference()
        if fused is not None:
            fused.use(parameter)

    return hook
