"""LISA: a few random blocks train for a period, then others (Pan et al., arXiv 2403.17919)."""

from __future__ import annotations

import random
from typing import Any

from pydantic import Field
from torch import nn

from frostline.anatomy import Anatomy, Unit
from frostline.errors import ConfigError
from frostline.methods import base


class Lisa(base.Method):
    """`count` random blocks train for `every` steps, then a new draw; embeddings and head always train."""

    name = "lisa"
    summary = "`count` random blocks, drawn anew `every` steps; embeddings and head always"
    source = "LISA, arXiv 2403.17919"

    class Settings(base.Settings):
        """`count` blocks (the paper's gamma), drawn anew `every` steps (its sampling period K)."""

        count: int = Field(2, ge=1, description="blocks that train at a time")
        every: int = Field(10, ge=1, description="steps between two draws")

    @classmethod
    def lighter(cls, blocks: int) -> tuple[dict[str, Any], ...]:
        """Return numbers of blocks: half of them, a quarter, and so on down to one."""
        counts = [blocks // 2**power for power in range(1, blocks.bit_length())]
        return tuple({"count": count} for count in counts if count)

    def prepare(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Bind the method to a model; more blocks than there are raise ConfigError."""
        super().prepare(model, anatomy)
        depth, count = len(anatomy.blocks), self.settings.count
        if count > depth:
            raise ConfigError(f"method 'lisa': count={count} is more than the model's {depth} blocks.")

    def units(self) -> tuple[Unit, ...]:
        """Return the units of all blocks."""
        return self.anatomy.in_region("blocks")

    def always(self) -> tuple[Unit, ...]:
        """Return the units of embeddings and head."""
        return self.anatomy.in_region("embeddings") + self.anatomy.in_region("head")

    def planned_parameters(self) -> int:
        """Return the scalars that train at a step, on average over the blocks."""
        scheduled = sum(unit.parameter_count for unit in self.units())
        always = sum(unit.parameter_count for unit in self.always())
        count: int = self.settings.count
        return always + round(scheduled * count / len(self.anatomy.blocks))

    def active(self, step: int) -> frozenset[str]:
        """Return the units of the blocks drawn for this period."""
        depth, count = len(self.anatomy.blocks), self.settings.count
        drawn = random.Random(f"{self.seed}/{step // self.settings.every}").sample(range(depth), count)
        return frozenset(unit.name for unit in self.anatomy.in_blocks(frozenset(drawn)))
