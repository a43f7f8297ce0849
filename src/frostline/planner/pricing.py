"""What `auto` may spend: costs by module and prices by depth from the profile, checked by rehearsing sets of its own.

A module that trains costs its optimizer state, a copy of the weight by which it is judged, and the larger of its
gradient and of what waits for that gradient, as the one goes when the other comes. The peak is that sum and a constant,
nearly; rehearsals of the costliest sets find the constant, and correct what the sums have wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from frostline.anatomy import Anatomy, discover
from frostline.meter.steps import Steps, meta_step
from frostline.methods.knapsack import best_set
from frostline.planner.limits import Limits
from frostline.planner.rehearsal import Rehearsal, rehearse
from frostline.profile import Profile, profile

STATES = 2
"""Tensors of a weight's size that AdamW keeps."""

_UNLIMITED = 10**18
_CORRECTIONS = 6
_CLOSE = 0.02
_LEAST_RISE, _MOST_RISE = 0.25, 4.0


@dataclass(frozen=True, slots=True)
class Prices:
    """Settings of `auto` but for its capacity.

    Attributes:
        costs: of each module outside the head that may train, bytes while its weights do.
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
        units = self.costliest(capacity)
        return sum(self.costs[name] for name in self.costs if self.units[name] <= units) / sum(self.costs.values())

    def costliest(self, capacity: int) -> frozenset[str]:
        """Return the units of the set that costs most within a capacity."""
        costs = list(self.costs.values())
        names = [list(self.costs)[i] for i in best_set(costs, costs, self.levels, self.depths, capacity)]
        return frozenset().union(*(self.units[name] for name in names))


def priceable(anatomy: Anatomy) -> bool:
    """Tell whether what a set of weights takes is nearly the sum of what each takes.

    It is not where tables of positions train within blocks (Swin, T5): attention then keeps matrices of scores, for
    which no weight has a price.
    """
    return not any(unit.kind == "embedding" for unit in anatomy.in_region("blocks"))


def traced(steps: Steps, **how: Any) -> Profile:
    """Return the profile of the model and the batch in `steps`, under their storage; `how` as for `rehearse`."""
    model, batch = how.get("source", meta_step)(steps)
    anatomy = how.get("anatomy") or discover(model, batch)
    return profile(model, anatomy, batch, storage=steps.storage, device=how.get("device", "cpu"))


def prices(found: Profile, optimizer_state: str, anatomy: Anatomy) -> Prices:
    """Return what `auto` pays for what.

    Args:
        found: of the model.
        optimizer_state: `keep` or `release` that of frozen units. Kept, it is there for all that may ever train, so
            tables of embeddings may not: half of a small model's weights, of which a batch moves a few rows.
        anatomy: of the model.
    """
    top = len(found.static) - 1
    tables = {unit.name for unit in anatomy.in_region("embeddings") if unit.kind == "embedding"}
    never = tables if optimizer_state == "keep" else set()
    below = {
        name: weights
        for name, weights in found.weights.items()
        if weights.level < top and not never >= set(weights.units)
    }
    costs = {name: _cost(found, name, optimizer_state == "keep") for name in below}
    levels = tuple(weights.level for weights in below.values())
    depths = tuple(found.waiting_from(level) - found.waiting_from(top) for level in range(top + 1))
    return Prices(costs, levels, depths, {name: frozenset(weights.units) for name, weights in below.items()})


def heaviest(steps: Steps, paid: Prices, limits: Limits, **how: Any) -> tuple[dict[str, Any], Rehearsal]:
    """Return `auto`'s settings within the limits, and what the costliest set under them takes.

    The sums are no more than a bound on most sets, so the capacity is corrected by what the rehearsal of the costliest
    set under it leaves of the budget or lacks (secant method, from a rise of a byte for a byte); then sought between
    what is too much work and what is not. If nothing fits, the settings are those of the cheapest set.
    """
    known: dict[frozenset[str], Rehearsal] = {}

    def taken(capacity: int) -> Rehearsal:
        units = paid.costliest(capacity)
        if units not in known:
            known[units] = _rehearsed(steps, paid, units, how)
        return known[units]

    fits, over = paid.least, paid.most + 1
    if not limits.memory_fits(taken(fits)) or not limits.work_fits(taken(fits)):
        return paid.settings(fits), taken(fits)
    capacity, rise, wanted = fits, 1.0, int(limits.tensors * (1 - _CLOSE / 2))
    for _ in range(_CORRECTIONS):
        if limits.tensors - taken(fits).peak < limits.tensors * _CLOSE or over - fits < paid.least:
            break
        former, capacity = capacity, min(capacity + int((wanted - taken(capacity).peak) / rise), paid.most)
        if not fits < capacity < over:
            capacity = (fits + over) // 2
        if capacity != former:
            more = taken(capacity).peak - taken(former).peak
            rise = min(max(more / (capacity - former), _LEAST_RISE), _MOST_RISE)
        if limits.memory_fits(taken(capacity)):
            fits = capacity
        else:
            over = capacity
    if not limits.work_fits(taken(fits)):
        too_much, fits = fits, paid.least
        for _ in range(_CORRECTIONS):
            capacity = (fits + too_much) // 2
            if limits.work_fits(taken(capacity)):
                fits = capacity
            else:
                too_much = capacity
    return paid.settings(fits), taken(fits)


def _rehearsed(steps: Steps, paid: Prices, units: frozenset[str], how: dict[str, Any]) -> Rehearsal:
    """Return what steps take in which `auto` trains these units."""
    own = replace(steps, method="auto", settings=paid.settings(_UNLIMITED))
    return rehearse(own, [units], **how)


def _cost(found: Profile, name: str, state_stays: bool) -> int:
    weights = found.weights[name]
    state = 0 if state_stays else STATES * weights.bytes  # what stays is there whether it trains or not
    return state + weights.bytes + max(weights.bytes, weights.dynamic)
