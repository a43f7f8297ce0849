"""The tiles of attention: all of [B, H, Sq, Sk], once, in the order of memory, none larger than it may be."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from frostline.storage.operations.attention_scores import TILE_BYTES, entries, tiles

FEW = st.integers(1, 9)


@given(batch=FEW, heads=FEW, rows=st.integers(1, 600), keys=st.integers(1, 600), causal=st.booleans())
def test_tiles_part_the_matrix_in_the_order_of_memory(
    batch: int, heads: int, rows: int, keys: int, causal: bool
) -> None:
    query, key = torch.empty(batch, heads, rows, 64), torch.empty(batch, heads, keys, 64)
    numbers = torch.arange(batch * heads * rows).view(batch, heads, rows)
    found = list(tiles(query, key, causal))
    parts = [numbers[tile.items, tile.heads, tile.rows] for tile in found]
    assert torch.cat([part.flatten() for part in parts]).equal(numbers.flatten())
    sizes = [part.numel() * keys for part in parts]
    assert sizes == entries(query, key, causal)
    assert sizes[0] == max(sizes)
    assert sizes[0] * 4 <= TILE_BYTES
    for tile in found:
        assert tile.keys == (min(tile.rows.stop, keys) if causal else keys)


def test_short_texts_share_a_tile() -> None:
    query = torch.empty(32, 12, 22, 32)
    assert len(entries(query, query, causal=False)) == 3
    assert 4 * max(entries(query, query, causal=False)) <= query.numel()
