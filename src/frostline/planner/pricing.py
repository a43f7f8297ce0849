"""What `auto` may spend: costs by module and prices by depth from the profile, checked by rehearsing sets of its own.

A module that trains costs its optimizer state, a copy of the weight by which it is judged, and the larger of its
gradient and of what waits for that gradient, as the one goes when the other comes; both, where gradients of parts are
added up. What a set takes beyond that sum, its excess, differs from set to set: it has what operations compute with,
less what the sum counts twice (what several modules share, what is gone before another comes). So sets of all kinds are
rehearsed, and the greatest excess of those within the capacity is taken to be that of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count, pairwise
from typing import Any

from frostline.anatomy import Anatomy, discover
from frostline.meter.steps import Steps, meta_step
from frostline.methods.knapsack import affordable, best_set
from frostline.planner.limits import Limits
from frostline.planner.rehearsal import Rehearsal, rehearse
from frostline.profile import Profile, profile

STATES = 2
"""Tensors of a weight's size that AdamW keeps."""

_UNLIMITED = 10**18
_CORRECTIONS = 6
_EXACT = 2
"""Times that the capacity is lowered by as much as is needed; then by one, two, three hundredths of the budget more."""
_LESS = 1.5
"""Of what all needs by the sums, the most that it takes less: what trains whole is not judged, and so not copied."""

Modules = frozenset[str]


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
        """The bytes within which the knapsack, which rounds, takes the cheapest module."""
        return affordable(min(self.cost([name]) for name in self.costs))

    @property
    def witnesses(self) -> list[Modules]:
        """Sets whose excess is great, the cheapest first: all of a level, or one module for which all above it waits.

        Alone are the cheapest of all and of the lowest level, and near the top the first, to which backward goes all
        the way through the block. Blocks are taken to be alike, so one stands for all; embeddings and what lies next to
        the head are not.
        """
        levels = sorted(set(self.levels))
        levels_of = list(zip(self.costs, self.levels, strict=True))
        on = {level: [name for name, at in levels_of if at == level] for level in levels}
        near, top = levels[max(0, len(levels) - 2)], levels[-1]
        alone = [
            min(self.costs, key=lambda name: self.cost([name])),
            min(on[levels[0]], key=self.costs.__getitem__),
            on[near][0],
        ]
        found = [frozenset({name}) for name in alone] + [frozenset(on[level]) for level in (near, top)]
        return sorted(found, key=self.cost)

    def cost(self, modules: Iterable[str]) -> int:
        """Return the bytes that a set of modules needs by the sums."""
        levels = dict(zip(self.costs, self.levels, strict=True))
        return sum(self.costs[name] for name in modules) + self.depths[min(levels[name] for name in modules)]

    def settings(self, capacity: int) -> dict[str, Any]:
        """Return `auto`'s settings."""
        return {"capacity": capacity, "costs": self.costs, "prices": list(self.depths)}

    def share(self, capacity: int) -> float:
        """Return the share of all costs that the costliest set within a capacity has."""
        return sum(self.costs[name] for name in self.costliest(capacity)) / sum(self.costs.values())

    def costliest(self, capacity: int) -> Modules:
        """Return the set that costs most within a capacity."""
        costs, names = list(self.costs.values()), list(self.costs)
        return frozenset(names[place] for place in best_set(costs, costs, self.levels, self.depths, capacity))


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


def prices(found: Profile, optimizer_state: str, anatomy: Anatomy, parts: int = 1) -> Prices:
    """Return what `auto` pays for what.

    Args:
        found: of the model.
        optimizer_state: `keep` or `release` that of frozen units. Kept, it is there for all that may ever train, so
            tables of embeddings may not: half of a small model's weights, of which a batch moves a few rows.
        anatomy: of the model.
        parts: whose gradients are added up for one step.
    """
    top = len(found.static) - 1
    tables = {unit.name for unit in anatomy.in_region("embeddings") if unit.kind == "embedding"}
    never = tables if optimizer_state == "keep" else set()
    below = {
        name: weights
        for name, weights in found.weights.items()
        if weights.level < top and not never >= set(weights.units)
    }
    costs = {name: _cost(found, name, optimizer_state == "keep", parts) for name in below}
    levels = tuple(weights.level for weights in below.values())
    depths = tuple(found.waiting_from(level) - found.waiting_from(top) for level in range(top + 1))
    return Prices(costs, levels, depths, {name: frozenset(weights.units) for name, weights in below.items()})


def heaviest(steps: Steps, paid: Prices, limits: Limits, **how: Any) -> tuple[dict[str, Any], Rehearsal, bool]:
    """Return `auto`'s settings within the limits, what the heaviest set found under them takes, and if work binds.

    If nothing fits, the settings are those of the cheapest set, or of what else they admit if that takes more.
    """
    known: dict[Modules, Rehearsal] = {}

    def taken(modules: Modules) -> Rehearsal:
        if modules not in known:
            units = frozenset().union(*(paid.units[name] for name in modules))
            own = replace(steps, method="auto", settings={**steps.settings, **paid.settings(_UNLIMITED)})
            known[modules] = rehearse(own, [units], **how)
        return known[modules]

    cheapest, *others = paid.witnesses
    admitted = [taken(cheapest), taken(paid.costliest(paid.least))]
    least = max(admitted, key=lambda rehearsal: rehearsal.peak)
    if limits.broken(least):
        return paid.settings(paid.least), least, False
    for modules in others:
        if paid.cost(modules) <= _capacity(paid, known, limits.tensors):  # else it cannot be chosen
            taken(modules)
    capacity, whole = _capacity(paid, known, limits.tensors), frozenset(paid.costs)
    if paid.most <= _LESS * capacity and not limits.broken(taken(whole)):
        return paid.settings(paid.most), taken(whole), False
    for attempt in count():
        spared = max(0, attempt - _EXACT) * limits.tensors // 100
        found = paid.costliest(capacity := _capacity(paid, known, limits.tensors - spared))
        if found in known or taken(found).peak - paid.cost(found) <= limits.tensors - capacity:
            break
    if not limits.work_fits(taken(found)):
        too_much, capacity = capacity, paid.least
        for _ in range(_CORRECTIONS):
            between = (capacity + too_much) // 2
            if limits.work_fits(taken(paid.costliest(between))):
                capacity = between
            else:
                too_much = between
        return paid.settings(capacity), taken(paid.costliest(capacity)), True
    within = [rehearsal for modules, rehearsal in known.items() if paid.cost(modules) <= capacity]
    return paid.settings(capacity), max(within, key=lambda rehearsal: rehearsal.peak), False


def _capacity(paid: Prices, known: Mapping[Modules, Rehearsal], tensors: int) -> int:
    """Return the most that may be spent so that no set passes the limit of bytes, by the excess of those known.

    A set's excess counts only where the capacity admits it.
    """
    excess = sorted((paid.cost(modules), found.peak - paid.cost(modules)) for modules, found in known.items())
    most, greatest = paid.least, excess[0][1]
    for (cost, more), (following, _) in pairwise([*excess, (paid.most + 1, 0)]):
        greatest = max(greatest, more)
        if (capacity := min(tensors - greatest, following - 1)) >= cost:
            most = max(most, capacity)
    return most


def _cost(found: Profile, name: str, state_stays: bool, parts: int) -> int:
    weights = found.weights[name]
    state = 0 if state_stays else STATES * weights.bytes  # what stays is there whether it trains or not
    waits = weights.bytes + weights.dynamic if parts > 1 else max(weights.bytes, weights.dynamic)
    return state + weights.bytes + waits
