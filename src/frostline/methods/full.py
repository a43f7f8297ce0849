"""Full fine-tuning: everything trains at every step. The yardstick."""

from __future__ import annotations

from frostline.anatomy import Anatomy, Unit
from frostline.methods.base import ConstantMethod


class Full(ConstantMethod):
    """Every parameter trains at every step."""

    name = "full"
    summary = "every parameter, at every step"
    source = "the yardstick"

    def trained(self, anatomy: Anatomy) -> tuple[Unit, ...]:
        """Return all units."""
        return anatomy.units
