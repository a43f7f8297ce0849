"""Codes of 1 to 5 bits packed so that a table gives the values of several at once.

Four neighbouring codes (two of 4 or 5 bits) are one index into a table whose entries hold four (two) float32 values; as
the table's dtype is as wide as an entry, `index_select` moves whole entries at once, which is far quicker than rows of
four floats, and than one value at a time.

Of an index's bits the low eight are one byte. What is left lies after all those bytes, packed for itself:

    1 bit    a half byte for four codes         4 bits   a byte for two codes
    2 bits   a byte for four codes              5 bits   a byte and two bits for two codes
    3 bits   a byte and a half byte for four codes
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from frostline.anatomy.target import device_type
from frostline.storage.codecs.memory_order import AT_ONCE

_PIECE = 1 << 19  # values; smaller pieces spend their time on calls, larger ones on memory


def piece_length(values: Tensor) -> int:
    """Return how many values an operation takes at once, a multiple of 8, so that its scratch stays in cache."""
    whole = max(8, -(-values.numel() // 8) * 8)
    return min(_PIECE if device_type(values) == "cpu" else AT_ONCE, whole)


def pack(codes: Tensor, bits: int, out: Tensor, scratch: Tensor) -> None:
    """Write codes into bytes.

    Args:
        codes: int8, each below 2**bits, their number a multiple of 8; overwritten.
        bits: 1 to 5.
        out: uint8, bits / 8 bytes a code.
        scratch: as `codes`.
    """
    if bits >= 4:
        twos, other = codes.view(torch.int16), scratch.view(torch.int16)
        torch.bitwise_right_shift(twos, 8 - bits, out=other)
        twos.bitwise_or_(other.bitwise_and_(0xE0) if bits == 5 else other)
        out[: twos.numel()].copy_(twos)  # a copy to a narrower integer takes the low bits
        if bits == 5:
            pairs = scratch[: twos.numel()]
            pairs.copy_(twos.bitwise_right_shift_(11))  # the second code's upper two bits
            fours = pairs.view(torch.int32)
            spare = codes.view(torch.int32)[: fours.numel()]
            out[twos.numel() :].copy_(_join(_join(fours, 6, spare), 12, spare))
        return
    fours, spare = codes.view(torch.int32), scratch.view(torch.int32)  # a code in each byte
    _join(fours, 8 - bits, spare).bitwise_and_(0x00010001 * (4**bits - 1))
    _join(fours, 16 - 2 * bits, spare)
    whole = fours.numel() if bits > 1 else 0
    out[:whole].copy_(fours[:whole])
    if bits != 2:
        halves = scratch.view(torch.uint8)[: fours.numel()]
        halves.copy_((fours if bits == 1 else fours.bitwise_right_shift_(8)).bitwise_and_(15))
        pairs = halves.view(torch.int16)
        out[whole:].copy_(_join(pairs, 4, codes.view(torch.int16)[: pairs.numel()]))


def unpack(packed: Tensor, bits: int, out: Tensor) -> Tensor:
    """Write the indices into `table(levels, bits)` of codes that `pack` made bytes of into the start of `out`, int32.

    Returns:
        the part of `out` that was written: one index for four codes, or for two of 4 or 5 bits.
    """
    if bits in (2, 4):
        return out[: packed.numel()].copy_(packed)
    if bits == 5:
        whole = packed.numel() * 4 // 5
        fours = packed[whole:].to(torch.int32)
        for shift in (12, 6):
            fours.bitwise_or_(fours << shift)
        return out[:whole].copy_(packed[:whole]).add_(fours.bitwise_and_(0x03030303).view(torch.uint8), alpha=256)
    whole = packed.numel() * 2 // 3 if bits == 3 else 0
    pairs = packed[whole:].to(torch.int16)
    halves = pairs.bitwise_or_(pairs << 4).bitwise_and_(0x0F0F).view(torch.uint8)
    if bits == 1:
        return out[: halves.numel()].copy_(halves)
    return out[:whole].copy_(packed[:whole]).add_(halves, alpha=256)


def table(levels: Sequence[float], bits: int, device: torch.device) -> Tensor:
    """Return the table, shape (entries,), complex128 or float64; entries looked up are to be viewed as float32."""
    together = 2 if bits >= 4 else 4
    entries = torch.arange(2 ** (bits * together), device=device)[:, None]
    codes = (entries >> (bits * torch.arange(together, device=device))) & (2**bits - 1)
    values = torch.tensor(levels, dtype=torch.float32, device=device)[codes]
    return values.view(torch.float64 if bits >= 4 else torch.complex128).flatten()


def _join(codes: Tensor, shift: int, spare: Tensor) -> Tensor:
    return codes.bitwise_or_(torch.bitwise_right_shift(codes, shift, out=spare))
