"""Budgeted scheduling: at every step, of the sets of weights whose peak fits the budget, the one that moves most.

SlimFit's criterion (arXiv 2305.18513: the mean relative change of a weight at its last active step) decides what is
worth training, and a knapsack what can be afforded: each weight costs its gradient, its optimizer state and what
waits for its gradient; the deepest one costs all that waits above it. SlimFit's share of units is the special case in
which all weights cost the same and depth is free.

The weights of a module train together, a Linear's bias with its matrix: the relative change of a bias near 0 says
nothing, and it costs next to nothing once its matrix is there. What has not trained yet comes first, as in SlimFit. The
head always trains. Where everything fits, everything trains and nothing is judged.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field
from torch import nn

from frostline.anatomy import Anatomy, Unit
from frostline.errors import ConfigError
from frostline.methods import base
from frostline.methods.base import Parameters, Replacement
from frostline.methods.distances import Distances
from frostline.methods.knapsack import best_set


class Auto(base.Method):
    """Trains the modules whose weights moved most, among the sets that fit; the head always."""

    name = "auto"
    summary = "at each step, of the weights that fit `capacity` bytes, those that changed most; the head always"
    source = "Frostline's own; the criterion is SlimFit's, arXiv 2305.18513"

    class Settings(base.Settings):
        """Bytes, as the planner finds them. By hand `capacity` is enough: weights then cost what training them holds
        (gradient, two moments and a copy), and depth is free.
        """

        capacity: int | None = Field(
            None,
            ge=0,
            description="bytes for all that trains at a step and for its depth; half of everything's if None",
        )
        costs: dict[str, int] | None = Field(
            None, description="of each module outside the head, bytes while it trains; one without never does"
        )
        prices: tuple[int, ...] | None = Field(
            None, description="of each level as the deepest, embeddings first; bytes"
        )
        every: int = Field(1, ge=1, description="steps between two choices")

    def prepare(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Bind to a model; ConfigError if the settings are of another, or nothing fits."""
        super().prepare(model, anatomy)
        self._always = anatomy.in_region("head")
        head = {unit.name for unit in self._always}
        modules: dict[str, list[Unit]] = {}
        for unit in anatomy.units:
            if unit.name not in head:
                modules.setdefault(unit.name.rpartition(".")[0], []).append(unit)
        plain = {name: 16 * sum(unit.parameter_count for unit in units) for name, units in modules.items()}
        costs = plain if self.settings.costs is None else self.settings.costs
        levels = len(anatomy.blocks) + 2
        self._prices = [0] * levels if self.settings.prices is None else list(self.settings.prices)
        if not costs.keys() <= modules.keys() or len(self._prices) != levels:
            raise ConfigError(
                f"method 'auto': its costs are of another model: {len(costs)} modules on {len(self._prices)} levels; "
                f"this one has {len(modules)} on {levels}. `frostline plan` finds those of a model."
            )
        modules = {name: units for name, units in modules.items() if name in costs}
        self._units = tuple(unit for units in modules.values() for unit in units)
        half = (sum(costs.values()) + max(self._prices)) // 2
        self._capacity = half if self.settings.capacity is None else self.settings.capacity
        self._modules = {name: tuple(unit.name for unit in units) for name, units in modules.items()}
        self._levels = [0 if units[0].block is None else units[0].block + 1 for units in modules.values()]
        self._costs = [costs[name] for name in modules]
        self._order = random.Random(self.seed).sample(list(modules), len(modules))
        self._rank = {name: place / len(modules) for place, name in enumerate(self._order)}
        self._judge = {name: max(units, key=lambda unit: unit.parameter_count).name for name, units in modules.items()}
        self._distances = Distances()
        self._chosen: frozenset[str] = frozenset()
        self._choose()

    def units(self) -> tuple[Unit, ...]:
        """Return all units but the head's and those that have no cost."""
        return self._units

    def always(self) -> tuple[Unit, ...]:
        """Return the head's units."""
        return self._always

    def active(self, step: int) -> frozenset[str]:
        """Return the units of the modules chosen for this step."""
        return self._chosen

    def heaviest(self) -> frozenset[str]:
        """Return the units of the set that costs most within the capacity."""
        return self._set(self._costs)

    def before(self, step: int, parameters: Parameters) -> None:
        """Copy the weights by which the active modules are judged."""
        active = self._active_modules()
        chosen = active if len(active) < len(self._modules) else []
        self._distances.copy((self._judge[name] for name in chosen), parameters)

    def observe(self, step: int, parameters: Parameters) -> None:
        """Measure how far they moved, and choose for the next step when it is time."""
        self._distances.measure(step, parameters)
        if (step + 1) % self.settings.every == 0:
            self._choose()

    def state_dict(self) -> dict[str, Any]:
        """Return the distances and the present choice."""
        return {"distances": dict(self._distances.known), "chosen": sorted(self._chosen)}

    def load_state_dict(self, state: Mapping[str, Any], model: nn.Module) -> tuple[Replacement, ...]:
        """Take up distances and choice."""
        self._distances.load(state["distances"])
        self._chosen = frozenset(state["chosen"])
        return ()

    def _choose(self) -> None:
        known = self._distances.known
        most = max(known.values(), default=0.0)
        first = 2 * most + 1  # what has not trained yet comes before all that has, in random order
        values = [known.get(self._judge[name], first * (1 + self._rank[name] / 8)) for name in self._modules]
        self._chosen = self._set(values)

    def _set(self, values: Sequence[float]) -> frozenset[str]:
        """Return the units of the modules whose values together are most, within the capacity."""
        names = list(self._modules)
        chosen = best_set(values, self._costs, self._levels, self._prices, self._capacity)
        return frozenset(unit for index in chosen for unit in self._modules[names[index]])

    def _active_modules(self) -> list[str]:
        active = self.active(0)
        return [name for name, units in self._modules.items() if units[0] in active]
