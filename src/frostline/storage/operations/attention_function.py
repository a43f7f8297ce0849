"""Attention as an autograd node: stock's output, and a gradient from what was kept of query, key and value.

On a CPU, backward goes tile by tile; so does the forward pass with dropout, for which stock has no fused kernel and
writes several S x S matrices. Elsewhere stock's kernels are fused: there are no probabilities to keep, and backward
runs stock's forward again, with the random numbers of the first time, and then its backward. So it does on fake
tensors, to tell shapes and bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from frostline.anatomy.target import device_type
from frostline.storage import codecs
from frostline.storage.first_order import first_order
from frostline.storage.kept import Kept, keep
from frostline.storage.operations import attention_tiles
from frostline.storage.operations.attention_call import Call
from frostline.storage.operations.attention_dropout import Drawn, Masks, Noted, Recorded, bytes_of_bits
from frostline.storage.operations.attention_scores import compute_dtype, entries
from frostline.storage.precision import without_autocast
from frostline.storage.random_state import replayed, rng_state
from frostline.storage.tape import Tape, current_tape

PROBABILITIES = "fixed0.8"


@torch.compiler.disable(reason="works tile by tile, with random numbers of its own")  # type: ignore[untyped-decorator]  # torch leaves it untyped
def run(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, call: Call) -> Tensor:
    """Return the output [B, H, Sq, Dv], keeping what the call says if a gradient is asked for.

    Args:
        query, key, value: [B, H, Sq, D], [B, Hk, Sk, D], [B, Hk, Sk, Dv], of the dtype in which stock computes.
        mask: boolean or to be added, broadcasts to [B, H, Sq, Sk], needs no gradient; or None.
        call: how.

    Raises:
        StorageError: a value is not finite and the codec cannot keep such.
    """
    if torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value)):
        output: Tensor = _attention(query, key, value, mask, call)
        return output
    with torch.no_grad():
        return _forward(query, key, value, mask, call, keeping=False)[0]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, call: Call) -> Tensor:
        inputs = zip((query, key, value), ("query", "key", "value"), strict=True)
        kept = [keep(tensor, call.how.codec, f"{call.how.site}.{name}") for tensor, name in inputs]
        output, noise, probabilities = _forward(query, key, value, mask, call, keeping=True)
        kept += probabilities
        ctx.call, ctx.restores = call, [(k.restore, len(k.tensors)) for k in kept]
        ctx.save_for_backward(mask, noise, *(tensor for k in kept for tensor in k.tensors))
        return output

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        mask, noise, *codes = ctx.saved_tensors
        values = _restored(ctx.restores, codes)
        query, key, value = next(values), next(values), next(values)
        needs = ctx.needs_input_grad[:3]
        with without_autocast(grad):
            if not _tiled(grad):
                return *_run_again(grad, (query, key, value), mask, noise, ctx.call, needs), None, None
            own = {code.untyped_storage().data_ptr() for code in codes}
            # What was decoded is nobody else's: the gradients take its place.
            into = [None if t.untyped_storage().data_ptr() in own else t for t in (query, key, value)]
            masks = None if noise is None else _drawn_again(noise, query, key, ctx.call)
            probabilities = values if ctx.call.how.keep == "probabilities" else None
            setting = ctx.call.setting
            found = attention_tiles.backward(grad, query, key, value, mask, setting, masks, needs, into, probabilities)
        return *found, None, None


_attention: Any = _Attention.apply
_Made = tuple[Tensor, Tensor | None, list[Kept]]  # output; what gives dropout's mask again; probabilities


def _forward(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, call: Call, *, keeping: bool) -> _Made:
    with without_autocast(query):
        if not _tiled(query):
            return _forward_elsewhere(query, key, value, mask, call)
        probabilities: list[Kept] = []
        see: Callable[[Tensor], None] | None = None
        if keeping and call.how.keep == "probabilities":
            codec, site = codecs.get(PROBABILITIES), f"{call.how.site}.probabilities"

            def see(tile: Tensor) -> None:
                probabilities.append(keep(tile, codec, site))

        if not call.setting.dropout:
            if see is not None:
                attention_tiles.show(query, key, mask, call.setting, see)
            return call.stock(query, key, value, mask), None, probabilities
        tape = current_tape() if call.how.dropout == "mask" else None
        noise, masks = _masks(query, key, call, tape, keeping)
        output = attention_tiles.forward(query, key, value, mask, call.setting, masks, see)
        if tape is not None and not tape.plays:
            tape.note_mask(noise)
        return output, noise, probabilities


def _masks(query: Tensor, key: Tensor, call: Call, tape: Tape | None, keeping: bool) -> tuple[Tensor, Masks]:
    """Return what gives dropout's masks again, and the masks: off the tape, or drawn."""
    if tape is not None and tape.plays:
        bits = tape.play_mask()
        return bits, Noted(bits)
    state, drawn = rng_state(query.device), _drawn(torch.default_generator, query, key, call)
    if call.how.dropout == "replay" or not (keeping or tape):
        return state, drawn
    recorded = Recorded(drawn, entries(query, key, call.setting.causal))
    return recorded.bits, recorded


