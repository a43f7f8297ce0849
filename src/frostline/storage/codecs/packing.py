"""Small unsigned codes of 1, 2, 3 or 4 bits, packed into bytes.

Codes lie in planes, not side by side: with `m = ceil(n / codes a byte)`, byte i holds codes i, i + m, i + 2m, ... from
its lowest bits up. Each plane is one stretch of memory, so that packing is a few vectorised operations instead of
strided ones. Three bits are the lower two of every code, followed by the upper one of every code.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from frostline.anatomy.target import device_type
from frostline.storage.codecs.memory_order import AT_ONCE

_LAYERS = {1: ((0, 1),), 2: ((0, 2),), 3: ((0, 2), (2, 1)), 4: ((0, 4),)}  # (first bit, bits): what is packed alone
_BLOCK = 2**18  # bytes worked on at once, so that what lies between stays in cache


def packed_size(count: int, bits: int) -> int:
    """Return how many bytes `count` codes of `bits` bits take."""
    return sum(-(-count * width // 8) for _, width in _LAYERS[bits])


def pack(codes: Tensor, bits: int, out: Tensor | None = None) -> Tensor:
    """Pack codes into bytes.

    Args:
        codes: shape (n,), uint8, each below 2**bits; on any device.
        bits: 1, 2, 3 or 4.
        out: shape (packed_size(n, bits),), uint8, to be written to.

    Returns:
        `out`, or a new tensor like it.
    """
    out = codes.new_empty(packed_size(codes.numel(), bits)) if out is None else out
    for first, width, packed in _layers(out, codes.numel(), bits):
        spare = packed.new_empty(min(_block(packed), packed.numel()))
        for block, pieces in _blocks(packed, codes, width):
            block.zero_()
            for plane, piece in enumerate(pieces):
                moved = _moved(piece, first, plane * width, spare)
                if bits == 3:
                    moved.bitwise_and_((2**width - 1) << (plane * width))
                block[: piece.numel()].bitwise_or_(moved)
    return out


def unpack(packed: Tensor, bits: int, count: int, out: Tensor | None = None) -> Tensor:
    """Return the codes, shape (count,), uint8, that `pack` made `packed` of."""
    out = packed.new_empty(count) if out is None else out
    for first, width, layer in _layers(packed, count, bits):
        spare = layer.new_empty(min(_block(layer), layer.numel()) if first else 0)
        for block, pieces in _blocks(layer, out, width):
            for plane, piece in enumerate(pieces):
                moved = _moved(block[: piece.numel()], plane * width, first, spare if first else piece)
                if first or (plane + 1) * width < 8:  # the top plane has nothing above it
                    moved.bitwise_and_((2**width - 1) << first)
                if first:
                    piece.bitwise_or_(moved)
    return out


def _moved(codes: Tensor, place: int, target: int, out: Tensor) -> Tensor:
    """Return the codes with the bit at `place` moved to `target`, written to the beginning of `out`."""
    out = out[: codes.numel()]
    if target < place:
        return torch.bitwise_right_shift(codes, place - target, out=out)
    return torch.bitwise_left_shift(codes, target - place, out=out) if target > place else out.copy_(codes)


def _layers(packed: Tensor, count: int, bits: int) -> Iterator[tuple[int, int, Tensor]]:
    """Yield (first bit, bits, bytes) of each part that is packed alone."""
    start = 0
    for first, width in _LAYERS[bits]:
        stop = start + -(-count * width // 8)
        yield first, width, packed[start:stop]
        start = stop


def _block(packed: Tensor) -> int:
    return _BLOCK if device_type(packed) == "cpu" else AT_ONCE


def _blocks(packed: Tensor, codes: Tensor, width: int) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Yield a stretch of bytes with the stretches of codes that share them, lowest bits first."""
    if isinstance(packed, FakeTensor):
        return
    length, count, block = packed.numel(), codes.numel(), _block(packed)
    for start in range(0, length, block):
        stop = min(start + block, length)
        places = [plane * length for plane in range(8 // width)]
        pieces = [codes[min(p + start, count) : min(p + stop, count)] for p in places]
        yield packed[start:stop], [piece for piece in pieces if piece.numel()]


def put(integers: Tensor, codes: Tensor, upper: bool, spare: Tensor) -> None:
    """Write the lowest byte of each integer into `codes`; if `upper`, the lowest four bits above those of `codes`.

    So four-bit codes are packed as `pack` does without ever being a row of bytes of their own: the first half first,
    then, `upper`, the second. `spare` is int8 scratch of at least that length. int8 is the one byte that floats and
    integers are quickly converted to.
    """
    target = codes.view(torch.int8)
    if upper:
        target.bitwise_or_(spare[: integers.numel()].copy_(integers).bitwise_left_shift_(4))
    else:
        target.copy_(integers)


def take(codes: Tensor, upper: bool, spare: Tensor) -> Tensor:
    """Return the lower or the upper four bits of each byte, in `spare`, uint8."""
    out = spare[: codes.numel()]
    return torch.bitwise_right_shift(codes, 4, out=out) if upper else torch.bitwise_and(codes, 15, out=out)
