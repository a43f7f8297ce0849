"""What `auto` may spend: costs by module and prices by depth from the profile, checked by rehearsing sets of its own.

A module that trains costs its optimizer state, a copy of the weight by which it is judged, and the larger of its
gradient and of what waits for that gradient, as the one goes when the other comes. The peak is that sum and a constant,
nearly; rehearsals of the costliest sets find the constant, and correct what the sums have wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from frostline.anatomy import discover
from frostline.meter.steps import Steps, meta_step
from frostline.methods.knapsack import best_set
from frostline.planner.rehearsal import Rehearsal, rehearse
from frostline.profile import Profile, profile

STATES = 2
"""Tensors of a weight's size that AdamW keeps."""

_UNLIMITED = 10**18
_CORRECTIONS = 4


@dataclass(frozen=True, slots=True)
class Prices:
    """Settings of `auto` but for its capacity.

    Attributes:
        costs: of each module outside the head, bytes while its weights train.
        levels: of each of them.
        depths: of each level as the deepest, bytes.
        units: of each module.
        rest: bytes of the peak besides.
    """

    costs: dict[str, int]
    levels: tuple[int, ...]
    depths: tuple[int, ...]
    units: dict[str, frozenset[str]]
    rest: int = 0

    @property
    def least(self) -> int:
        """The bytes that the cheapest module needs."""
        return min(cost + self.depths[level] for cost, level in zip(self.costs.values(), self.levels, strict=True))

    def settings(self, capacity: int) -> dict[str, Any]:
        """Return `auto`'s settings."""
        return {"capacity": capacity, "costs": self.costs, "prices": list(self.depths)}

    def costliest(self, capacity: int) -> tuple[frozenset[str], int]:
        """Return the units of the set that costs most within a capacity, and its cost."""
        costs = list(self.costs.values())
        names = [list(self.costs)[i] for i in best_set(costs, costs, self.levels, self.depths, capacity)]
        if not names:
            return frozenset(), 0
        deepest = min(level for name, level in zip(self.costs, self.levels, strict=True) if name in names)
        cost = sum(self.costs[name] for name in names) + self.depths[deepest]
        return frozenset().union(*(self.units[name] for name in names)), cost


def prices(steps: Steps, device: str = "cpu", **how: Any) -> Prices:
    """Return what `auto` pays for what, under the storage and the optimizer-state policy of `steps`.

    Args:
        steps: what to run.
        device: `cpu` or `cuda`.
        how: `parts` and `evaluation`, as for `rehearse`.
    """
    model, batch = meta_step(steps)
    found = profile(model, discover(model), batch, storage=steps.storage, device=device)
    top = len(found.static) - 1
    below = {name: weights for name, weights in found.weights.items() if weights.level < top}
    costs = {name: _cost(found, name, steps.optimizer_state == "keep") for name in below}
    levels = tuple(weights.level for weights in below.values())
    depths = tuple(found.waiting_from(level) - found.waiting_from(top) for level in range(top + 1))
    paid = Prices(costs, levels, depths, {name: frozenset(weights.units) for name, weights in below.items()})
    nothing = _rehearsed(steps, paid, frozenset(), device, how).peak
    everything, cost = paid.costliest(sum(costs.values()) + max(depths))
    return replace(paid, rest=max(nothing, _rehearsed(steps, paid, everything, device, how).peak - cost))


def heaviest(
    steps: Steps, paid: Prices, tensors: int, device: str = "cpu", **how: Any
) -> tuple[dict[str, Any], Rehearsal]:
    """Return `auto`'s settings for a peak of tensors, and what the costliest set under them takes.

    The sums are no more than a bound on most sets, so the capacity is corrected by what rehearsals of the costliest
    sets leave of the budget, or lack, a few times. If nothing fits, the settings are those of the cheapest set.
    """
    capacity = max(tensors - paid.rest, paid.least)
    found: tuple[int, Rehearsal] | None = None
    for _ in range(_CORRECTIONS):
        units, cost = paid.costliest(capacity)
        taken = _rehearsed(steps, paid, units, device, how)
        if taken.peak > tensors:
            if found is not None or capacity == paid.least:
                break
            capacity = max(cost - (taken.peak - tensors), paid.least)
        else:
            found = capacity, taken
            if tensors - taken.peak < tensors // 50:
                break
            capacity += tensors - taken.peak
    if found is None:
        found = capacity, taken
    return paid.settings(found[0]), found[1]


def _rehearsed(steps: Steps, paid: Prices, units: frozenset[str], device: str, how: dict[str, Any]) -> Rehearsal:
    """Return what two steps in a row take in which `auto` trains these units."""
    own = replace(steps, method="auto", settings=paid.settings(_UNLIMITED))
    return rehearse(own, [units, units], device, **how)


def _cost(found: Profile, name: str, state_stays: bool) -> int:
    weights = found.weights[name]
    state = 0 if state_stays else STATES * weights.bytes  # what stays is there whether it trains or not
    return state + weights.bytes + max(weights.bytes, weights.dynamic)
