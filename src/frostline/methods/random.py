"""A random share of the units at every step: the control that any informed schedule has to beat."""

from __future__ import annotations

import random as random_numbers

from frostline.methods.scheduled import ScheduledMethod


class Random(ScheduledMethod):
    """SlimFit's units and rate, chosen anew by chance at every step."""

    name = "random"
    summary = "a random 1 - `rate` of the units at each step, and every bias"
    source = "the control for SlimFit"

    def active(self, step: int) -> frozenset[str]:
        """Return a choice that depends on the seed and the step alone."""
        generator = random_numbers.Random(f"{self.seed}/{step}")
        return frozenset(generator.sample([unit.name for unit in self.units()], self.active_count))
