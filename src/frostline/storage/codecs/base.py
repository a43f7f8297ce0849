"""What a codec is: the bytes that a tensor becomes while it waits for backward, and the values that come back.

    encode(tensor)          the code, a tuple of tensors, none of which shares memory with `tensor`
    decode(code, layout)    values of the shape, the dtype and the strides that `layout` remembers
    size(shape, dtype)      bytes of the code, exactly
    error_bound(tensor)     how far each decoded value can lie from its original, at most
    finite(code)            whether the original was finite, told from the code at little cost

A codec has no state, is equal to another of the same settings, and never waits for a device: no function but `finite`
looks at a value, so that a codec runs on fake tensors as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Code = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a tensor looked like, without its values."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> Layout:
        """Return the layout of a tensor."""
        return cls(tensor.shape, tensor.stride(), tensor.dtype)


class Codec(ABC):
    """How a tensor waits. Subclasses are frozen dataclasses of their settings.

    Attributes:
        name: as users write it, for instance `int8`.
        bits: for each value, without what is kept for each group; a consumer may take a code of as many bits as its
            own choice or more in place of its own.
    """

    name: str
    bits: float

    @abstractmethod
    def encode(self, tensor: Tensor) -> Code:
        """Return the code of a dense floating-point tensor of any shape; it holds no memory of `tensor`.

        Raises:
            StorageError: the dtype or layout (sparse, quantised, complex, integer) is not understood; names it.
        """

    @abstractmethod
    def decode(self, code: Sequence[Tensor], layout: Layout) -> Tensor:
        """Return the values, in the layout of the tensor that was encoded."""

    @abstractmethod
    def size(self, shape: Sequence[int], dtype: torch.dtype) -> int:
        """Return the bytes of the code of a tensor of that shape and dtype."""

    @abstractmethod
    def error_bound(self, tensor: Tensor) -> Tensor:
        """Return, in the shape of `tensor` and in float64, the largest error of each value after a round trip."""

    @abstractmethod
    def finite(self, code: Sequence[Tensor]) -> Tensor:
        """Return a boolean scalar: whether every value of the tensor behind `code` was finite."""
