"""Linear, and GPT-2's Conv1D, whose weight lies the other way: keep their input while their weight trains and nothing
while it is frozen.

The input is kept once for all who read it (query, key and value), and not at all where the operation before offers it
(a LayerNorm, an activation).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from frostline.storage.codecs import Codec
from frostline.storage.first_order import first_order
from frostline.storage.kept import Kept, keep_shared
from frostline.storage.precision import compute_dtype, without_autocast
from frostline.storage.tape import current_tape


class StoredLinear(nn.Linear):
    """A Linear whose input waits as `_storage` says. Modules get here by a change of class, never by construction."""

    _storage: Codec
    _site: str

    def forward(self, input: Tensor) -> Tensor:
        """Return what the plain Linear returns for `input` (..., in_features)."""
        tape = current_tape()
        computes = tape is None or not tape.skips(self)
        return linear(input, self.weight, self.bias, self._storage, self._site, computes)


class StoredConv1D(Conv1D):
    """A Conv1D whose input waits as `_storage` says. Modules get here by a change of class, never by construction."""

    _storage: Codec
    _site: str

    def forward(self, x: Tensor) -> Tensor:
        """Return what the plain Conv1D returns for `x` (..., in_features)."""
        tape = current_tape()
        computes = tape is None or not tape.skips(self)
        return linear(x, self.weight, self.bias, self._storage, self._site, computes, turned=True)


def linear(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    codec: Codec,
    site: str,
    computes: bool = True,
    turned: bool = False,
) -> Tensor:
    """Return `input @ weight.T + bias`, keeping `input` (..., in_features) as `codec` says if `weight` trains.

    With `computes` False the output is zeros that stand in the graph: nothing reads them. `turned` is for a weight of
    (in_features, out_features); a bias is then needed.
    """
    if not torch.is_grad_enabled():
        return _product(input, weight, bias, turned)
    kept = keep_shared(input, codec, site, compute_dtype(input)) if weight.requires_grad else None
    output: Tensor = _linear(input, weight, bias, kept, computes, turned)
    return output


def _product(input: Tensor, weight: Tensor, bias: Tensor | None, turned: bool) -> Tensor:
    """Return the plain layer's output by the plain layer's own operation."""
    if not turned:
        return F.linear(input, weight, bias)
    assert bias is not None
    return torch.addmm(bias, input.reshape(-1, len(weight)), weight).view(*input.shape[:-1], weight.shape[1])


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, kept: Kept | None, computes: bool, turned: bool
    ) -> Tensor:
        ctx.dtype, ctx.weight_dtype, ctx.turned = input.dtype, weight.dtype, turned
        dtype = compute_dtype(input)
        if computes:
            with without_autocast(input):
                output = _product(input.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype), turned)
        else:
            output = input.new_zeros((*input.shape[:-1], weight.shape[1 if turned else 0]), dtype=dtype)
        if output._is_view():  # of a product of two dimensions: a view that leaves here may not be changed in place
            output = torch.ops.aten._unsafe_view(output, output.shape)
        ctx.restore = None if kept is None else kept.restore
        ctx.save_for_backward(weight if ctx.needs_input_grad[0] else None, *(() if kept is None else kept.tensors))
        return output

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, *code = ctx.saved_tensors
        grad_input = grad_weight = grad_bias = None
        rows = grad.flatten(0, -2) if grad.dim() > 1 else grad.unsqueeze(0)
        if ctx.needs_input_grad[1]:  # first, so that the restored input is gone before the next large tensor comes
            input = ctx.restore(code).to(grad.dtype)
            input = input.reshape(-1, input.shape[-1])
            grad_weight = (input.t() @ rows if ctx.turned else rows.t() @ input).to(ctx.weight_dtype)
            del input
        if ctx.needs_input_grad[2]:
            grad_bias = rows.sum(0).to(ctx.weight_dtype)
        if ctx.needs_input_grad[0]:
            weight = weight.t() if ctx.turned else weight
            grad_input = (grad @ weight.to(grad.dtype)).to(ctx.dtype)
        return grad_input, grad_weight, grad_bias, None, None, None


_linear: Any = _Linear.apply
