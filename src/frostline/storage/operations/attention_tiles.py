"""Attention, tile by tile: no more than one tile of the S x S matrix exists at a time, in each thread.

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
from frostline.storage.operations.attention_parts import Part, parts, thread_count
from frostline.storage.operations.attention_scores import Scores, tiles
from frostline.storage.operations.attention_sums import KeySum, RowSum, product
from frostline.storage.operations.attention_workers import each


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
        see: is shown each tile's probabilities before dropout, in order; they are good until it returns.
    """
    batch, heads, rows = query.shape[:3]
    output = query.new_empty(batch, rows, heads, value.shape[3]).transpose(1, 2)
    spread = 1 / (1 - setting.dropout)

    def start() -> Callable[[Part], None]:
        scores = Scores(query, key, mask, setting)

        def work(part: Part) -> None:
            for tile, stay, _ in part:
                probabilities = scores.probabilities(tile)
                if see is not None:
                    see(probabilities)
                if stay is not None:
                    probabilities.mul_(scores.floats(tile, stay))
                target = output[tile.items, tile.heads, tile.rows]
                product(target, probabilities, scores.of_keys(value, tile), spread)
                if (dead := scores.bias(tile)[1]) is not None:
                    target.masked_fill_(dead, 0)

        return work

    threads = 1 if see is not None else thread_count(query, key, setting, in_order=masks is not None)
    each(parts(query, key, setting, threads, masks), start, threads)
    return output


def show(query: Tensor, key: Tensor, mask: Tensor | None, setting: Setting, see: Callable[[Tensor], None]) -> None:
    """Show each tile's probabilities, as `forward` does, and compute nothing else."""
    scores = Scores(query, key, mask, setting)
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
    of_query = RowSum(query, into[0]) if needs[0] else None
    of_key = KeySum(key, into[1], query) if needs[1] else None
    of_value = KeySum(value, into[2], query) if needs[2] else None
    spread = 1 / (1 - setting.dropout)

    def start() -> Callable[[Part], None]:
        scores = Scores(query, key, mask, setting)

        def work(part: Part) -> None:
            for tile, drawn, kept in part:
                weights = scores.probabilities(tile) if kept is None else kept
                stay = None if drawn is None else scores.floats(tile, drawn)
                change = scores.of_queries(grad, tile)
                if stay is not None:
                    change = change * spread
                if (dead := scores.bias(tile)[1]) is not None:
                    change = scores.split(change, tile).masked_fill(dead, 0).flatten(0, 1)
                if of_query is not None or of_key is not None:
                    slope = torch.bmm(change, scores.of_keys(value, tile).mT, out=scores.buffer("slope", tile))
                    if stay is not None:
                        slope.mul_(stay)
                    torch.ops.aten._softmax_backward_data.out(slope, weights, -1, slope.dtype, grad_input=slope)
                    # Gradients may take their tensors' places, so keys and values are written when their heads are
                    # through, and the rows of queries when nothing reads them any more.
                    if of_key is not None:
                        of_key.add(tile, slope, scores.of_queries(query, tile), setting.scale)
                    if of_query is not None:
                        of_query.put(tile, slope, scores.of_keys(key, tile), setting.scale)
                if of_value is not None:
                    of_value.add(tile, weights if stay is None else stay.mul_(weights), change, 1.0)
                for sum in (of_key, of_value):
                    if sum is not None and tile.rows.stop == query.shape[2]:
                        sum.close(tile)

        return work

    threads = thread_count(query, key, setting, in_order=masks is not None or probabilities is not None)
    each(parts(query, key, setting, threads, masks, probabilities), start, threads)
    return [None if sum is None else sum.total() for sum in (of_query, of_key, of_value)]
