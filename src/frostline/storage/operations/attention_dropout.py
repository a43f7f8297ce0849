"""The random numbers of dropout on attention probabilities: stock's own, drawn tile by tile, and again in backward.

On CPU, stock draws a Bernoulli number for each of the [B, H, Sq, Sk] probabilities, in the order of memory. How a
generator fills a tensor differs by build, so it is found out once, on a small sample:

    raw      numbers follow one another, each made of 64 random bits: drawn as integers, which is faster
    serial   numbers follow one another: the parts of a tensor drawn in turn equal the whole
    seeded   each call takes one seed from the generator (Intel's MKL): parts drawn in turn differ from the whole

With the first two, tiles get stock's very mask. With the third they do where the whole mask is small beside the
queries; elsewhere each tile has a draw of its own, of the same law. In every case the generator ends where stock
leaves it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Literal, Protocol

import torch
from torch import Tensor

from frostline.storage.codecs import packing

_CHUNK = 32768  # random integers at a time: 256 KiB, so that they stay in cache
_BITS = 53  # of 64 random bits, those that make a uniform double


class Masks(Protocol):
    """Where the tiles' masks come from, in order."""

    def take(self, count: int) -> Tensor:
        """Return a tile's mask, [count]: 1 for what stays, 0 for what is dropped; of any dtype."""


class Drawn:
    """Masks from a generator.

    Args:
        generator: of the CPU; moves on as stock's dropout moves it.
        count: probabilities in all tiles together.
        dropout: the probability of a zero, above 0 and below 1.
        dtype: that of the probabilities.
        room: bytes that the whole mask may take where it cannot be drawn in parts.
    """

    def __init__(self, generator: torch.Generator, count: int, dropout: float, dtype: torch.dtype, room: int) -> None:
        self._generator, self._stay, self._order = generator, 1 - dropout, fill_order()
        self._whole: Tensor | None = None
        self._taken = 0
        if self._order == "seeded":
            # float64 takes a longer seed than all others. int32 is drawn without a second tensor.
            kind, width = (torch.float64, 12) if dtype == torch.float64 else (torch.int32, 4)
            if count * width <= room:
                self._whole = torch.empty(count, dtype=kind).bernoulli_(self._stay, generator=generator)
            else:
                self._generator = _offspring(generator)
                torch.empty(1, dtype=kind).bernoulli_(self._stay, generator=generator)

    def take(self, count: int) -> Tensor:
        """Return the next tile's mask."""
        if self._whole is not None:
            self._taken += count
            return self._whole[self._taken - count : self._taken]
        mask = torch.empty(count, dtype=torch.bool)
        if self._order == "raw":
            _raw(mask, self._stay, self._generator)
        else:
            mask.bernoulli_(self._stay, generator=self._generator)
        return mask


class Recorded:
    """Masks that another source gives, noted in `bits` on their way: one bit for each probability, tile after tile.

    Args:
        source: of the masks.
        counts: probabilities in each tile.
    """

    def __init__(self, source: Masks, counts: Sequence[int]) -> None:
        self._source, self._taken = source, 0
        self.bits = torch.empty(bytes_of_bits(counts), dtype=torch.uint8)

    def take(self, count: int) -> Tensor:
        """Return the next tile's mask."""
        mask = self._source.take(count)
        size = bytes_of_bits([count])
        packing.pack(mask.to(torch.bool).view(torch.uint8), 1, self.bits[self._taken : self._taken + size])
        self._taken += size
        return mask


class Noted:
    """Masks from what `Recorded` noted."""

    def __init__(self, bits: Tensor) -> None:
        self._bits, self._taken = bits, 0

    def take(self, count: int) -> Tensor:
        """Return the next tile's mask."""
        size = bytes_of_bits([count])
        self._taken += size
        return packing.unpack(self._bits[self._taken - size : self._taken], 1, count)


def bytes_of_bits(counts: Sequence[int]) -> int:
    """Return the bytes that the bits of tiles with so many probabilities take."""
    return sum(packing.packed_size(count, 1) for count in counts)


@cache
def fill_order() -> Literal["raw", "serial", "seeded"]:
    """Find out how this build's generator fills a tensor with Bernoulli numbers."""
    count, stay = 1000, 0.7
    generators = [torch.Generator().manual_seed(11) for _ in range(3)]
    whole = torch.empty(count).bernoulli_(stay, generator=generators[0]).bool()
    parts = torch.cat([torch.empty(n).bernoulli_(stay, generator=generators[1]) for n in (300, 700)]).bool()
    if not (whole.equal(parts) and _same_state(generators[0], generators[1])):
        return "seeded"
    mask = torch.empty(count, dtype=torch.bool)
    _raw(mask, stay, generators[2])
    return "raw" if mask.equal(whole) and _same_state(generators[0], generators[2]) else "serial"


def _same_state(first: torch.Generator, second: torch.Generator) -> bool:
    return first.get_state().equal(second.get_state())


def _raw(mask: Tensor, stay: float, generator: torch.Generator) -> None:
    """Fill `mask` from 64 random bits a number: whether the lowest 53, divided by 2^53, are below `stay`."""
    threshold = math.ceil(stay * 2**_BITS)
    integers = torch.empty(min(_CHUNK, mask.numel()), dtype=torch.int64)
    for part in mask.split(_CHUNK):
        drawn = integers[: part.numel()].random_(-(2**63), None, generator=generator)
        torch.lt(drawn.bitwise_and_(2**_BITS - 1), threshold, out=part)


def _offspring(generator: torch.Generator) -> torch.Generator:
    """Return a generator seeded by what `generator` would draw next; `generator` itself stays where it is."""
    copy = torch.Generator()
    copy.set_state(generator.get_state())
    return copy.manual_seed(int(torch.empty((), dtype=torch.int64).random_(generator=copy)))
