"""Random numbers for stochastic rounding that leave torch's own generator as it is.

A counter goes through an integer hash (multiply and xor-shift, twice) that gives two 16-bit numbers for each index, in
vectorised integer operations. A stretch of them serves all blocks of a tensor, each from a place of its own: that is
several times cheaper than new numbers, and cost is what speaks against stochastic rounding.

The seed is a function of the state of torch's global CPU generator, which is read and not advanced, and of values of
the tensor. So a run repeats under `torch.manual_seed`, a resumed run goes on as if it had never stopped, dropout draws
the masks that it draws without storage, and two tensors do not share their noise even if nothing is drawn between
them. The same tensor in the same state of the generator has the same code each time.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

_COUNTER, _FIRST, _SECOND = -1640531527, 2145175453, -2073254261  # odd: 0x9E3779B9, 0x7FDD3D9D, 0x846CA68B
_LONG = 6364136223846793005


class Noise:
    """Numbers spread evenly over (-1/2, 1/2), in steps of 2**-16, with a mean of 0.

    Neither end is among them: an integer, such as the code of 0, is never rounded to its neighbour.

    Args:
        content: integer scalar told from the tensor's values, on its device.
        longest: how many numbers are asked for at once, at most.
        several: they are asked for more than once.
        dtype: of the numbers.
    """

    def __init__(self, content: Tensor, longest: int, several: bool, dtype: torch.dtype) -> None:
        self._places = longest // 4 if several else 1
        fake = isinstance(content, FakeTensor) or torch.compiler.is_compiling()
        self._seed = 0 if fake else zlib.crc32(torch.get_rng_state().numpy().tobytes())
        pairs = -(-(longest + self._places) // 2)
        # In 64 bits, of which products keep the lowest; those in the middle are the best mixed.
        key = (content * _LONG + self._seed) * _LONG >> 24
        numbers = content.new_empty(pairs, dtype=torch.int32)
        torch.arange(pairs, out=numbers)
        numbers.mul_(_COUNTER).add_(key.to(torch.int32))
        for factor in (_FIRST, _SECOND):
            numbers.bitwise_xor_(_shifted(numbers, 15)).mul_(factor)
        numbers.bitwise_xor_(_shifted(numbers, 16))
        self._noise = numbers.view(torch.int16).clamp_(min=-(2**15 - 1)).to(dtype).mul_(2.0**-16)

    def add_to(self, values: Tensor, start: int) -> None:
        """Add noise to `values`, shape (n,), of which the first is number `start` of the tensor."""
        place = zlib.crc32(start.to_bytes(8, "little"), self._seed) % max(self._places, 1)
        values.add_(self._noise[place : place + values.numel()])


def _shifted(numbers: Tensor, bits: int) -> Tensor:
    return (numbers >> bits).bitwise_and_(2 ** (32 - bits) - 1)  # without the copies of the sign that come from above
