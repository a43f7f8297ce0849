"""The codec that keeps a tensor as it is; beside it, every other one is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frostline.storage.codecs.base import Code, Codec, Layout


@dataclass(frozen=True, slots=True)
class Exact(Codec):
    """Keeps the tensor itself: the one codec that shares memory with it, so that autograd sees changes in place."""

    name: str = "exact"
    bits: float = 64

    def encode(self, tensor: Tensor) -> Code:
        """Return the tensor."""
        return (tensor,)

    def decode(self, code: Sequence[Tensor], layout: Layout) -> Tensor:
        """Return the tensor."""
        return code[0]

    def size(self, shape: Sequence[int], dtype: torch.dtype) -> int:
        """Return the tensor's own bytes."""
        return math.prod(shape) * dtype.itemsize

    def error_bound(self, tensor: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(tensor, dtype=torch.float64)

    def finite(self, code: Sequence[Tensor]) -> Tensor:
        """Return True: what is not finite is kept as it is."""
        return torch.ones((), dtype=torch.bool)
