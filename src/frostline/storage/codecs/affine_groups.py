"""Group statistics, and the arithmetic of affine codes, block by block."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from frostline.storage.codecs import memory_order, packing
from frostline.storage.codecs.noise import Noise

GROUP = 128
SLACK = 2.0**-8
"""What rounding in float32 adds to an error at most, in steps."""
_FINEST = 2.0**-14
"""A step is no finer than this share of the group's largest magnitude; a constant comes back within half of it."""


class Encoder:
    """Scratch memory and the arithmetic of one tensor's encoding.

    Args:
        bits: 8 or 4.
        stochastic: round up with the probability of the fraction.
        shift: what is taken from each code.
        row: the values, in memory order.
    """

    def __init__(self, bits: int, stochastic: bool, shift: int, row: Tensor) -> None:
        dtype = memory_order.compute_dtype(row.dtype)
        self.stochastic, self.longest = stochastic, memory_order.block_length(row)
        self.values = row.new_empty(self.longest, dtype=dtype)
        self.narrow = row.new_empty(self.longest if bits == 4 else 0, dtype=torch.int8)
        magic, self.integer = memory_order.ROUNDING[dtype]
        # Scalars as tensors: they can come first in an operation, and as `out=` arguments make no new tensor.
        self.magic = row.new_full((), magic, dtype=dtype)
        self.origin = row.new_full((), (0 if stochastic else magic) - shift, dtype=dtype)
        self.tiny = row.new_full((), torch.finfo(dtype).smallest_normal, dtype=dtype)
        steps = 2**bits - (2 if stochastic else 1)
        widened = 1.0 if dtype is torch.float64 else 1 + 2**-8  # so that rounding to bfloat16 leaves it wide enough
        self.share = widened * (1 + 2 * SLACK / steps) / steps
        self.several = row.numel() > self.longest
        self.noise: Noise | None = None

    def encode(self, row: Tensor, codes: Tensor, upper: bool, scale: Tensor, zero: Tensor, start: int) -> None:
        """Write the codes, scales and zero points of the values of `row`, of which the first is number `start`."""
        high, low = self._extremes(row)
        if self.stochastic and self.noise is None:
            content = high.view(self.integer).sum() + low.view(self.integer).sum() * 3
            self.noise = Noise(content, self.longest, self.several, self.values.dtype)
        inverse, origin = self._groups_of(high, low, scale, zero)
        for groups, places in blocks(row.numel(), self.longest):
            source = row[places]
            values = self.values[: source.numel()]
            if source.dtype is values.dtype:
                torch.mul(grouped(source), inverse[groups], out=grouped(values))
            else:
                grouped(values.copy_(source)).mul_(inverse[groups])
            grouped(values).add_(origin[groups])
            if self.noise is not None:
                self.noise.add_to(values, start + places.start)
                values.add_(self.magic)
            packing.put(values.view(self.integer), codes[places], upper, self.narrow)

    def _extremes(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """Return the largest and the smallest value of each group, shape (groups, 1)."""
        whole = row.numel() - row.numel() % GROUP
        parts = [grouped(part) for part in (row[:whole], row[whole:]) if part.numel()]
        # `aminmax` along a dimension would be one call, and takes five times as long.
        high = torch.cat([part.amax(1, True) for part in parts]) if len(parts) > 1 else parts[0].amax(1, True)
        low = torch.cat([part.amin(1, True) for part in parts]) if len(parts) > 1 else parts[0].amin(1, True)
        return high.to(self.values.dtype), low.to(self.values.dtype)

    def _groups_of(self, high: Tensor, low: Tensor, scale: Tensor, zero: Tensor) -> tuple[Tensor, Tensor]:
        """Write scales and zero points; return 1 / scale and what is added to values in steps. Overwrites `low`."""
        largest = torch.maximum(high.abs(), low.abs())
        step = (high * self.share).sub_(low, alpha=self.share)  # (high - low) * share could overflow
        torch.maximum(step, torch.add(self.tiny, largest, alpha=_FINEST), out=step)
        scale.copy_(step.view(-1))
        step.view(-1).copy_(scale)
        inverse = step.reciprocal_()
        origin = torch.mul(low, inverse, out=low)
        origin = origin.floor_() if self.stochastic else origin.round_()
        zero.copy_(origin.view(-1))
        return inverse, self.origin - origin


def blocks(count: int, length: int) -> Iterator[tuple[slice, slice]]:
    """Yield (groups, values) of what is worked on at once, within a piece; a shorter last group by itself."""
    whole = count - count % GROUP
    for start in range(0, whole, length):
        stop = min(start + length, whole)
        yield slice(start // GROUP, stop // GROUP), slice(start, stop)
    if whole < count:
        yield slice(whole // GROUP, None), slice(whole, count)


def grouped(values: Tensor) -> Tensor:
    """Return a row as (groups, values a group); a row shorter than a group is one."""
    return values.view(-1, min(GROUP, values.numel()))


def group_count(count: int) -> int:
    """Return how many groups so many values make."""
    return -(-count // GROUP)


def scale_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of the scales of a tensor of `dtype`."""
    return torch.float64 if dtype is torch.float64 else torch.bfloat16
