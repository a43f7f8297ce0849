"""Fixed point without a scale, I integer and F fraction bits: round(x * 2**F), cut off at the range.

SlimFit's formats (arXiv 2305.18513; docs: methods): 3.4 with a sign is int8 for Q, K, V and the input of an FFN's
second Linear, 2.1 with a sign takes four bits, two to a byte, for GELU's input, and 0.8 without one is uint8 for
probabilities. A value beyond the range comes back as the range's end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frostline.storage.codecs import memory_order, packing
from frostline.storage.codecs.base import Code, Codec, Layout
from frostline.storage.codecs.finiteness import Watch


@dataclass(frozen=True, slots=True)
class FixedPoint(Codec):
    """Codes of 8 or 4 bits, and whether the values were finite.

    Attributes:
        bits: 8 or 4, the sign included.
        fraction: how many of them lie behind the point.
        signed: whether one is a sign.
    """

    name: str
    bits: float
    fraction: int
    signed: bool = True

    def encode(self, tensor: Tensor) -> Code:
        """Return codes, int8 (n,) or uint8 (n,), or uint8 with two to a byte, and a boolean scalar."""
        memory_order.require_floats(tensor, self.name)
        row = memory_order.flat(tensor)
        dtype, longest, watch = memory_order.compute_dtype(row.dtype), memory_order.block_length(row), Watch()
        magic, integer = memory_order.ROUNDING[dtype]
        origin = row.new_full((), magic + self._shift, dtype=dtype)
        scratch, spare = row.new_empty(longest, dtype=dtype), row.new_empty(longest, dtype=torch.int8)
        codes = row.new_empty(self._bytes(row.numel()), dtype=torch.int8 if self._plain_int8 else torch.uint8)
        half, (low, high) = codes.numel(), self.range
        for first, last in ((0, half), (half, row.numel())):
            part = row[first:last]
            for places in memory_order.blocks(part):
                values, source = scratch[: places.stop - places.start], part[places]
                source = source if source.dtype is dtype else values.copy_(source)
                watch.see(source)
                torch.clamp(source, low, high, out=values)
                torch.add(origin, values, alpha=2.0**self.fraction, out=values)
                packing.put(values.view(integer), codes[places], first > 0, spare)
        return codes, watch.below(math.inf, row)

    def decode(self, code: Sequence[Tensor], layout: Layout) -> Tensor:
        """Return the values."""
        codes, row = code[0], memory_order.empty_flat(layout, code[0].device)
        half, longest = codes.numel(), memory_order.block_length(row)
        spare = codes.new_empty(longest if self.bits == 4 else 0)
        for first, last in ((0, half), (half, row.numel())):
            part = row[first:last]
            for places in memory_order.blocks(part):
                stored = codes[places] if self.bits == 8 else packing.take(codes[places], first > 0, spare)
                values = part[places].copy_(stored)  # small integers: exact in every dtype
                if self._shift:
                    values.sub_(self._shift)
                values.mul_(2.0**-self.fraction)
        return memory_order.shaped(row, layout)

    def size(self, shape: Sequence[int], dtype: torch.dtype) -> int:
        """Return the bytes of the codes, and one."""
        return self._bytes(math.prod(shape)) + 1

    def error_bound(self, tensor: Tensor) -> Tensor:
        """Return half a step inside the range, the distance to the range beyond it."""
        values, (low, high) = tensor.to(torch.float64), self.range
        outside = torch.maximum(low - values, values - high)
        return outside.clamp_min(2.0 ** -(self.fraction + 1))

    def finite(self, code: Sequence[Tensor]) -> Tensor:
        """Return what encoding saw."""
        return code[1]

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value that is not cut off."""
        step, count = 2.0**-self.fraction, 2 ** int(self.bits)
        return (-count / 2 * step, (count / 2 - 1) * step) if self.signed else (0.0, (count - 1) * step)

    @property
    def _plain_int8(self) -> bool:
        return self.signed and self.bits == 8

    @property
    def _shift(self) -> int:
        return 8 if self.signed and self.bits == 4 else 0

    def _bytes(self, count: int) -> int:
        return count if self.bits == 8 else packing.packed_size(count, 4)
