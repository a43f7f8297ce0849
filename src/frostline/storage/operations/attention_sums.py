"""Gradients of attention's operands, put together from tiles; they may take the operands' own memory."""

from __future__ import annotations

import torch
from torch import Tensor

from frostline.storage.operations.attention_scores import Tile, compute_dtype, heads_of_keys


class RowSum:
    """The gradient of the queries, [B, H, Sq, D]: each tile has rows of its own.

    Args:
        query: what it is the gradient of.
        into: where to write it, or None for new memory.
    """

    def __init__(self, query: Tensor, into: Tensor | None) -> None:
        self._target = torch.empty_like(query) if into is None else into

    def put(self, tile: Tile, slope: Tensor, keys: Tensor, scale: float) -> None:
        """Write `slope @ keys * scale`."""
        product(self._target[tile.items, tile.heads, tile.rows], slope, keys, scale)

    def total(self) -> Tensor:
        """Return the gradient."""
        return self._target


class KeySum:
    """The gradient of keys or values, [B, Hk, Sk, D]: summed over a head's tiles, and over the heads that share one.

    Args:
        tensor: what it is the gradient of.
        into: where to write it, or None for new memory. Nothing is written there before `close`.
        query: for its shape.
    """

    def __init__(self, tensor: Tensor, into: Tensor | None, query: Tensor) -> None:
        self._dtype, self._whole = tensor.dtype, (query.shape[2], tensor.shape[2])
        self._shared = query.shape[1] // tensor.shape[1]
        self._direct = into is None and self._shared == 1
        if self._shared > 1:
            self._target = torch.zeros_like(tensor, dtype=compute_dtype(tensor.dtype))
        else:
            self._target = torch.empty_like(tensor) if into is None else into
        self._sums: dict[tuple[int, int], Tensor] = {}  # by the first item and head; threads have different ones

    def add(self, tile: Tile, matrix: Tensor, rows: Tensor, scale: float) -> None:
        """Add `matrix.T @ rows * scale`: `matrix` is [items * heads, rows, keys], `rows` [items * heads, rows, D]."""
        if self._direct and matrix.shape[1:] == self._whole:
            product(self._target[tile.items, tile.heads], matrix.mT, rows, scale)
            return
        place = (tile.items.start, tile.heads.start)
        if place not in self._sums:
            self._sums[place] = rows.new_zeros(rows.shape[0], self._whole[1], rows.shape[2])
        self._sums[place][:, : tile.keys].baddbmm_(matrix.mT, rows, alpha=scale)

    def close(self, tile: Tile) -> None:
        """Write what the tile's heads have summed up to: it was the last of them."""
        sum = self._sums.pop((tile.items.start, tile.heads.start), None)
        if sum is None:  # the only one
            return
        target = self._target[tile.items]
        if self._shared > 1:
            heads = heads_of_keys(tile, self._shared, sum.device)
            target.index_add_(1, heads, sum.view(len(target), len(heads), *sum.shape[1:]))
        else:
            target = target[:, tile.heads]
            target.copy_(sum.view(target.shape))

    def total(self) -> Tensor:
        """Return the gradient."""
        return self._target.to(self._dtype)


def product(target: Tensor, first: Tensor, second: Tensor, scale: float) -> None:
    """Write `first @ second * scale` [items * heads, ...] to `target` [items, heads, ...]; copy only where one must."""
    if target.dtype == first.dtype and len(target) == 1:
        torch.baddbmm(target[0], first, second, beta=0, alpha=scale, out=target[0])
    else:
        target.copy_(torch.bmm(first, second).mul_(scale).view(target.shape))
