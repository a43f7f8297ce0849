"""Affine integers of 8 or 4 bits with a scale and a zero point for each group of 128 values that lie side by side.

    code = round(x / scale) - zero        x ~ (code + zero) * scale

The zero point is an integer, so that 0, which dropout and ReLU leave in numbers, comes back as 0, and decoding rounds
once. Scales are bfloat16, rounded so that the range still fits. A group takes four bytes more: 8.25 and 4.25 bits a
value. Beside a float32 scale and minimum that saves 3 % and 6 % of the bytes, for 1 to 2 % in error (GELU's output at
4 bit: 9 %); without zero points, symmetric about 0, a LayerNorm's output has 1.3 times the error and GELU's input 1.5
times (`python benchmarks/storage/codec_costs.py`). Float64 has float64 scales.

With stochastic rounding each value goes up with the probability of its fraction, so that sums over many values, as in
a weight's gradient, are unbiased (to 2**-17 of a step); one step of the range is left for it. See `noise`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from frostline.anatomy.target import device_type
from frostline.storage.codecs import memory_order, packing
from frostline.storage.codecs.affine_groups import GROUP, SLACK, Encoder, blocks, group_count, grouped, scale_dtype
from frostline.storage.codecs.base import Code, Codec, Layout


@dataclass(frozen=True, slots=True)
class Affine(Codec):
    """Group-wise affine codes.

    Attributes:
        bits: 8 or 4.
        stochastic: round up with the probability of the fraction, in place of to the nearest.
    """

    name: str
    bits: float
    stochastic: bool = False

    def encode(self, tensor: Tensor) -> Code:
        """Return codes (int8 (n,), or uint8 with two to a byte), scales (groups,) and zero points (groups,) int16."""
        memory_order.require_floats(tensor, self.name)
        row = memory_order.flat(tensor)
        count, groups = row.numel(), group_count(row.numel())
        codes = row.new_empty(self._bytes(count), dtype=torch.int8 if self.bits == 8 else torch.uint8)
        scale = row.new_empty(groups, dtype=scale_dtype(row.dtype))
        zero = row.new_empty(groups, dtype=torch.int16)
        encoder = Encoder(int(self.bits), self.stochastic, self._shift, row)
        for first, start, stop in self._pieces(row):
            part = slice(start // GROUP, group_count(stop))
            encoder.encode(
                row[start:stop], codes[start - first : stop - first], first > 0, scale[part], zero[part], start
            )
        return codes, scale, zero

    def decode(self, code: Sequence[Tensor], layout: Layout) -> Tensor:
        """Return the values."""
        codes, scale, zero = code
        row = memory_order.empty_flat(layout, codes.device)
        dtype, limit = memory_order.compute_dtype(layout.dtype), _limit(scale, layout.dtype)
        longest = memory_order.block_length(row)
        scratch = None if dtype is layout.dtype else row.new_empty(longest, dtype=dtype)
        nibbles = codes.new_empty(longest if self.bits == 4 else 0)
        for first, start, stop in self._pieces(row):
            part = slice(start // GROUP, group_count(stop))
            steps = scale[part].to(dtype).unsqueeze(1)
            zeros = zero[part].to(dtype).add_(self._shift).unsqueeze(1)
            stored, target = codes[start - first : stop - first], row[start:stop]
            for groups, places in blocks(stop - start, longest):
                source = stored[places]
                if self.bits == 4:
                    source = packing.take(source, first > 0, nibbles)
                values = target[places] if scratch is None else scratch[: source.numel()]
                grouped(values.copy_(source)).add_(zeros[groups]).mul_(steps[groups])
                if limit is not None:
                    values.clamp_(-limit, limit)
                if scratch is not None:
                    target[places].copy_(values)
        return memory_order.shaped(row, layout)

    def size(self, shape: Sequence[int], dtype: torch.dtype) -> int:
        """Return the bytes of codes, scales and zero points."""
        count = math.prod(shape)
        return self._bytes(count) + group_count(count) * (scale_dtype(dtype).itemsize + 2)

    def error_bound(self, tensor: Tensor) -> Tensor:
        """Return half a step of each value's group (a whole one if stochastic), and what rounding adds."""
        scale = self.encode(tensor)[1].to(torch.float64)
        row = memory_order.flat(tensor)
        steps = scale.repeat_interleave(GROUP)[: row.numel()] * ((1.0 if self.stochastic else 0.5) + SLACK)
        rounding = torch.finfo(tensor.dtype)
        bound = steps + (row.to(torch.float64).abs() + steps) * (rounding.eps / 2) + rounding.smallest_normal / 2
        return memory_order.shaped(bound, Layout(tensor.shape, tensor.stride(), torch.float64))

    def finite(self, code: Sequence[Tensor]) -> Tensor:
        """Return whether all scales are finite: infinity and NaN spread to their group's."""
        scale = code[1]
        return scale.amax().isfinite() if scale.numel() else scale.new_ones((), dtype=torch.bool)

    @property
    def _shift(self) -> int:
        return 128 if self.bits == 8 else 0  # int8 codes lie around 0, as float to int8 is the one quick conversion

    def _bytes(self, count: int) -> int:
        if self.bits == 8 or count <= GROUP:
            return count
        return -(-group_count(count) // 2) * GROUP

    def _pieces(self, row: Tensor) -> Iterator[tuple[int, int, int]]:
        """Yield (first value of this half of the bytes, first value, last value + 1), whole groups but for the last."""
        if isinstance(row, FakeTensor):  # a shape without values: a trace would only be slowed down
            return
        count, length = row.numel(), memory_order.chunk_length(row)
        half = self._bytes(count)
        for first, last in ((0, half), (half, count)):
            for start in range(first, last, length):
                yield first, start, min(start + length, last)


def _limit(scale: Tensor, dtype: torch.dtype) -> float | None:
    """Return where to cut decoded values off, if a step next to the largest number of `dtype` could overflow."""
    limit = torch.finfo(dtype).max
    looks = device_type(scale) == "cpu" and not isinstance(scale, FakeTensor) and not torch.compiler.is_compiling()
    if not scale.numel() or (looks and bool(scale.amax() < limit * 2**-15)):
        return None
    return limit