def _forward_elsewhere(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, call: Call) -> _Made:
    """Run stock's fused kernel, or tell the shapes of a run on fake tensors, without an S x S matrix there either."""
    setting, how, device, on_cpu = call.setting, call.how, query.device, device_type(query) == "cpu"
    if not isinstance(query, FakeTensor):
        noise = rng_state(device) if setting.dropout else None
        return call.stock(query, key, value, mask), noise, []
    noise, probabilities = None, []
    if setting.dropout:
        by_bits = how.dropout == "mask" and on_cpu
        state = 5056 if on_cpu else 16  # bytes of a generator's state
        size = bytes_of_bits(entries(query, key, setting.causal)) if by_bits else state
        noise = torch.empty(size, dtype=torch.uint8)
        tape = current_tape() if by_bits else None
        if tape is not None and tape.plays:
            noise = tape.play_mask()
        elif tape is not None:
            tape.note_mask(noise)
    if how.keep == "probabilities" and on_cpu:
        whole = query.new_empty(*query.shape[:3], key.shape[2], dtype=compute_dtype(query.dtype))
        probabilities = [keep(whole, codecs.get(PROBABILITIES), how.site)]
    return call.plain.stock(query, key, value, mask), noise, probabilities


def _run_again(
    grad: Tensor,
    inputs: Sequence[Tensor],
    mask: Tensor | None,
    state: Tensor | None,
    call: Call,
    needs: Sequence[bool],
) -> list[Tensor | None]:
    """Return the gradients of query, key and value by stock's own backward, after its forward pass once more."""
    fake = isinstance(grad, FakeTensor)
    if fake:
        call = call.plain
    leaves = [t.detach().requires_grad_(need) for t, need in zip(inputs, needs, strict=True)]
    with torch.enable_grad(), nullcontext() if state is None or fake else replayed(state, grad.device):
        output = call.stock(leaves[0], leaves[1], leaves[2], mask)
    found = iter(torch.autograd.grad(output, [leaf for leaf in leaves if leaf.requires_grad], grad))
    return [next(found) if need else None for need in needs]


def _tiled(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and not isinstance(tensor, FakeTensor)


def _drawn(generator: torch.Generator, query: Tensor, key: Tensor, call: Call) -> Drawn:
    count = query.shape[:3].numel() * key.shape[2]
    # No new peak: the FFN's hidden layer, four times as wide as the queries, is in memory at other times.
    room = 4 * query.numel() * query.element_size()
    return Drawn(generator, count, call.setting.dropout, compute_dtype(query.dtype), room)


def _drawn_again(noise: Tensor, query: Tensor, key: Tensor, call: Call) -> Masks:
    if call.how.dropout == "mask":
        return Noted(noise)
    generator = torch.Generator()  # of its own: the default one goes on undisturbed
    generator.set_state(noise)
    return _drawn(generator, query, key, call)


def _restored(restores: Sequence[tuple[Any, int]], codes: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the values behind the codes, one tensor at a time."""
    first = 0
    for restore, count in restores:
        yield restore(codes[first : first + count])
        first += count
