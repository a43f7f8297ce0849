"""Activations (GELU, SiLU, ReLU, QuickGELU): keep their input, from which the output comes as well, or a code of f'.

The forward pass is the plain module's own. What waits for backward is one of two:

    a codec          the input; the next Linear takes the output recomputed from it and keeps nothing of its own
    Derivative(b)    the derivative in b bits (derivative_codes.py); the next Linear keeps its input itself

The second is the smaller one where the next Linear keeps nothing, because it is frozen. A formula written out in
Python, such as NewGELUActivation's, keeps up to eight tensors in stock PyTorch; here its gradient is GELU's kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from frostline.errors import ConfigError
from frostline.storage import codecs
from frostline.storage.codecs import Codec
from frostline.storage.first_order import first_order
from frostline.storage.kept import keep_shared, offer_kept
from frostline.storage.operations.activation_kinds import kind_of, multiply_by_derivative
from frostline.storage.operations.derivative_codes import DerivativeCode, code_of
from frostline.storage.tape import current_tape

__all__ = ["Derivative", "StoredActivation", "Way", "activation", "activation_way", "kind_of"]


@dataclass(frozen=True, slots=True)
class Derivative:
    """Keep a code of the derivative in place of the input; ReLU's takes one bit, whatever `bits` says."""

    bits: int


Way = Codec | Derivative


def activation_way(name: str) -> Way:
    """Return the way that `derivative1` to `derivative5`, or a codec's name, stands for; ConfigError if it is none."""
    digits = name.removeprefix("derivative")
    if digits == name:
        return codecs.get(name)
    if digits not in ("1", "2", "3", "4", "5"):
        raise ConfigError(f"storage {name!r} is unknown: a derivative is kept in 1 to 5 bits, as in 'derivative3'.")
    return Derivative(int(digits))


class StoredActivation(nn.Module):
    """An activation whose input waits as `_storage` says, or `_storage_frozen` while the next Linear is frozen.

    Modules get here by a change of class, never by construction. `_consumer_trains` tells whether the Linear that
    reads the output keeps its input at this step; None is yes.
    """

    _storage: Way
    _storage_frozen: Way
    _site: str
    _consumer_trains: Callable[[], bool] | None

    def forward(self, input: Tensor) -> Tensor:
        """Return what the plain activation returns for `input`."""
        forward: Callable[[Tensor], Tensor] = super().forward
        kind = kind_of(self)
        if kind is None or not (torch.is_grad_enabled() and input.requires_grad):
            return forward(input)
        trains = self._consumer_trains is None or self._consumer_trains()
        tape = current_tape()
        computes = tape is None or not tape.skips(self)
        way = self._storage if trains else self._storage_frozen
        return activation(input, forward, kind, way, self._site, computes)


def activation(
    input: Tensor, forward: Callable[[Tensor], Tensor], kind: str, way: Way, site: str, computes: bool = True
) -> Tensor:
    """Return `forward(input)`, keeping what its gradient needs as `way` says.

    Args:
        input: of any shape.
        forward: the elementwise function, run without gradients; run again in backward if a consumer takes the offer.
        kind: which function it is, as `kind_of` names it.
        way: a codec, or `Derivative`.
        site: who keeps, for the message.
        computes: if False, the output stands in the graph, but its values are nothing: nobody reads them.

    Raises:
        StorageError: the input holds an infinite value or NaN, which the way cannot keep; names the site.
    """
    output: Tensor
    now = forward if computes else torch.empty_like
    if isinstance(way, Derivative):
        code = code_of(kind, way.bits)
        output = _from_derivative(input, now, code, code.encode(input, site))
        return output
    kept = keep_shared(input, way, site)
    output = _from_input(input, now, kind, kept.restore, *kept.tensors)
    offer_kept(output, kept.then(replay(forward, input)).to(output.dtype))
    return output


class _FromInput(torch.autograd.Function):
    operation = "activation"

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        forward: Callable[[Tensor], Tensor],
        kind: str,
        restore: Callable[[Sequence[Tensor]], Tensor],
        *code: Tensor,
    ) -> Tensor:
        ctx.kind, ctx.restore, ctx.dtype = kind, restore, input.dtype
        ctx.save_for_backward(*code)
        return forward(input)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        code = ctx.saved_tensors
        input = ctx.restore(code).to(grad.dtype)
        out = None if shares_memory(input, code) else input
        return multiply_by_derivative(ctx.kind, grad, input, out).to(ctx.dtype), *(None,) * (3 + len(code))


class _FromDerivative(torch.autograd.Function):
    operation = "activation"

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, forward: Callable[[Tensor], Tensor], derivative: DerivativeCode, code: Tensor
    ) -> Tensor:
        ctx.derivative, ctx.dtype = derivative, input.dtype
        ctx.save_for_backward(code)
        return forward(input)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (code,) = ctx.saved_tensors
        return ctx.derivative.multiply(grad, code).to(ctx.dtype), None, None, None


def shares_memory(tensor: Tensor, others: Sequence[Tensor]) -> bool:
    """Return whether `tensor` lies in the memory of one of `others`, and so must not be written to."""
    memory = tensor.untyped_storage()._cdata
    return any(memory == other.untyped_storage()._cdata for other in others)


def replay(forward: Callable[[Tensor], Tensor], input: Tensor) -> Callable[[Tensor], Tensor]:
    """Return `forward` as it would run on `input` now, in backward too: with autocast as it is now."""
    device = input.device.type
    return partial(
        _under_autocast, forward, device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
    )


def _under_autocast(
    forward: Callable[[Tensor], Tensor], device: str, dtype: torch.dtype, enabled: bool, input: Tensor
) -> Tensor:
    with torch.autocast(device, dtype, enabled):
        return forward(input)


_from_input: Any = _FromInput.apply
_from_derivative: Any = _FromDerivative.apply
