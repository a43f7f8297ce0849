"""Masks of one bit a value: what ReLU and dropout need of their input, and no more."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from frostline.errors import StorageError
from frostline.storage.codecs import packing


def size(shape: Sequence[int]) -> int:
    """Return the bytes of the packed mask of a tensor of that shape: an eighth of its values, rounded up."""
    return packing.packed_size(math.prod(shape), 1)


def pack(mask: Tensor) -> Tensor:
    """Return a boolean tensor of any shape as bits, shape (size(mask.shape),), uint8.

    Raises:
        StorageError: the tensor is not boolean, or not dense.
    """
    if mask.dtype is not torch.bool or mask.layout is not torch.strided:
        raise StorageError(
            f"a mask of one bit a value is made of a dense boolean tensor, not of {mask.dtype}, {mask.layout}. "
            "Compare first, for instance `x > 0`."
        )
    return packing.pack(mask.contiguous().view(torch.uint8).view(-1), 1)


def unpack(packed: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the boolean tensor, contiguous and in that shape, that `pack` made `packed` of."""
    return packing.unpack(packed, 1, math.prod(shape)).view(torch.bool).view(tuple(shape))
