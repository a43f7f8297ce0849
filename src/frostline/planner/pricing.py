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
from frostline.planner.limits import Limits
from frostline.planner.rehearsal import Rehearsal, rehearse
from frostline.profile import Profile, profile

STATES = 2
"""Tensors of a weight's size that AdamW keeps."""

_UNLIMITED = 10**18
_CORRECTIONS = 6
_EDGE = 0.1


@dataclass(frozen=True, slots=True)
class Prices:
    """Settings of `auto` but for its capacity.

    Attributes:
        costs: of each module outside the head, bytes while its weights train.
        levels: of each of them.
        depths: of each level as the deepest, bytes.
        units: of each module.
    """

    costs: dict[str, int]
    levels: tuple[int, ...]
    depths: tuple[int, ...]
    units: dict[str, frozenset[str]]

    @property
    def most(self) -> int:
        """The bytes that everything together needs."""
        return sum(self.costs.values()) + max(self.depths)

    @property
    def least(self) -> int:
        """The bytes that the cheapest module needs."""
        return min(cost + self.depths[level] for cost, level in zip(self.costs.values(), self.levels, strict=True))

    def settings(self, capacity: int) -> dict[str, Any]:
        """Return `auto`'s settings."""
        return {"capacity": capacity, "costs": self.costs, "prices": list(self.depths)}

    def share(self, capacity: int) -> float:
        """Return the share of all costs that the costliest set within a capacity has."""
        units, _ = self.costliest(capacity)
        return sum(self.costs[name] for name in self.costs if self.units[name] <= units) / sum(self.costs.values())

    def costliest(self, capacity: int) -> tuple[frozenset[str], int]:
        """Return the units of the set that costs most within a capacity, and its cost."""
        costs = list(self.costs.values())
        names = [list(self.costs)[i] for i in best_set(costs, costs, self.levels, self.depths, capacity)]
        if not names:
            return frozenset(), 0
        deepest = min(level for name, level in zip(self.costs, self.levels, strict=True) if name in names)
        cost = sum(self.costs[name] for name in names) + self.depths[deepest]
        return frozenset().union(*(self.units[name] for name in names)), cost


def traced(steps: Steps, **how: Any) -> Profile:
    """Return the profile of the model and the batch in `steps`, under their storage; `how` as for `rehearse`."""
    model, batch = how.get("source", meta_step)(steps)
    return profile(model, discover(model, batch), batch, storage=steps.storage, device=how.get("device", "cpu"))


def prices(found: Profile, optimizer_state: str) -> Prices:
    """Return what `auto` pays for what.

    Args:
        found: of the model.
        optimizer_state: `keep` or `release` that of frozen units.
    """
    top = len(found.static) - 1
    below = {name: weights for name, weights in found.weights.items() if weights.level < top}
    costs = {name: _cost(found, name, optimizer_state == "keep") for name in below}
    levels = tuple(weights.level for weights in below.values())
    depths = tuple(found.waiting_from(level) - found.waiting_from(top) for level in range(top + 1))
    return Prices(costs, levels, depths, {name: frozenset(weights.units) for name, weights in below.items()})


def heaviest(steps: Steps, paid: Prices, limits: Limits, **how: Any) -> tuple[dict[str, Any], Rehearsal]:
    """Return `auto`'s settings within the limits, and what the costliest set under them takes.

    The sums are no more than a bound on most sets, so the capacity is sought between one that fits and one that does
    not, by rehearsals of the costliest set under each; then between what is too much work and what is not. If nothing
    fits, the settings are those of the cheapest set.
    """
    capacity = paid.least
    taken = _rehearsed(steps, paid, paid.costliest(capacity)[0], how)
    if not limits.memory_fits(taken) or not limits.work_fits(taken):
        return paid.settings(capacity), taken
    least = found = capacity, taken
    everything = _rehearsed(steps, paid, paid.costliest(paid.most)[0], how)
    if limits.memory_fits(everything):
        found = paid.most, everything
    else:
        over = paid.most, everything
        for _ in range(_CORRECTIONS):
            rise = (limits.tensors - found[1].peak) / (over[1].peak - found[1].peak)
            capacity = found[0] + int((over[0] - found[0]) * min(max(rise, _EDGE), 1 - _EDGE))
            taken = _rehearsed(steps, paid, paid.costliest(capacity)[0], how)
            if not limits.memory_fits(taken):
                over = capacity, taken
                continue
            found = capacity, taken
            if limits.tensors - taken.peak < limits.tensors // 50:
                break
    if not limits.work_fits(found[1]):
        fits, too_much = least, found[0]
        for _ in range(_CORRECTIONS):
            capacity = (fits[0] + too_much) // 2
            taken = _rehearsed(steps, paid, paid.costliest(capacity)[0], how)
            if limits.work_fits(taken):
                fits = capacity, taken
            else:
                too_much = capacity
        found = fits
    return paid.settings(found[0]), found[1]


def _rehearsed(steps: Steps, paid: Prices, units: frozenset[str], how: dict[str, Any]) -> Rehearsal:
    """Return what two steps in a row take in which `auto` trains these units."""
    own = replace(steps, method="auto", settings=paid.settings(_UNLIMITED))
    return rehearse(own, [units], **how)


def _cost(found: Profile, name: str, state_stays: bool) -> int:
    weights = found.weights[name]
    state = 0 if state_stays else STATES * weights.bytes  # what stays is there whether it trains or not
    return state + weights.bytes + max(weights.bytes, weights.dynamic)
