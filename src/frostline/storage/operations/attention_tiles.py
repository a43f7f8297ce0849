"""Attention, tile by tile: no more than one tile of the S x S matrix exists at a time.

With s = q k^T scale + mask, P = softmax(s), and R = P * stay / (1 - p) after dropout, the output is o = R v. From the
gradient g of the output, with everything of size S x S made again from q and k:

    dv = R^T g,    dP = g v^T * stay / (1 - p),    ds = P * (dP - rowsum(P * dP)),
    dq = ds k scale,    dk = ds^T q scale

The row sum is taken within the tile, so that neither the output nor the softmax's normaliser need be kept, as they
are in FlashAttention (arXiv 2205.14135, appendix B). Rows that attend to nothing give 0 and pass no gradient, as in
stock. Shapes: queries [B, H, Sq, D], keys [B, Hk, Sk, D], values [B, Hk, Sk, Dv]; H / Hk heads share a head of keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from frostline.storage.operations.attention_call import Setting
from frostline.storage.operations.attention_dropout import Masks
from frostline.storage.operations.attention_scores import Scores, Tile, tiles


def forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    setting: Setting,
    masks: Masks | None,
    see: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Return the output, [B, H, Sq, Dv], a transposed view of [B, Sq, H, Dv].

    Args:
        query, key, value: see above.
        mask: boolean (True attends) or to be added; broadcasts to [B, H, Sq, Sk].
        setting: scale, dropout, causal.
        masks: of dropout, if it is on.
        see: is shown each tile's probabilities before dropout; they are good until it returns.
    """
    batch, heads, rows = query.shape[:3]
    output = query.new_empty(batch, rows, heads, value.shape[3]).transpose(1, 2)
    scores = Scores(query, key, mask, setting.scale, setting.causal)
    for tile in tiles(query, key, setting.causal):
        probabilities = scores.probabilities(tile)
        if see is not None:
            see(probabilities)
        if masks is not None:
            probabilities.mul_(scores.stay(tile, masks))
        part = output[tile.item, tile.heads, tile.rows]
        _product(part, probabilities, scores.of_keys(value, tile), 1 / (1 - setting.dropout))
        if (dead := scores.bias(tile)[1]) is not None:
            part.masked_fill_(dead, 0)
    return output


def show(query: Tensor, key: Tensor, mask: Tensor | None, setting: Setting, see: Callable[[Tensor], None]) -> None:
    """Show each tile's probabilities, as `forward` does, and compute nothing else."""
    scores = Scores(query, key, mask, setting.scale, setting.causal)
    for tile in tiles(query, key, setting.causal):
        see(scores.probabilities(tile))


def backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    setting: Setting,
    masks: Masks | None,
    needs: Sequence[bool],
    into: Sequence[Tensor | None] = (None, None, None),
    probabilities: Iterator[Tensor] | None = None,
) -> list[Tensor | None]:
    """Return the gradients of query, key and value, None for those that are not needed.

    Args:
        grad: of the output, [B, H, Sq, Dv].
        query, key, value, mask, setting: as in the forward pass; `value` is read for the first two gradients only.
        masks: of dropout, those of the forward pass again.
        needs: which of the three gradients to compute.
        into: where to write each, or None for new memory. These may be query, key and value themselves, which are lost.
        probabilities: of each tile, if they were kept; else they are made again.
    """
    scores = Scores(query, key, mask, setting.scale, setting.causal)
    of_query = _Rows(query, into[0]) if needs[0] else None
    of_key = _Keys(key, into[1], scores, query.shape[2]) if needs[1] else None
    of_value = _Keys(value, into[2], scores, query.shape[2]) if needs[2] else None
    for tile in tiles(query, key, setting.causal):
        weights = scores.probabilities(tile) if probabilities is None else next(probabilities)
        part = grad[tile.item, tile.heads, tile.rows].to(scores.dtype)
        if masks is not None:
            part = part * (1 / (1 - setting.dropout))
        if (dead := scores.bias(tile)[1]) is not None:
            part = part.masked_fill(dead, 0)
        stay = None if masks is None else scores.stay(tile, masks)
        if of_query is not None or of_key is not None:
            slope = torch.bmm(part, scores.of_keys(value, tile).mT, out=scores.buffer("slope", tile))
            if stay is not None:
                slope.mul_(stay)
            torch.ops.aten._softmax_backward_data.out(slope, weights, -1, slope.dtype, grad_input=slope)
            own, keys = query[tile.item, tile.heads, tile.rows].to(scores.dtype), scores.of_keys(key, tile)
            # Where gradients take their tensors' places: both products read before either writes.
            if of_key is not None:
                of_key.add(tile, slope, own, setting.scale)
            if of_query is not None:
                of_query.put(tile, slope, keys, setting.scale)
        if of_value is not None:
            of_value.add(tile, weights if stay is None else stay.mul_(weights), part, 1.0)
        for sum in (of_key, of_value):
            if sum is not None and tile.rows.stop == query.shape[2]:
                sum.close(tile)
    return [None if sum is None else sum.total() for sum in (of_query, of_key, of_value)]


class _Rows:
    """The gradient of the queries: each tile has rows of its own."""

    def __init__(self, query: Tensor, into: Tensor | None) -> None:
        self._target = torch.empty_like(query) if into is None else into

    def put(self, tile: Tile, slope: Tensor, keys: Tensor, scale: float) -> None:
        """Write `slope @ keys * scale`."""
        _product(self._target[tile.item, tile.heads, tile.rows], slope, keys, scale)

    def total(self) -> Tensor:
        """Return the gradient."""
        return self._target


class _Keys:
    """The gradient of keys or values: summed over the tiles of a head, and over the heads that share one."""

    def __init__(self, tensor: Tensor, into: Tensor | None, scores: Scores, rows: int) -> None:
        self._scores, self._dtype, self._rows = scores, tensor.dtype, rows
        self._own = into is None and scores.shared == 1  # no product reads the target, none else adds to it
        if scores.shared > 1:
            self._target = torch.zeros_like(tensor, dtype=scores.dtype)
        else:
            self._target = torch.empty_like(tensor) if into is None else into
        self._sum: Tensor | None = None

    def add(self, tile: Tile, matrix: Tensor, rows: Tensor, scale: float) -> None:
        """Add `matrix.T @ rows * scale` for a tile's `matrix` [heads, rows, keys] and `rows` [heads, rows, D]."""
        if self._own and matrix.shape[1:] == (self._rows, self._target.shape[2]):
            _product(self._target[tile.item, tile.heads], matrix.mT, rows, scale)
            return
        if self._sum is None:
            self._sum = rows.new_zeros(rows.shape[0], self._target.shape[2], rows.shape[2])
        self._sum[:, : tile.keys].baddbmm_(matrix.mT, rows, alpha=scale)

    def close(self, tile: Tile) -> None:
        """Write the sum over the rows of the tile's heads, which are through."""
        if self._sum is None:  # one tile was all
            return
        target = self._target[tile.item]
        if self._scores.shared > 1:
            target.index_add_(0, self._scores.heads_of_keys(tile), self._sum)
        else:
            target[tile.heads] = self._sum
        self._sum = None

    def total(self) -> Tensor:
        """Return the gradient."""
        return self._target.to(self._dtype)


def _product(target: Tensor, first: Tensor, second: Tensor, scale: float) -> None:
    """Write `first @ second * scale`, without a copy where the dtypes allow."""
    if target.dtype == first.dtype:
        torch.baddbmm(target, first, second, beta=0, alpha=scale, out=target)
    else:
        target.copy_(torch.bmm(first, second).mul_(scale))
