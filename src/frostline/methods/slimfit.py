"""SlimFit's inter-layer scheduling: at every step the units whose weights moved most train (arXiv 2305.18513).

Faithful to section 2.1 of the method's description: a unit not yet visited comes before all others, in random order;
a frozen unit keeps its last distance. Ours: only the active units are copied, for one step; and a weight that was
exactly 0 has no relative change, so it is left out of the mean instead of making it NaN.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from frostline.anatomy import Anatomy
from frostline.errors import TrainingDiverged
from frostline.methods.base import Parameters, Replacement
from frostline.methods.scheduled import ScheduledMethod

_CHUNK = 1 << 16  # elements compared at a time: the temporaries stay in the processor's cache


class SlimFit(ScheduledMethod):
    """Trains the units with the greatest mean relative weight change at their last active step."""

    name = "slimfit"
    summary = "the 1 - `rate` of the units whose weights changed most, at each step, and every bias"
    source = "SlimFit (inter-layer scheduling), arXiv 2305.18513"

    def prepare(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Bind to a model; every unit waits, in random order, for its first visit."""
        super().prepare(model, anatomy)
        names = [unit.name for unit in self.units()]
        self._order = random.Random(self.seed).sample(names, len(names))
        self._waiting = list(self._order)
        self._distances: dict[str, float] = {}
        self._snapshots: dict[str, Tensor] = {}
        self._count = self.active_count

    def active(self, step: int) -> frozenset[str]:
        """Return the waiting units first, then those with the greatest distance; equals go by the random order."""
        waiting = self._waiting[: self._count]
        visited = [name for name in self._order if name in self._distances]
        ranked = sorted(visited, key=self._distances.__getitem__, reverse=True)
        return frozenset(waiting + ranked[: self._count - len(waiting)])

    def before(self, step: int, parameters: Parameters) -> None:
        """Copy the active units' weights."""
        self._snapshots = {name: parameters[name].detach().clone() for name in sorted(self.active(step))}

    def observe(self, step: int, parameters: Parameters) -> None:
        """Measure how far each active unit moved in this step, and drop its copy."""
        for name, previous in self._snapshots.items():
            distance = relative_change(previous, parameters[name].detach())
            if not math.isfinite(distance):
                raise TrainingDiverged(f"the weights of {name!r} are no longer finite after step {step}.")
            self._distances[name] = distance
        self._waiting = [name for name in self._waiting if name not in self._snapshots]
        self._snapshots = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the distances and the units still waiting for their first visit."""
        return {"distances": dict(self._distances), "waiting": list(self._waiting)}

    def load_state_dict(self, state: Mapping[str, Any], model: nn.Module) -> tuple[Replacement, ...]:
        """Take up distances and waiting list."""
        self._distances = {str(name): float(d) for name, d in state["distances"].items()}
        self._waiting = list(state["waiting"])
        return ()


def relative_change(previous: Tensor, current: Tensor) -> float:
    """Return mean(|current - previous| / |previous|) over the elements where `previous` is not 0.

    A tensor that was 0 everywhere gives 1.0 if it moved and 0.0 if it did not.

    Args:
        previous, current: tensors of one shape, dtype and device; fake ones, which have no values, have not moved.
    """
    if isinstance(current, FakeTensor):
        return 0.0
    total, count, moved = 0.0, 0, False
    before, after = previous.reshape(-1), current.reshape(-1)
    sums = []
    dtype = torch.promote_types(previous.dtype, torch.float32)
    for start in range(0, before.numel(), _CHUNK):
        old, new = before[start : start + _CHUNK], after[start : start + _CHUNK]
        sums.append(torch.linalg.vector_norm(torch.sub(new, old).div_(old), ord=1, dtype=dtype))
    ratio = float(torch.stack(sums).double().sum()) / before.numel() if sums else 0.0
    if math.isfinite(ratio):
        return ratio
    for start in range(0, before.numel(), _CHUNK):  # some weight was 0 (or is no longer finite): count the others
        old, new = before[start : start + _CHUNK].double(), after[start : start + _CHUNK].double()
        present = old != 0
        moved = moved or bool((new != old).any())
        total += float(((new - old).abs()[present] / old.abs()[present]).sum())
        count += int(present.sum())
    return total / count if count else float(moved)
