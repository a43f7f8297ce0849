"""The S x S matrix of attention in tiles: which there are, and the probabilities in one.

A tile is some heads of one batch item, or some rows of one head: a contiguous part of [B, H, Sq, Sk], so that dropout
draws its numbers in stock's order, and small enough to stay in cache while it is worked on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from frostline.storage.operations.attention_call import Setting

TILE_BYTES = 1 << 21  # of scores; below this, calls cost more than cache misses do


class Tile(NamedTuple):
    """Some heads of a batch item, or some rows of one of its heads.

    Attributes:
        item, heads, rows: where it lies.
        keys: how many keys take part, the first ones; fewer than all where attention is causal.
    """

    item: int
    heads: slice
    rows: slice
    keys: int


def tiles(query: Tensor, key: Tensor, causal: bool) -> Iterator[Tile]:
    """Yield the tiles of queries [B, H, Sq, D] and keys [B, Hk, Sk, D] in the order of memory; the first is largest."""
    batch, heads, rows, keys = *query.shape[:3], key.shape[2]
    fitting = max(1, TILE_BYTES // max(1, keys * compute_dtype(query.dtype).itemsize))  # rows that a tile can have
    row_step = _even(rows, fitting)
    head_step = 1 if row_step < rows else _even(heads, max(1, fitting // max(1, rows)))
    for item in range(batch):
        for head in range(0, heads, head_step):
            for row in range(0, rows, row_step):
                stop = min(row + row_step, rows)
                taken = min(stop, keys) if causal else keys
                yield Tile(item, slice(head, min(head + head_step, heads)), slice(row, stop), taken)


def entries(query: Tensor, key: Tensor, causal: bool) -> list[int]:
    """Return the probabilities in each tile, those of keys that take no part included."""
    return [
        (tile.heads.stop - tile.heads.start) * (tile.rows.stop - tile.rows.start) * key.shape[2]
        for tile in tiles(query, key, causal)
    ]


def _even(count: int, most: int) -> int:
    """Return the step that parts `count` into as few parts as `most` allows, of nearly one size."""
    return -(-count // max(1, -(-count // most)))


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
        """Return the tile's probabilities, [heads, rows, keys], in the buffer "scores"."""
        query = self._query[tile.item, tile.heads, tile.rows].to(self.dtype)
        key = self.of_keys(self._key, tile)
        scores = self.buffer("scores", tile)
        torch.baddbmm(scores, query, key.mT, beta=0, alpha=self._scale, out=scores)
        bias = self.bias(tile)[0]
        if bias is not None:
            scores.add_(bias)
        return torch.softmax(scores, -1, out=scores)

    def bias(self, tile: Tile) -> tuple[Tensor | None, Tensor | None]:
        """Return what is added to the tile's scores, and which rows attend to nothing; None where there is no such.

        Such rows are given scores without a bias, so that all that is computed from them is finite.
        """
        if self._mask is None:
            where: object = (tile.rows.start, tile.rows.stop) if self._causal else None
        else:
            where = tuple(
                slice(0, 1) if size == 1 else part
                for size, part in zip(
                    self._mask.shape,
                    (slice(tile.item, tile.item + 1), tile.heads, tile.rows, slice(tile.keys)),
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
            rows = tile.rows.stop - tile.rows.start
            bias = torch.full((rows, tile.keys), -torch.inf, dtype=self.dtype, device=self._query.device)
            return bias.triu_(tile.rows.start + 1), None
        part = self._mask[where][0]  # type: ignore[index]
        if part.dtype == torch.bool:
            bias = torch.zeros(part.shape, dtype=self.dtype, device=part.device).masked_fill_(~part, -torch.inf)
        else:
            bias = part.to(self.dtype)
        dead = (bias == -torch.inf).all(-1, keepdim=True)
        return bias.masked_fill(dead, 0), dead

    def floats(self, tile: Tile, stay: Tensor) -> Tensor:
        """Return a mask of dropout, [entries], in the tile's shape and dtype, in the buffer "stay"."""
        heads, rows = tile.heads.stop - tile.heads.start, tile.rows.stop - tile.rows.start
        return self.buffer("stay", tile).copy_(stay.view(heads, rows, -1)[..., : tile.keys])

    def of_keys(self, tensor: Tensor, tile: Tile) -> Tensor:
        """Return the part of keys or values [B, Hk, Sk, D] that the tile works with, [heads, keys, D]."""
        part = tensor[tile.item, :, : tile.keys]
        if self._shared == 1:
            return part[tile.heads].to(self.dtype)
        return part.index_select(0, heads_of_keys(tile, self._shared, part.device)).to(self.dtype)

    def buffer(self, name: str, tile: Tile) -> Tensor:
        """Return a tensor of the tile's shape, [heads, rows, keys]; one of that name is written over."""
        shape = tile.heads.stop - tile.heads.start, tile.rows.stop - tile.rows.start, tile.keys
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
