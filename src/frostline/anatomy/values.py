"""The values an anatomy is made of: units, feed-forward pairs, blocks. All frozen, none holds a tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

Region = Literal["embeddings", "blocks", "head"]
"""Where in the forward order a unit is used: before the first block, in a block, after the last one."""

Kind = Literal[
    "embedding",
    "query",
    "key",
    "value",
    "key_value",
    "query_key_value",
    "attention_output",
    "ffn_in",
    "ffn_out",
    "linear",
    "convolution",
    "norm",
    "bias",
    "adapter",
    "nodes",
    "other",
]
"""What the operation that uses a unit does with it, `other` outside the blocks; found by tracing one forward pass."""

KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest set of weights that freezes or thaws together.

    Attributes:
        name: a parameter's name in `model.named_parameters()`, or a name of its own for a group of FFN nodes.
        block: depth of the block that holds it, 0 next to the embeddings; None outside the blocks.
        region: `embeddings`, `blocks` or `head`, by forward order.
        kind: what the operation that uses it does, see `Kind`.
        shape: of the weight; for a group of nodes, `(nodes,)`.
        parameter_count: number of scalars in it.
        parameters: names of the live parameters that make it up; empty for nodes frozen out of the model's parameters.
    """

    name: str
    block: int | None
    region: Region
    kind: Kind
    shape: tuple[int, ...]
    parameter_count: int
    parameters: tuple[str, ...]

    @classmethod
    def of_parameter(cls, name: str, block: int | None, region: Region, kind: Kind, shape: tuple[int, ...]) -> Unit:
        """Return the unit that one parameter tensor forms."""
        return cls(name, block, region, kind, shape, math.prod(shape), (name,))


@dataclass(frozen=True, slots=True)
class FeedForward:
    """A block's pair of Linear layers with only elementwise functions between them.

    In a gated FFN (GLU variants, arXiv 2002.05202) two Linear layers widen, and what they give is multiplied, feature
    by feature.

    Attributes:
        block: depth of the block.
        lin1, lin2: module names; lin1 widens `width` to `hidden`, lin2 narrows it back.
        width, hidden: number of features outside and inside.
        gate: the other Linear that widens, of a gated FFN; the one of the two that runs first.
    """

    block: int
    lin1: str
    lin2: str
    width: int
    hidden: int
    gate: str | None = None

    @property
    def widening(self) -> tuple[str, ...]:
        """The one or two Linear layers that widen, in forward order."""
        return (self.lin1,) if self.gate is None else (self.gate, self.lin1)

    @property
    def layers(self) -> tuple[str, ...]:
        """All Linear layers, in forward order."""
        return (*self.widening, self.lin2)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A model seen as blocks and units in forward order.

    Attributes:
        units: every parameter tensor that is used and not frozen by the user, in order of first use.
        blocks: module names of the repeated blocks, depth 0 first.
        feed_forwards: the FFN pairs, at most one for a block.
        unused: parameters that the traced forward pass never touched.
        frozen: parameters that arrived with `requires_grad=False`; no method ever thaws them.
        parameter_count: scalars in all parameters, the unused and frozen ones included.
        attentions: names of the modules that hold a projection of queries, frozen ones included.
    """

    units: tuple[Unit, ...]
    blocks: tuple[str, ...]
    feed_forwards: tuple[FeedForward, ...]
    unused: tuple[str, ...]
    frozen: tuple[str, ...]
    parameter_count: int
    attentions: tuple[str, ...] = ()

    def unit(self, name: str) -> Unit:
        """Return the unit of that name; raises KeyError."""
        for unit in self.units:
            if unit.name == name:
                return unit
        raise KeyError(name)

    def in_region(self, region: Region) -> tuple[Unit, ...]:
        """Return the units of one region, in forward order."""
        return tuple(unit for unit in self.units if unit.region == region)

    def in_blocks(self, depths: range | frozenset[int]) -> tuple[Unit, ...]:
        """Return the units of the blocks with these depths, in forward order."""
        return tuple(unit for unit in self.units if unit.block is not None and unit.block in depths)
