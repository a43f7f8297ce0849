"""The S x S matrix of attention in tiles: which there are, and the probabilities in one.

A tile is some batch items, or some heads of one, or some rows of one head: a contiguous part of [B, H, Sq, Sk], so that
dropout draws its numbers in stock's order, and small enough to stay in cache while it is worked on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from frostline.storage.operations.attention_call import Setting

TILE_BYTES = 1 << 21  # of scores; below this, calls cost more than cache misses do
_SMALLER = 4  # times, are tiles of several batch items: threads need some tiles to share


class Tile(NamedTuple):
    """Some batch items, or some heads of one, or some rows of one of its heads.

    Attributes:
        items, heads, rows: where it lies.
        keys: how many keys take part, the first ones; fewer than all where attention is causal.
    """

    items: slice
    heads: slice
    rows: slice
    keys: int


def tiles(query: Tensor, key: Tensor, causal: bool) -> Iterator[Tile]:
    """Yield the tiles of queries [B, H, Sq, D] and keys [B, Hk, Sk, D] in the order of memory; the first is largest."""
    batch, heads, rows, keys = *query.shape[:3], key.shape[2]
    fitting = max(1, TILE_BYTES // max(1, keys * compute_dtype(query.dtype).itemsize))  # rows that a tile can have
    row_step = _even(rows, fitting)
    head_step = 1 if row_step < rows else _even(heads, max(1, fitting // max(1, rows)))
    # Several items' take no more than a quarter of the queries' bytes: what a step needs is foretold without tiles.
    fitting = min(fitting // _SMALLER, query.numel() // max(1, _SMALLER * keys))
    item_step = 1 if head_step < heads else _even(batch, max(1, fitting // max(1, heads * rows)))
    for items in _steps(batch, item_step):
        for some in _steps(heads, head_step):
            for part in _steps(rows, row_step):
                yield Tile(items, some, part, min(part.stop, keys) if causal else keys)


def entries(query: Tensor, key: Tensor, causal: bool) -> list[int]:
    """Return the probabilities in each tile, those of keys that take no part included."""
    return [
        _size(tile.items) * _size(tile.heads) * _size(tile.rows) * key.shape[2] for tile in tiles(query, key, causal)
    ]


def _even(count: int, most: int) -> int:
    """Return the step that parts `count` into as few parts as `most` allows, of nearly one size."""
    return -(-count // max(1, -(-count // most)))


def _steps(count: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _size(part: slice) -> int:
    return int(part.stop - part.start)


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of scores and probabilities: float32 for the half ones, as in stock."""
    return dtype if dtype == torch.float64 else torch.float32


def heads_of_keys(tile: Tile, shared: int, device: torch.device) -> Tensor:
    """Return, for each of the tile's heads, the head of keys that it shares with `shared - 1` others."""
    return torch.arange(tile.heads.start, tile.heads.stop, device=device) // shared


