"""How far weights move in a step: SlimFit's criterion of what is worth training (arXiv 2305.18513)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from frostline.errors import TrainingDiverged
from frostline.methods.base import Parameters

_CHUNK = 1 << 16  # elements compared at a time: the temporaries stay in the processor's cache


class Distances:
    """The mean relative change of each weight at its last active step; only active weights are copied, for one step.

    Attributes:
        known: distances by unit; what has not been active yet has none.
    """

    def __init__(self) -> None:
        self.known: dict[str, float] = {}
        self._before: dict[str, Tensor] = {}

    def copy(self, names: Iterable[str], parameters: Parameters) -> None:
        """Copy these weights before a step."""
        self._before = {name: parameters[name].detach().clone() for name in sorted(names)}

    def measure(self, step: int, parameters: Parameters) -> frozenset[str]:
        """Measure how far each copied weight moved in this step, drop the copies, and return whose they were.

        A step that moved nothing says nothing and counts for none: a learning rate of 0 at the beginning of a warm-up,
        or gradients in sixteen bits that overflowed, at which a GradScaler skips the step.

        Raises:
            TrainingDiverged: a weight is no longer finite.
        """
        found = {name: relative_change(old, parameters[name].detach()) for name, old in self._before.items()}
        self._before = {}
        for name, distance in found.items():
            if not math.isfinite(distance):
                raise TrainingDiverged(f"the weights of {name!r} are no longer finite after step {step}.")
        if not any(found.values()):
            return frozenset()
        self.known |= found
        return frozenset(found)

    def load(self, known: Mapping[str, Any]) -> None:
        """Take up distances that were saved."""
        self.known = {str(name): float(distance) for name, distance in known.items()}


def relative_change(previous: Tensor, current: Tensor) -> float:
    """Return mean(|current - previous| / |previous|) over the elements where `previous` is not 0.

    A tensor that was 0 everywhere gives 1.0 if it moved and 0.0 if it did not.

    Args:
        previous, current: tensors of one shape, dtype and device; fake ones, which have no values, give 1.0.
    """
    if isinstance(current, FakeTensor):
        current.new_empty(5 * min(_CHUNK, current.numel()), dtype=torch.float64)  # what is in memory at most below
        return 1.0
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
