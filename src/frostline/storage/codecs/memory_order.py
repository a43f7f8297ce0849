"""A tensor's values as one flat row in the order in which they lie in memory, and back.

Attention keeps its operands as transposed views; taken in memory order they are coded without a copy, and what is
decoded has the strides that the next operation expects.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from frostline.anatomy.target import device_type
from frostline.errors import StorageError
from frostline.storage.codecs.base import Layout

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
ROUNDING = {torch.float32: (1.5 * 2**23, torch.int32), torch.float64: (1.5 * 2**52, torch.int64)}
"""Added to a number of small magnitude it rounds it, ties to even, and leaves the integer in the lowest bits."""
CHUNK, BLOCK = 2**20, 2**18
"""On a CPU: the values of which group statistics are taken together, so that there are few small operations, and those
that the larger operations take at once, 1 MiB of float32, so that what lies between them stays in cache."""
AT_ONCE = 2**22
"""On an accelerator: the values that operations take at once, 16 MiB of float32: more work than to start them, and
little beside an activation."""


def require_floats(tensor: Tensor, codec: str) -> None:
    """Refuse what is not a plain dense tensor of float32, bfloat16, float16 or float64.

    Raises:
        StorageError: names the dtype or layout, and the way out.
    """
    if tensor.is_quantized or tensor.dtype not in DTYPES:
        what = f"dtype {tensor.dtype}"
    elif tensor.is_nested or tensor.layout is not torch.strided:
        what = "a nested tensor" if tensor.is_nested else f"layout {tensor.layout}"
    else:
        return
    raise StorageError(
        f"storage {codec!r} keeps dense tensors of float32, bfloat16, float16 or float64, not {what}. "
        "Keep this tensor as `exact`."
    )


def is_dense(shape: Sequence[int], stride: Sequence[int]) -> bool:
    """Return whether the values fill one stretch of memory, without gaps and without lying twice in one place."""
    if 0 in shape:
        return True
    expected = 1
    for step, length in sorted((step, length) for step, length in zip(stride, shape, strict=True) if length != 1):
        if step != expected:
            return False
        expected *= length
    return True


def flat(tensor: Tensor) -> Tensor:
    """Return the values as one row, in memory order: a view of a dense tensor, a contiguous copy of another."""
    if not is_dense(tensor.shape, tensor.stride()):
        tensor = tensor.contiguous()
    return tensor.detach().as_strided((tensor.numel(),), (1,))


def empty_flat(layout: Layout, device: torch.device) -> Tensor:
    """Return an empty row for the values of a tensor of that layout; fill it, then `shaped` is the tensor."""
    return torch.empty(math.prod(layout.shape), dtype=layout.dtype, device=device)


def shaped(row: Tensor, layout: Layout) -> Tensor:
    """Return what `flat` gave, in the shape and the strides of its tensor; contiguous if that was not dense."""
    if is_dense(layout.shape, layout.stride):
        return row.as_strided(layout.shape, layout.stride)
    return row.view(layout.shape)


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return what a codec calculates in: float64 for float64, else float32."""
    return torch.float64 if dtype is torch.float64 else torch.float32


def chunk_length(row: Tensor) -> int:
    """Return how many values of a row are looked at together."""
    return CHUNK if device_type(row) == "cpu" else AT_ONCE


def block_length(row: Tensor) -> int:
    """Return how many values of a row an operation takes at once, at most."""
    if device_type(row) != "cpu":
        return min(AT_ONCE, row.numel())
    return min(BLOCK // 2 if row.dtype is torch.float64 else BLOCK, row.numel())


def blocks(row: Tensor) -> Iterator[slice]:
    """Yield slices that cover a row, each of `block_length` values but for the last; none of a row without values."""
    if isinstance(row, FakeTensor):
        return
    length, count = block_length(row), row.numel()
    for start in range(0, count, max(length, 1)):
        yield slice(start, min(start + length, count))