class Scores:
    """Computes the probabilities of tile after tile, in buffers that it uses again.

    Args:
        query, key: [B, H, Sq, D] and [B, Hk, Sk, D].
        mask: boolean (True attends) or to be added, broadcast to [B, H, Sq, Sk], or None.
        setting: scale and causal.
    """

    def __init__(self, query: Tensor, key: Tensor, mask: Tensor | None, setting: Setting) -> None:
        self.dtype = compute_dtype(query.dtype)
        self._shared = query.shape[1] // key.shape[1]  # heads of queries to a head of keys
        self._query, self._key, self._scale, self._causal = query, key, setting.scale, setting.causal
        self._mask = None if mask is None else _compact(mask)
        self._bias: tuple[object, tuple[Tensor | None, Tensor | None]] | None = None
        self._buffers: dict[str, Tensor] = {}

    def probabilities(self, tile: Tile) -> Tensor:
        """Return the tile's probabilities, [items * heads, rows, keys], in the buffer "scores"."""
        query, key = self.of_queries(self._query, tile), self.of_keys(self._key, tile)
        scores = self.buffer("scores", tile)
        torch.baddbmm(scores, query, key.mT, beta=0, alpha=self._scale, out=scores)
        bias = self.bias(tile)[0]
        if bias is not None:
            self.split(scores, tile).add_(bias)
        return torch.softmax(scores, -1, out=scores)

    def bias(self, tile: Tile) -> tuple[Tensor | None, Tensor | None]:
        """Return what is added to the tile's scores, and which rows attend to nothing; None where there is no such.

        Both broadcast to [items, heads, rows, keys]. Such rows are given scores without a bias, so that all that is
        computed from them is finite.
        """
        if self._mask is None:
            where: object = (tile.rows.start, tile.rows.stop) if self._causal else None
        else:
            where = tuple(
                slice(0, 1) if size == 1 else part
                for size, part in zip(
                    self._mask.shape,
                    (tile.items, tile.heads, tile.rows, slice(tile.keys)),
                    strict=True,
                )
            )
        if self._bias is None or self._bias[0] != where:  # tiles that follow each other often share it
            self._bias = (where, self._make_bias(where, tile))
        return self._bias[1]

    def _make_bias(self, where: object, tile: Tile) -> tuple[Tensor | None, Tensor | None]:
        if self._mask is None:
            if not self._causal:
                return None, None
            shape = _size(tile.rows), tile.keys
            bias = torch.full(shape, -torch.inf, dtype=self.dtype, device=self._query.device)
            return bias.triu_(tile.rows.start + 1), None
        part = self._mask[where]  # type: ignore[index]  # with a mask it is a tuple of slices
        if part.dtype == torch.bool:
            bias = torch.zeros(part.shape, dtype=self.dtype, device=part.device).masked_fill_(~part, -torch.inf)
        else:
            bias = part.to(self.dtype)
        dead = (bias == -torch.inf).all(-1, keepdim=True)
        return bias.masked_fill(dead, 0), dead

    def floats(self, tile: Tile, stay: Tensor) -> Tensor:
        """Return a mask of dropout, [entries], in the tile's shape and dtype, in the buffer "stay"."""
        floats = self.buffer("stay", tile)
        return floats.copy_(stay.view(*floats.shape[:2], -1)[..., : tile.keys])

    def of_queries(self, tensor: Tensor, tile: Tile) -> Tensor:
        """Return the part of queries or gradients [B, H, Sq, D] that the tile works with, [items * heads, rows, D]."""
        return self._batched(tensor[tile.items, tile.heads, tile.rows])

    def of_keys(self, tensor: Tensor, tile: Tile) -> Tensor:
        """Return the part of keys or values [B, Hk, Sk, D] that the tile works with, [items * heads, keys, D]."""
        part = tensor[tile.items, :, : tile.keys]
        if self._shared == 1:
            return self._batched(part[:, tile.heads])
        return self._batched(part.index_select(1, heads_of_keys(tile, self._shared, part.device)))

    def split(self, batched: Tensor, tile: Tile) -> Tensor:
        """Return [items * heads, ...] as [items, heads, ...]."""
        return batched.view(_size(tile.items), _size(tile.heads), *batched.shape[1:])

    def _batched(self, part: Tensor) -> Tensor:
        """Return [items, heads, ...] as [items * heads, ...] in the dtype of scores; one item is not copied for it."""
        if part.shape[0] == 1:
            return part[0].to(self.dtype)
        return part.to(self.dtype, memory_format=torch.contiguous_format).flatten(0, 1)

    def buffer(self, name: str, tile: Tile) -> Tensor:
        """Return a tensor of the tile's shape, [items * heads, rows, keys]; one of that name is written over."""
        shape = _size(tile.items) * _size(tile.heads), _size(tile.rows), tile.keys
        if name not in self._buffers:
            entries = shape[0] * shape[1] * self._key.shape[2]
            self._buffers[name] = torch.empty(entries, dtype=self.dtype, device=self._query.device)
        return self._buffers[name][: shape[0] * shape[1] * shape[2]].view(shape)


def _compact(mask: Tensor) -> Tensor:
    """Return a mask in four dimensions, of size 1 where it repeats itself in memory."""
    mask = mask[(None,) * (4 - mask.dim())]
    for dim, stride in enumerate(mask.stride()):
        if stride == 0:
            mask = mask.narrow(dim, 0, 1)
    return mask
