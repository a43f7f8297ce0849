"""Dropout: keeps the state of the generator that drew the mask (`replay`), or the mask in bits (`mask`).

Stock PyTorch keeps the mask as floating-point noise, as large as the input. The mask here is stock's very own for the
same seed. `mask` keeps one bit a value. `replay` keeps 5 KB on a CPU and 16 bytes on a GPU, and draws the mask a second
time in backward: dropout is linear, so its backward pass is itself, on the gradient, with the same mask. Drawing is
nearly all that dropout costs on a CPU, so `mask` is the faster there.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frostline.storage.codecs.mask import pack, unpack
from frostline.storage.first_order import first_order
from frostline.storage.random_state import replayed, rng_state
from frostline.storage.tape import current_tape

DropoutWay = Literal["replay", "mask"]


class StoredDropout(nn.Dropout):
    """A Dropout whose mask waits as `_storage` says."""

    _storage: DropoutWay

    def forward(self, input: Tensor) -> Tensor:
        """Return what the plain Dropout returns for `input`."""
        if not self.training or not 0 < self.p < 1 or self.inplace:
            return super().forward(input)
        tape = current_tape() if self._storage == "mask" else None
        bits = tape.play_mask() if tape is not None and tape.plays else None
        if tape is not None and bits is None:
            bits = pack(_noise(input, self.p) != 0)
            tape.note_mask(bits)
        output: Tensor
        if torch.is_grad_enabled() and input.requires_grad:
            output = _replayed(input, self.p) if self._storage == "replay" else _masked(input, self.p, bits)
        else:
            output = super().forward(input) if bits is None else _noise(input, self.p, bits).mul_(input)
        return output


def _noise(input: Tensor, p: float, bits: Tensor | None = None) -> Tensor:
    """Return what dropout multiplies by: 0 or 1 / (1 - p), drawn now or by a mask."""
    if bits is None:
        return F.dropout(torch.ones_like(input), p)
    return unpack(bits, input.shape).to(input.dtype).div_(1 - p)


class _Replayed(torch.autograd.Function):
    operation = "dropout"

    @staticmethod
    def forward(ctx: Any, input: Tensor, p: float) -> Tensor:
        ctx.p, ctx.stride = p, input.stride()
        ctx.save_for_backward(rng_state(input.device))
        return F.dropout(input, p)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (state,) = ctx.saved_tensors
        if grad.stride() != ctx.stride:  # the mask is drawn in the order of memory
            grad = grad.new_empty_strided(grad.shape, ctx.stride).copy_(grad)
        with replayed(state, grad.device):
            return F.dropout(grad, ctx.p), None


class _Masked(torch.autograd.Function):
    operation = "dropout"

    @staticmethod
    def forward(ctx: Any, input: Tensor, p: float, bits: Tensor | None) -> Tensor:
        noise = _noise(input, p, bits)
        ctx.p, ctx.shape = p, input.shape
        ctx.save_for_backward(pack(noise != 0) if bits is None else bits)
        return noise.mul_(input)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (bits,) = ctx.saved_tensors
        return torch.mul(grad, unpack(bits, ctx.shape)).div_(1 - ctx.p), None, None


_replayed: Any = _Replayed.apply
_masked: Any = _Masked.apply
