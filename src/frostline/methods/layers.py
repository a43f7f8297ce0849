"""The last t blocks and the head: CAFF's layer finetuning (arXiv 2411.07826) on one device.

Below the lowest trained block nothing is stored for backward and nothing is propagated back.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from frostline.anatomy import Anatomy, Unit
from frostline.errors import ConfigError
from frostline.methods import base


class Layers(base.ConstantMethod):
    """The last `count` blocks and the head train."""

    name = "layers"
    summary = "the last `count` blocks, and the head"
    source = "CAFF, arXiv 2411.07826 (layer finetuning)"

    class Settings(base.Settings):
        """`count`: how many blocks train, counted from the top; `skip`: below how many that stay as they are."""

        count: int = Field(2, ge=0, description="blocks that train, counted from the top")
        skip: int = Field(0, ge=0, description="blocks above them that stay as they are")

    @classmethod
    def lighter(cls, blocks: int) -> tuple[dict[str, Any], ...]:
        """Return every number of blocks, all of them first."""
        return tuple({"count": count} for count in range(blocks, -1, -1))

    def trained(self, anatomy: Anatomy) -> tuple[Unit, ...]:
        """Return the units of these blocks and the head; more blocks than there are raise ConfigError."""
        depth, count, skip = len(anatomy.blocks), self.settings.count, self.settings.skip
        if count + skip > depth:
            below = f" below skip={skip}" if skip else ""
            raise ConfigError(f"method 'layers': count={count}{below} is more than the model's {depth} blocks.")
        return anatomy.in_blocks(range(depth - skip - count, depth - skip)) + anatomy.in_region("head")
