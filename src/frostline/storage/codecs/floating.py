"""Shorter floating-point formats: bfloat16 and float16, rounded to the nearest, ties to even."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frostline.storage.codecs import memory_order
from frostline.storage.codecs.base import Code, Codec, Layout
from frostline.storage.codecs.finiteness import Watch


@dataclass(frozen=True, slots=True)
class Floating(Codec):
    """Values cast to `dtype`, and whether all of them fitted: what overflows is refused as infinities are."""

    name: str
    bits: float
    dtype: torch.dtype

    def encode(self, tensor: Tensor) -> Code:
        """Return the values in the shorter format, shape (n,), and a boolean scalar."""
        memory_order.require_floats(tensor, self.name)
        row, watch = memory_order.flat(tensor), Watch()
        codes = row.new_empty(row.numel(), dtype=self.dtype)
        for places in memory_order.blocks(row):
            watch.see(row[places])
            codes[places].copy_(row[places])
        return codes, watch.below(self._overflow, row)

    def decode(self, code: Sequence[Tensor], layout: Layout) -> Tensor:
        """Return the values."""
        row = memory_order.empty_flat(layout, code[0].device).copy_(code[0])
        if layout.dtype is torch.float16 and self.dtype is torch.bfloat16:  # 65504 was rounded up, and overflows now
            row.clamp_(-65504, 65504)
        return memory_order.shaped(row, layout)

    def size(self, shape: Sequence[int], dtype: torch.dtype) -> int:
        """Return two bytes a value, and one."""
        return math.prod(shape) * self.dtype.itemsize + 1

    def error_bound(self, tensor: Tensor) -> Tensor:
        """Return half of the last place that is left, and half of the smallest number."""
        format = torch.finfo(self.dtype)
        half = format.eps / 2 * (1 + 2.0**-12)  # float64 is rounded twice, by way of float32
        return tensor.to(torch.float64).abs() * half + format.smallest_normal * format.eps

    def finite(self, code: Sequence[Tensor]) -> Tensor:
        """Return what encoding saw."""
        return code[1]

    @property
    def _overflow(self) -> float:
        format = torch.finfo(self.dtype)
        return format.max / (2 - format.eps) * (2 - format.eps / 2)  # half a place beyond the largest number
