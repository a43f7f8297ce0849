"""Small codes and masks in bytes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.errors import StorageError
from frostline.storage.codecs import mask, packing


@settings(max_examples=200, deadline=None)
@given(bits=st.sampled_from([1, 2, 3, 4]), count=st.integers(0, 600), seed=st.integers(0, 99))
def test_codes_come_back(bits: int, count: int, seed: int) -> None:
    codes = torch.randint(2**bits, (count,), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    packed = packing.pack(codes, bits)
    assert packed.shape == (packing.packed_size(count, bits),)
    assert torch.equal(packing.unpack(packed, bits, count), codes)
    out, back = torch.full_like(packed, 255), torch.full_like(codes, 255)
    assert torch.equal(packing.pack(codes, bits, out=out), packed)
    assert packing.unpack(packed, bits, count, out=back) is back
    assert torch.equal(back, codes)


@pytest.mark.parametrize(("bits", "size"), [(1, 125), (2, 250), (3, 375), (4, 500)])
def test_a_thousand_codes_take_no_byte_too_many(bits: int, size: int) -> None:
    assert packing.packed_size(1000, bits) == size


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_several_blocks(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = torch.randint(2**bits, (10_001,), dtype=torch.uint8)
    whole = packing.pack(codes, bits)
    monkeypatch.setattr(packing, "_BLOCK", 100)
    assert torch.equal(packing.pack(codes, bits), whole)
    assert torch.equal(packing.unpack(whole, bits, 10_001), codes)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 5, 9), (64, 65)])
def test_masks(shape: tuple[int, ...]) -> None:
    bits = torch.rand(shape) > 0.3
    packed = mask.pack(bits)
    assert packed.nbytes == mask.size(shape) == -(-bits.numel() // 8)
    assert torch.equal(mask.unpack(packed, shape), bits)
    if len(shape) > 1:
        assert torch.equal(
            mask.unpack(mask.pack(bits.transpose(0, 1)), bits.transpose(0, 1).shape), bits.transpose(0, 1)
        )


def test_a_mask_is_boolean() -> None:
    with pytest.raises(StorageError, match="float32"):
        mask.pack(torch.ones(3))
