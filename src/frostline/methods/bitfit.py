"""BitFit: biases and the head (Ben Zaken et al., arXiv 2106.10199)."""

from __future__ import annotations

from frostline.anatomy import Anatomy, Unit
from frostline.methods.base import ConstantMethod


class BitFit(ConstantMethod):
    """Every bias and the head train; all other weights are frozen."""

    name = "bitfit"
    summary = "every bias, and the head"
    source = "Ben Zaken et al., arXiv 2106.10199"

    def trained(self, anatomy: Anatomy) -> tuple[Unit, ...]:
        """Return the biases and the head's units."""
        return tuple(unit for unit in anatomy.units if unit.kind == "bias" or unit.region == "head")
