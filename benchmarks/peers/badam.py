"""BAdam: Adam on one block at a time (Luo et al., arXiv 2404.02827).

Published: the transformer blocks take turns; each trains for `every` steps by Adam, whose moments start anew at every
turn, so gradients and moments exist for one block only. The authors' package (badam 1.4) also offers to make the
embeddings a block, and to train the last layer throughout where it starts from random values; its default order is
from the top down, its experiments on SuperGLUE switch every 100 steps.

Written from the paper: the package's optimizer sets `requires_grad` itself, which is the tuner's part here, and keeps
a second copy of a model in 32 bits. Here the weights are trained as they are; the head trains at every step and its
moments stay.
"""

from __future__ import annotations

import random
from typing import Any, Literal

from pydantic import Field
from torch import nn
from torch.optim import AdamW, Optimizer

from frostline import methods
from frostline.anatomy import Anatomy, Unit
from frostline.errors import PlanError
from frostline.methods import base
from frostline.methods.base import Parameters


@methods.register
class BAdam(base.Method):
    """One block trains for `every` steps, then the next, each time with fresh moments; the head always."""

    name = "badam"
    summary = "one block at a time, another `every` steps, with fresh moments; the head always"
    source = "BAdam, arXiv 2404.02827"

    class Settings(base.Settings):
        """`every` is the paper's K; `embeddings` makes them a block of their own, else they are frozen for good."""

        every: int = Field(100, ge=1, description="steps between two switches")
        order: Literal["descending", "ascending", "random"] = Field(
            "descending", description="from the top, from the bottom, or drawn anew each time round"
        )
        embeddings: bool = Field(False, description="whether the embeddings take a turn too")

    def prepare(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Bind to a model."""
        super().prepare(model, anatomy)
        blocks = [anatomy.in_blocks(range(depth, depth + 1)) for depth in range(len(anatomy.blocks))]
        self._turns = [anatomy.in_region("embeddings"), *blocks] if self.settings.embeddings else blocks
        self._optimizer: Optimizer | None = None

    def units(self) -> tuple[Unit, ...]:
        """Return the units of everything that takes turns."""
        return tuple(unit for turn in self._turns for unit in turn)

    def always(self) -> tuple[Unit, ...]:
        """Return the units of the head."""
        return self.anatomy.in_region("head")

    def planned_parameters(self) -> int:
        """Return the scalars that train at a step, on average over the turns."""
        taking_turns = sum(unit.parameter_count for unit in self.units())
        return round(taking_turns / len(self._turns)) + sum(unit.parameter_count for unit in self.always())

    def active(self, step: int) -> frozenset[str]:
        """Return the units of the block whose turn it is."""
        cycle, place = divmod(step // self.settings.every, len(self._turns))
        order = list(range(len(self._turns)))
        if self.settings.order == "descending":
            order.reverse()
        elif self.settings.order == "random":
            random.Random(f"{self.seed}/{cycle}").shuffle(order)
        return frozenset(unit.name for unit in self._turns[order[place]])

    def optimizer(self, groups: list[dict[str, Any]], learning_rate: float) -> Optimizer:
        """Return an AdamW whose moments `before` drops at every switch."""
        self._optimizer = AdamW(groups, lr=learning_rate, fused=True)
        return self._optimizer

    def before(self, step: int, parameters: Parameters) -> None:
        """Drop all blocks' moments when a turn begins; PlanError where the optimizer is not the method's own."""
        if self._optimizer is None:
            raise PlanError(
                "method 'badam' drops Adam's moments at every switch, so it must know the optimizer: take the one "
                "that tuner.own_optimizer(groups, learning_rate) returns."
            )
        if step % self.settings.every == 0:
            for unit in self.units():
                self._optimizer.state.pop(parameters[unit.name], None)
