"""LayerNorm and RMSNorm: keep the normalised input, and offer their output to whoever reads it next.

The backward pass needs the normalised input and one number a token, the inverse deviation. The output is the
normalised input times weight plus bias, so the next Linear keeps nothing of its own. Keeping the normalised input and
not the output leaves no weight to divide by, which may be zero.

    dx = (g - mean(g) - x^ mean(g x^)) / deviation,  g = dy weight,  x^ the normalised input; RMSNorm without mean(g)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from frostline.anatomy.target import device_type
from frostline.storage.codecs import Codec
from frostline.storage.first_order import first_order
from frostline.storage.kept import Kept, keep, offer_kept
from frostline.storage.tape import Tape, current_tape


class _StoredNorm(nn.Module):
    """What both norms share: the choice while the weight trains, and while it is frozen."""

    _storage: Codec
    _storage_frozen: Codec
    _site: str

    def _codec(self) -> Codec:
        weight = getattr(self, "weight", None)
        return self._storage if weight is not None and weight.requires_grad else self._storage_frozen

    def _keeps(self, input: Tensor) -> bool:
        return torch.is_grad_enabled() and (input.requires_grad or any(p.requires_grad for p in self.parameters()))


class StoredLayerNorm(_StoredNorm, nn.LayerNorm):
    """A LayerNorm whose normalised input waits as `_storage` says, or `_storage_frozen` while its weight is frozen."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what the plain LayerNorm returns for `input`."""
        tape = current_tape()
        if tape is not None and self in tape.unread.noted:
            return self._replayed(input, *tape.play_norm()) if tape.plays else self._noted(input, tape)
        if not self._keeps(input):
            return super().forward(input)
        kept: list[Kept] = []
        output: Tensor = _layer_norm(
            input, self.weight, self.bias, self.normalized_shape, self.eps, self._codec(), self._site, kept, None
        )
        if kept:
            self._offer(output, kept[0])
        return output

    def _noted(self, input: Tensor, tape: Tape) -> Tensor:
        """Run without gradients, and note on the tape what the gradients of a second run need."""
        input = _as_autocast_has_it(input)
        output, mean, rstd = torch.native_layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)
        kept = keep(torch.sub(input, mean).mul_(rstd), self._codec(), self._site)
        tape.note_norm(rstd, kept)
        self._offer(output, kept)
        return output

    def _replayed(self, input: Tensor, rstd: Tensor, kept: Kept) -> Tensor:
        """Stand in the graph for a first run's norm; the values are not computed."""
        output: Tensor = _layer_norm(
            input, self.weight, self.bias, self.normalized_shape, self.eps, self._codec(), self._site, [kept], rstd
        )
        return output

    def _offer(self, output: Tensor, kept: Kept) -> None:
        weights = [w for w in (self.weight, self.bias) if w is not None]  # those of this forward pass
        offer_kept(output, kept.then(_affine, *weights).to(output.dtype))


class StoredRMSNorm(_StoredNorm, nn.RMSNorm):
    """An RMSNorm whose normalised input waits as `_storage` says, or `_storage_frozen` while its weight is frozen."""

    def forward(self, input: Tensor) -> Tensor:
        """Return what the plain RMSNorm returns for `input`."""
        if not self._keeps(input):
            return super().forward(input)
        kept: list[Kept] = []
        output: Tensor = _rms_norm(
            input, self.weight, super().forward, len(self.normalized_shape), self.eps, self._codec(), self._site, kept
        )
        if kept:
            weights = [] if self.weight is None else [self.weight]
            offer_kept(output, kept[0].then(_affine, *weights).to(output.dtype))
        return output


def _as_autocast_has_it(input: Tensor) -> Tensor:
    """Return the input of a LayerNorm in float32 where a GPU's autocast computes it so; the CPU's does not."""
    return input.float() if device_type(input) == "cuda" and torch.is_autocast_enabled(input.device.type) else input


def _affine(normalised: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    if weight is None:
        return normalised
    scaled = normalised * weight
    return scaled if bias is None else scaled.add_(bias)


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        shape: Sequence[int],
        eps: float,
        codec: Codec,
        site: str,
        kept: list[Kept],
        rstd: Tensor | None,
    ) -> Tensor:
        ctx.dtype = input.dtype
        if rstd is not None:
            ctx.shape, ctx.restore = list(shape), kept[0].restore
            ctx.save_for_backward(weight, bias, rstd, *kept[0].tensors)
            return input.new_zeros(input.shape, dtype=kept[0].dtype)
        input = _as_autocast_has_it(input)
        output, mean, rstd = torch.native_layer_norm(input, shape, weight, bias, eps)
        ctx.shape, ctx.restore = list(shape), None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            kept.append(keep(torch.sub(input, mean).mul_(rstd), codec, site))
            ctx.restore = kept[0].restore
        ctx.save_for_backward(weight, bias, rstd, *(kept[0].tensors if kept else ()))
        return output

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, bias, rstd, *code = ctx.saved_tensors
        if ctx.restore is None:
            return None, None, grad.sum_to_size(ctx.shape).to(bias.dtype), *(None,) * 6
        # The kernel takes its input as normalised already: mean 0, deviation 1; the deviation's part follows after.
        grad_input, grad_weight, grad_bias = torch.ops.aten.native_layer_norm_backward(
            grad.contiguous(),
            ctx.restore(code).to(grad.dtype),
            ctx.shape,
            torch.zeros_like(rstd),
            torch.ones_like(rstd),
            weight,
            bias,
            list(ctx.needs_input_grad[:3]),
        )
        if grad_input is not None:
            grad_input = grad_input.mul_(rstd).to(ctx.dtype)
        return grad_input, grad_weight, grad_bias, *(None,) * 6


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor | None,
        forward: Callable[[Tensor], Tensor],
        dims: int,
        eps: float | None,
        codec: Codec,
        site: str,
        kept: list[Kept],
    ) -> Tensor:
        output = forward(input)
        ctx.over = tuple(range(input.dim() - dims, input.dim()))
        wide = input.float() if input.dtype.itemsize < 4 else input
        small = torch.finfo(wide.dtype).eps if eps is None else eps
        rstd = wide.square().mean(ctx.over, keepdim=True).add_(small).rsqrt_()
        kept.append(keep((wide * rstd).to(input.dtype), codec, site))
        ctx.restore, ctx.dtype = kept[0].restore, input.dtype
        ctx.save_for_backward(weight, rstd, *kept[0].tensors)
        return output

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, rstd, *code = ctx.saved_tensors
        normalised = ctx.restore(code).to(rstd.dtype)
        grad = grad.to(rstd.dtype)
        grad_input = grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad * normalised).sum_to_size(weight.shape).to(weight.dtype)
        if ctx.needs_input_grad[0]:
            scaled = grad if weight is None else grad * weight
            shared = (scaled * normalised).mean(ctx.over, keepdim=True)
            grad_input = torch.addcmul(scaled, normalised, shared, value=-1).mul_(rstd).to(ctx.dtype)
        return grad_input, grad_weight, *(None,) * 6


_layer_norm: Any = _LayerNorm.apply
_rms_norm: Any = _RMSNorm.apply
