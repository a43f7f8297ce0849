"""Pruning: the values of the largest magnitude are kept with their places, the others come back as 0.

SlimFit (arXiv 2305.18513) keeps a tenth of a frozen LayerNorm's normalised values. Here a tenth of each group of 256
values that lie side by side, so that a place takes one byte: 0.8 bit a value at 10 %, beside 1 bit for a mask and 3.2
for a number of four bytes. The values are bfloat16, 1.6 bit a value (float16 and float64 stay what they are).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frostline.storage.codecs import memory_order
from frostline.storage.codecs.base import Code, Codec, Layout

GROUP = 256


@dataclass(frozen=True, slots=True)
class TopK(Codec):
    """The largest `share` of each group, rounded up to whole values."""

    name: str
    share: float
    bits: float

    def encode(self, tensor: Tensor) -> Code:
        """Return values, shape (kept,), and places in their groups, shape (kept,), uint8."""
        memory_order.require_floats(tensor, self.name)
        row = memory_order.flat(tensor)
        kept = self._kept(row.numel())
        values, places = row.new_empty(kept, dtype=_kept_dtype(row.dtype)), row.new_empty(kept, dtype=torch.uint8)
        for source, target, count in self._pieces(row):
            index = source.abs().topk(count, dim=1, sorted=False).indices
            values[target].view(-1, count).copy_(source.gather(1, index))
            places[target].view(-1, count).copy_(index)
        return values, places

    def decode(self, code: Sequence[Tensor], layout: Layout) -> Tensor:
        """Return the kept values, and 0 in all other places."""
        values, places = code
        row = memory_order.empty_flat(layout, values.device).zero_()
        for target, source, count in self._pieces(row):
            index = places[source].view(-1, count).to(torch.int64)
            target.scatter_(1, index, values[source].view(-1, count).to(row.dtype))
        return memory_order.shaped(row, layout)

    def size(self, shape: Sequence[int], dtype: torch.dtype) -> int:
        """Return the bytes of values and places."""
        return self._kept(math.prod(shape)) * (_kept_dtype(dtype).itemsize + 1)

    def error_bound(self, tensor: Tensor) -> Tensor:
        """Return the largest magnitude that is dropped from each value's group, and the rounding of what is kept."""
        row = memory_order.flat(tensor)
        bound = row.abs().to(torch.float64)
        format = torch.finfo(_kept_dtype(row.dtype))
        rounding = bound * (format.eps / 2) + format.smallest_normal * format.eps
        for group, _, count in self._pieces(bound):
            ordered = group.sort(dim=1, descending=True).values
            group.copy_(ordered[:, count : count + 1] if count < group.shape[1] else torch.zeros_like(group))
        return memory_order.shaped(bound + rounding, Layout(tensor.shape, tensor.stride(), torch.float64))

    def finite(self, code: Sequence[Tensor]) -> Tensor:
        """Return whether all kept values are finite: infinities and NaN are the largest, and so kept."""
        values = code[0]
        return values.abs().amax().isfinite() if values.numel() else values.new_ones((), dtype=torch.bool)

    def _pieces(self, row: Tensor) -> Iterator[tuple[Tensor, slice, int]]:
        """Yield (values, shape (groups, width), where their code lies, kept values a group)."""
        whole, start = row.numel() - row.numel() % GROUP, 0
        for part, width in ((row[:whole], GROUP), (row[whole:], row.numel() - whole)):
            count = self._of(width)
            for places in memory_order.blocks(part):
                values = part[places].view(-1, width)
                stop = start + values.shape[0] * count
                yield values, slice(start, stop), count
                start = stop

    def _of(self, width: int) -> int:
        return math.ceil(self.share * width)

    def _kept(self, count: int) -> int:
        return count // GROUP * self._of(GROUP) + self._of(count % GROUP)


def _kept_dtype(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype in (torch.float16, torch.float64) else torch.bfloat16
