"""SlimFit's inter-layer scheduling: at every step the units whose weights moved most train (arXiv 2305.18513).

Faithful to section 2.1 of the method's description: a unit not yet visited comes before all others, in random order;
a frozen unit keeps its last distance. Ours: only the active units are copied, for one step; and a weight that was
exactly 0 has no relative change, so it is left out of the mean instead of making it NaN.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from torch import nn

from frostline.anatomy import Anatomy
from frostline.methods.base import Parameters, Replacement
from frostline.methods.distances import Distances
from frostline.methods.scheduled import ScheduledMethod


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
        self._distances = Distances()
        self._count = self.active_count

    def active(self, step: int) -> frozenset[str]:
        """Return the waiting units first, then those with the greatest distance; equals go by the random order."""
        waiting = self._waiting[: self._count]
        known = self._distances.known
        ranked = sorted((name for name in self._order if name in known), key=known.__getitem__, reverse=True)
        return frozenset(waiting + ranked[: self._count - len(waiting)])

    def before(self, step: int, parameters: Parameters) -> None:
        """Copy the active units' weights."""
        self._distances.copy(self.active(step), parameters)

    def observe(self, step: int, parameters: Parameters) -> None:
        """Measure how far each active unit moved in this step, and drop its copy."""
        measured = self._distances.measure(step, parameters)
        self._waiting = [name for name in self._waiting if name not in measured]

    def state_dict(self) -> dict[str, Any]:
        """Return the distances and the units still waiting for their first visit."""
        return {"distances": dict(self._distances.known), "waiting": list(self._waiting)}

    def load_state_dict(self, state: Mapping[str, Any], model: nn.Module) -> tuple[Replacement, ...]:
        """Take up distances and waiting list."""
        self._distances.load(state["distances"])
        self._waiting = list(state["waiting"])
        return ()
