"""What SlimFit and its random control share: which units are scheduled, how many are active, what always trains."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field
from torch import nn

from frostline.anatomy import Anatomy, Unit
from frostline.methods import base


class RateSettings(base.Settings):
    """`rate`: the share of scheduled units frozen at every step, in [0, 1)."""

    rate: float = Field(0.9, ge=0, lt=1, description="share of the units frozen at every step, in [0, 1)")


class ScheduledMethod(base.Method):
    """Freezes floor(rate * t) of t units at every step; biases are outside the schedule (METHODS: SlimFit, ILS).

    Scheduled: each parameter with more than one dimension and each norm's weight. Not scheduled and always trained:
    biases, and a norm that follows the last block (the paper's unit counts are 102 for BERT-base and 100 for ViT-base).
    """

    Settings = RateSettings

    def prepare(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Bind to a model and tell its scheduled units from the others."""
        super().prepare(model, anatomy)
        self._scheduled = tuple(unit for unit in anatomy.units if _is_scheduled(unit))
        self._always = tuple(unit for unit in anatomy.units if not _is_scheduled(unit))

    @classmethod
    def lighter(cls, blocks: int) -> tuple[dict[str, Any], ...]:
        """Return rates from one half up to the highest that the paper uses."""
        return tuple({"rate": rate} for rate in (0.5, 0.75, 0.9, 0.95))

    def units(self) -> tuple[Unit, ...]:
        """Return the scheduled units."""
        return self._scheduled

    def always(self) -> tuple[Unit, ...]:
        """Return the biases and the final norm."""
        return self._always

    def planned_parameters(self) -> int:
        """Return the scalars that train at a step, on average over units that are active equally often."""
        scheduled = sum(unit.parameter_count for unit in self.units())
        always = sum(unit.parameter_count for unit in self.always())
        return always + round(scheduled * self.active_count / len(self.units()))

    def heaviest(self) -> frozenset[str]:
        """Return the largest units; how deep they lie makes no difference, as biases train everywhere."""
        largest = sorted(self.units(), key=lambda unit: unit.parameter_count, reverse=True)
        return frozenset(unit.name for unit in largest[: self.active_count])

    @property
    def active_count(self) -> int:
        """How many units train at a step: t - floor(rate * t), at least one."""
        total = len(self.units())
        # 1e-9: 0.29 * 100 is 28.999999999999996, and a rate is meant in decimals.
        rate: float = self.settings.rate
        return total - math.floor(rate * total + 1e-9)


def _is_scheduled(unit: Unit) -> bool:
    if unit.kind == "norm":
        return unit.region != "head"
    return len(unit.shape) > 1
