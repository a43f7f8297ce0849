"""What becomes of the optimizer's state of a unit while it is frozen: kept, released or offloaded.

    keep      it stays where it is; a unit that thaws goes on with its old moments
    release   it is dropped; a unit that thaws starts with fresh moments
    offload   it waits outside the device: a GPU's in CPU memory, a CPU's in a memory-mapped temporary file; a unit
              that thaws gets it back to the bit

In all three the state stays in `optimizer.state`, so the optimizer's own state_dict() is complete.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from frostline.errors import ConfigError, PlanError, nearest
from frostline.methods.base import Replacement

OptimizerStatePolicy = Literal["keep", "release", "offload"]
POLICIES: tuple[str, ...] = get_args(OptimizerStatePolicy)


class OptimizerState:
    """Follows the units' freezing and thawing in one optimizer.

    Args:
        optimizer: a torch optimizer, or accelerate's wrapper of one.
        policy: `keep`, `release` or `offload`.
    """

    def __init__(self, optimizer: Optimizer, policy: str) -> None:
        if policy not in POLICIES:
            raise ConfigError(f"optimizer_state={policy!r} is unknown{nearest(policy, POLICIES)}")
        self.optimizer: Optimizer = getattr(optimizer, "optimizer", optimizer)
        self.policy = policy
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._offloaded: set[nn.Parameter] = set()

    def require(self, candidates: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Raise PlanError unless the optimizer holds every candidate: what it lacks could thaw and yet not learn."""
        held = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        missing = [name for name, p in candidates if id(p) not in held]
        if missing:
            raise PlanError(
                f"the optimizer lacks {len(missing)} parameters that may train, {missing[0]!r} among them. "
                "Make it after prepare(), from model.parameters() or tuner.candidate_parameters()."
            )

    def require_precision(self) -> None:
        """Raise ConfigError where torch's optimizer divides by a moment and an `eps` that is 0 in a weight's dtype."""
        if not type(self.optimizer).__module__.startswith("torch.optim."):
            return  # others keep their moments in a dtype of their own
        for group in self.optimizer.param_groups:
            eps = group.get("eps")
            for dtype in {p.dtype for p in group["params"]} if isinstance(eps, float) and eps > 0 else ():
                if torch.tensor(eps, dtype=dtype) == 0:
                    raise ConfigError(
                        f"{type(self.optimizer).__name__} with eps={eps} is refused for weights in {dtype}, in which "
                        "that is 0: where a squared gradient is 0 as well, the weight becomes NaN. Load the model in "
                        "bfloat16, or in float32 to train in float16 autocast with a GradScaler; or give eps=1e-4."
                    )

    def freeze(self, parameters: Iterable[nn.Parameter]) -> None:
        """Release or offload the state of parameters that stop training."""
        for parameter in parameters:
            if self.policy == "release":
                self.optimizer.state.pop(parameter, None)
            elif self.policy == "offload" and parameter in self.optimizer.state:
                state = self.optimizer.state[parameter]
                for key, value in state.items():
                    if isinstance(value, Tensor) and value.dim() > 0:
                        state[key] = _each(value, self._away)
                self._offloaded.add(parameter)

    def thaw(self, parameters: Iterable[nn.Parameter]) -> None:
        """Bring back the state of parameters that train again."""
        for parameter in parameters:
            if parameter in self._offloaded:
                self._offloaded.discard(parameter)
                state = self.optimizer.state[parameter]
                for key, value in state.items():
                    if isinstance(value, Tensor) and value.dim() > 0:
                        state[key] = _each(value, partial(Tensor.to, device=parameter.device, copy=True))

    def replace(self, replacements: Iterable[Replacement], *, resumed: bool = False) -> None:
        """Put new parameters where the old were; moments the shape of the old are cut to the new.

        State that has the new shape already (restored from a checkpoint made after the replacement) is carried over;
        state of any other shape (a factored moment) raises PlanError.

        Args:
            replacements: what replaced what.
            resumed: they follow a checkpoint made after them; where old and new have one shape, state is the new's.
        """
        for r in replacements:
            for group in self.optimizer.param_groups:
                group["params"] = [r.new if p is r.old else p for p in group["params"]]
            if r.old not in self.optimizer.state:
                continue
            state = self.optimizer.state.pop(r.old)
            for key, value in state.items():
                if not isinstance(value, Tensor) or value.dim() == 0 or (resumed and value.shape == r.new.shape):
                    continue
                if tuple(value.shape) == r.shape and not is_traceable_wrapper_subclass(value):
                    state[key] = r.take(value).clone()
                elif value.shape != r.new.shape:
                    raise PlanError(
                        f"{type(self.optimizer).__name__} keeps {key!r} as a {type(value).__name__} of shape "
                        f"{tuple(value.shape)} for a weight of shape {r.shape}, which cannot be cut to its learners; "
                        "use an optimizer with a plain number for each weight, such as AdamW or SGD."
                    )
            self.optimizer.state[r.new] = state

    def close(self) -> None:
        """Bring back all that is away and delete the temporary files."""
        self.thaw(list(self._offloaded))
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _away(self, value: Tensor) -> Tensor:
        if value.device.type != "cpu":
            return value.to("cpu")
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="frostline-")
        with tempfile.NamedTemporaryFile(dir=self._folder.name, delete=False) as file:
            path = Path(file.name)
        stored = torch.from_file(str(path), shared=True, size=value.numel(), dtype=value.dtype).view(value.shape)
        path.unlink()  # the mapping keeps the file's blocks until the tensor goes
        return stored.copy_(value)


def _each(value: Tensor, move: Callable[[Tensor], Tensor]) -> Tensor:
    """Return `value` moved; of a quantised tensor, whose class would copy its numbers in full, what it is made of."""
    if not is_traceable_wrapper_subclass(value):
        return move(value)
    names, rest = value.__tensor_flatten__()
    moved = {name: _each(getattr(value, name), move) for name in names}
    made: Tensor = type(value).__tensor_unflatten__(moved, rest, value.size(), value.stride())
    return made
