"""One look at the values while they are in cache: whether any is infinite, NaN, or too large for its code."""

from __future__ import annotations

import torch
from torch import Tensor


class Watch:
    """Gathers the extremes of stretches of values."""

    def __init__(self) -> None:
        self._extremes: tuple[Tensor, Tensor] | None = None

    def see(self, values: Tensor) -> None:
        """Take note of a stretch of at least one value."""
        low, high = torch.aminmax(values)  # of all values it is quick, and both spread NaN
        if self._extremes is not None:
            low, high = torch.minimum(low, self._extremes[0]), torch.maximum(high, self._extremes[1])
        self._extremes = low, high

    def below(self, limit: float, like: Tensor) -> Tensor:
        """Return a boolean scalar on the device of `like`: whether all magnitudes seen were below `limit`."""
        if self._extremes is None:
            return like.new_ones((), dtype=torch.bool)
        low, high = (extreme.to(torch.float64) for extreme in self._extremes)  # `limit` may not fit their own dtype
        return (low > -limit) & (high < limit)
