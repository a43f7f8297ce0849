"""Gated activations, act(gate) * up (GLU variants, arXiv 2002.05202): keep codes of gate and up, and nothing else.

Stock PyTorch keeps the gate, act(gate), up, and the product as the input of the next Linear: four tensors as wide as
the FFN. The last two come from the first here, so that the next Linear keeps nothing of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from frostline.storage.codecs import Codec
from frostline.storage.first_order import first_order
from frostline.storage.kept import Kept, keep_shared, offer_kept
from frostline.storage.operations.activation import replay, shares_memory
from frostline.storage.operations.activation_kinds import kind_of, multiply_by_derivative
from frostline.storage.operations.lookup import piece_length

_Restore = Callable[[Sequence[Tensor]], Tensor]

_PARTS = {"gate_proj", "up_proj", "down_proj", "act_fn"}


class StoredGatedMLP(nn.Module):
    """A gated FFN of Hugging Face's (Llama, Mistral, Qwen, Gemma) whose gate and up wait as `_storage` says.

    Modules get here by a change of class, never by construction, and only where `is_gated` holds.
    """

    _storage: Codec
    _site: str
    gate_proj: nn.Module
    up_proj: nn.Module
    down_proj: nn.Module
    act_fn: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Return what the plain module returns for `x` (..., hidden)."""
        kind = kind_of(self.act_fn)
        output: Tensor
        if kind is None or not torch.is_grad_enabled():
            output = super().forward(x)
        else:
            gate, up = self.gate_proj(x), self.up_proj(x)
            output = self.down_proj(gated(gate, up, self.act_fn, kind, self._storage, self._site))
        return output


def is_gated(module: nn.Module) -> bool:
    """Return whether a module computes `down_proj(act_fn(gate_proj(x)) * up_proj(x))`, with a known activation.

    Told by its parts and by its forward function, which must name these four and nothing else.
    """
    if not all(isinstance(getattr(module, part, None), nn.Module) for part in _PARTS):
        return False
    runs = (cls for cls in type(module).__mro__ if "forward" in vars(cls) and cls is not StoredGatedMLP)
    code = getattr(vars(next(runs, nn.Module))["forward"], "__code__", None)
    if code is None or {*code.co_names} != _PARTS or code.co_argcount != 2:
        return False
    return kind_of(module.get_submodule("act_fn")) is not None


def gated(gate: Tensor, up: Tensor, act: Callable[[Tensor], Tensor], kind: str, codec: Codec, site: str) -> Tensor:
    """Return `act(gate) * up`, keeping both as `codec` says.

    Args:
        gate: of any shape.
        up: of the same shape and dtype.
        act: the elementwise activation. It is run again in backward, and for a consumer that takes the offer; of a
            module then the forward function alone, so that its hooks run once.
        kind: which activation it is, as `activation.kind_of` names it.
        codec: how the two wait; an offer that lies on them is taken.
        site: who keeps, for the message.

    Raises:
        StorageError: one holds an infinite value or NaN, which the codec cannot keep; names the site.
    """
    if not (torch.is_grad_enabled() and (gate.requires_grad or up.requires_grad)):
        return act(gate) * up
    again = replay(act.forward if isinstance(act, nn.Module) else act, gate)
    first, second = keep_shared(gate, codec, site), keep_shared(up, codec, site)
    output: Tensor = _gated(
        gate, up, act, again, kind, first.restore, second.restore, len(first.tensors), *first.tensors, *second.tensors
    )
    product = partial(_product, first.restore, second.restore, len(first.tensors), again)
    offer_kept(output, Kept((*first.tensors, *second.tensors), product, min(first.bits, second.bits), output.dtype))
    return output


class _Gated(torch.autograd.Function):
    operation = "swiglu"

    @staticmethod
    def forward(
        ctx: Any,
        gate: Tensor,
        up: Tensor,
        act: Callable[[Tensor], Tensor],
        again: Callable[[Tensor], Tensor],
        kind: str,
        restore_gate: _Restore,
        restore_up: _Restore,
        count: int,
        *code: Tensor,
    ) -> Tensor:
        ctx.again, ctx.kind, ctx.count, ctx.restore = again, kind, count, (restore_gate, restore_up)
        ctx.dtypes = gate.dtype, up.dtype
        ctx.save_for_backward(*code)
        return act(gate) * up

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        code = ctx.saved_tensors
        gate, up = (
            restore(part).to(grad.dtype).reshape(-1)
            for restore, part in zip(ctx.restore, (code[: ctx.count], code[ctx.count :]), strict=True)
        )
        # What was decoded is overwritten by its gradient; what was kept as it was is not.
        grad_gate, grad_up = (torch.empty_like(t) if shares_memory(t, code) else t for t in (gate, up))
        length = piece_length(grad)
        for g, x, u, to_gate, to_up in zip(
            *(t.split(length) for t in (grad.reshape(-1), gate, up, grad_gate, grad_up)), strict=True
        ):
            active, passed = ctx.again(x), g * u
            torch.mul(g, active, out=to_up)
            multiply_by_derivative(ctx.kind, passed, x, to_gate)
        grads = (t.view(grad.shape).to(dtype) for t, dtype in zip((grad_gate, grad_up), ctx.dtypes, strict=True))
        return *grads, *(None,) * (6 + len(code))


def _product(
    restore_gate: _Restore, restore_up: _Restore, count: int, act: Callable[[Tensor], Tensor], code: Sequence[Tensor]
) -> Tensor:
    return act(restore_gate(code[:count])) * restore_up(code[count:])


_gated: Any = _Gated.apply
