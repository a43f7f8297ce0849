"""Head only (linear probing): nothing below the last block's output is stored or propagated to."""

from __future__ import annotations

from frostline.anatomy import Anatomy, Unit
from frostline.methods.base import ConstantMethod


class Head(ConstantMethod):
    """What runs after the last block trains: final norm, pooler, classifier."""

    name = "head"
    summary = "what runs after the last block: final norm, pooler, classifier"
    source = "the usual baseline (linear probing)"

    def trained(self, anatomy: Anatomy) -> tuple[Unit, ...]:
        """Return the head's units."""
        return anatomy.in_region("head")
