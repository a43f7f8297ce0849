"""What a thread takes at a time: tiles, and what belongs to them and had to be fetched in order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from frostline.storage.operations.attention_call import Setting
from frostline.storage.operations.attention_dropout import Masks
from frostline.storage.operations.attention_scores import Tile, compute_dtype, entries, tiles

_SMALL = 1 << 18  # probabilities for which waking threads takes longer than the work
_BUFFERS = 3  # of a tile's size that a thread has


class Ready(NamedTuple):
    """A tile, its mask of dropout if there is any, [entries], and its probabilities if they were kept."""

    tile: Tile
    stay: Tensor | None
    kept: Tensor | None


Part = list[Ready]


def parts(
    query: Tensor,
    key: Tensor,
    setting: Setting,
    threads: int,
    masks: Masks | None = None,
    probabilities: Iterator[Tensor] | None = None,
) -> Iterator[Part]:
    """Yield the tiles in order: one by one, or for several threads all together that add to the same heads of keys."""
    every, counts = tiles(query, key, setting.causal), iter(entries(query, key, setting.causal))
    shared = query.shape[1] != key.shape[1]
    groups = (
        ([tile] for tile in every)
        if threads == 1
        else (list(group) for _, group in groupby(every, lambda t: (t.items.start, None if shared else t.heads.start)))
    )
    for group in groups:
        yield [
            Ready(
                tile,
                None if masks is None else masks.take(next(counts)),
                None if probabilities is None else next(probabilities),
            )
            for tile in group
        ]


def thread_count(query: Tensor, key: Tensor, setting: Setting, *, in_order: bool) -> int:
    """Return how many threads may share the work.

    Args:
        query, key, setting: of the attention.
        in_order: something is fetched for each tile. Where several tiles make a part, too much of it would wait.
    """
    threads = torch.get_num_threads()
    counts = entries(query, key, setting.causal)
    # A meter that follows operations does so in its own thread.
    if threads == 1 or sum(counts) < _SMALL or torch._C._len_torch_dispatch_stack() > 0:
        return 1
    sizes = [len(part) for part in parts(query, key, setting, threads)]
    if in_order and max(sizes) > 1:
        return 1
    buffers = _BUFFERS * counts[0] * compute_dtype(query.dtype).itemsize
    room = 4 * query.numel() * query.element_size()  # no new peak: as much as the FFN's hidden layer
    return max(1, min(threads, len(sizes), room // buffers))
