"""Block recompute: only a block's input waits, as a codec says; backward runs the block again.

Gradient checkpointing (arXiv 1604.06174) with two differences from torch.utils.checkpoint: the input may be coded, and
the weights are inputs of the autograd node, so that each gradient arrives once, whole. The first forward pass runs
without gradients, as inference does. The second replays the random numbers and autocast, leaves out what no gradient
reads (unread.py), and keeps what the operations' own storage says, for the time of one block; what they may share of
the input's code they share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from transformers import Cache

from frostline.errors import StorageError
from frostline.storage.codecs import Codec
from frostline.storage.first_order import first_order
from frostline.storage.kept import keep_shared, offer_kept
from frostline.storage.random_state import replayed, rng_state
from frostline.storage.tape import Tape, Unread, on_tape
from frostline.storage.unread import Trials, find_unread


class StoredBlock(nn.Module):
    """A block that runs again in backward; its input waits as `_storage` says."""

    _storage: Codec
    _site: str
    _trials: Trials
    _unread: Unread | None = None
    _on_trial = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the plain block returns, and leave a cache of keys and values empty.

        Raises:
            StorageError: the cache holds something, which would be appended to twice.
        """
        if self._on_trial:
            return super().forward(*args, **kwargs)
        args = tuple(self._without_cache(value) for value in args)
        kwargs = {key: self._without_cache(value) for key, value in kwargs.items()}
        call = _Call(super().forward, args, kwargs)
        weights = [p for p in self.parameters() if p.requires_grad]
        if not torch.is_grad_enabled() or not call.tensors or not (weights or call.needs_grad):
            return super().forward(*args, **kwargs)
        if self._unread is None:
            vars(self)["_unread"] = find_unread(self, args, kwargs, self._trials)
        outputs = _recompute(call, self._storage, self._site, self._unread, *call.take(), *weights)
        return call.returned(outputs)

    def _without_cache(self, value: Any) -> Any:
        if not isinstance(value, Cache) or not torch.is_grad_enabled():
            return value
        found = (getattr(module, "layer_idx", None) for module in self.modules())
        own = next((index for index in found if isinstance(index, int)), 0)
        if value.get_seq_length(own):
            raise StorageError(
                f"{self._site}: a cache of keys and values came with the batch, and a block that runs again in "
                "backward would append to it twice; leave out past_key_values, or set storage of 'block' to 'stock'."
            )
        return None


class _Call:
    """A block's call: its tensors of numbers, which autograd must see, apart from all other arguments.

    The first tensor is the hidden state; another is taken along only if it needs a gradient. What is left (masks,
    rotary embeddings) is held as it is: the blocks share it. What of that is handed on as an output, as T5's positions
    are, goes past the node: autograd would make it the node's own, and so the node's input as well.
    """

    def __init__(self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._run = run
        self._leaves, self._spec = tree_flatten((args, kwargs))
        self._returned: TreeSpec | None = None
        self._passed: dict[int, Tensor] = {}  # by place among the outputs
        numbers = [i for i, leaf in enumerate(self._leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        self._places = [i for n, i in enumerate(numbers) if n == 0 or self._leaves[i].requires_grad]

    @property
    def tensors(self) -> list[Tensor]:
        """What autograd must see."""
        return [self._leaves[i] for i in self._places]

    @property
    def needs_grad(self) -> bool:
        return any(tensor.requires_grad for tensor in self.tensors)

    def take(self) -> list[Tensor]:
        """Return the tensors and let them go."""
        tensors = self.tensors
        for place in self._places:
            self._leaves[place] = None
        return tensors

    def __call__(self, tensors: Sequence[Tensor]) -> list[Any]:
        leaves = list(self._leaves)
        for place, tensor in zip(self._places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = tree_unflatten(leaves, self._spec)
        outputs, self._returned = tree_flatten(self._run(*args, **kwargs))
        held = {id(leaf) for leaf in self._leaves if isinstance(leaf, Tensor)}
        self._passed = {place: output for place, output in enumerate(outputs) if id(output) in held}
        return [None if place in self._passed else output for place, output in enumerate(outputs)]

    def returned(self, outputs: Sequence[Any]) -> Any:
        assert self._returned is not None
        whole = [self._passed.get(place, output) for place, output in enumerate(outputs)]
        return tree_unflatten(whole, self._returned)

    def __len__(self) -> int:
        return len(self._places)


class _Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, codec: Codec, site: str, unread: Unread, *tensors: Tensor) -> tuple[Any, ...]:
        inputs, ctx.weights = tensors[: len(call)], tensors[len(call) :]
        device = inputs[0].device
        ctx.call, ctx.device = call, device
        ctx.versions = [weight._version for weight in ctx.weights]
        ctx.autocast = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
        kept = keep_shared(inputs[0], codec, site)
        ctx.kept, ctx.code = replace(kept, tensors=()), len(kept.tensors)
        state = rng_state(device)
        with on_tape(Tape(device, unread)) as tape:
            outputs = call(inputs)
        ctx.notes, noted = tape.apart()
        ctx.save_for_backward(*kept.tensors, *inputs[1:], state, *noted)
        ctx.mark_non_differentiable(*(o for o in outputs if isinstance(o, Tensor) and not o.is_floating_point()))
        return tuple(outputs)

    @staticmethod
    @first_order
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if [weight._version for weight in ctx.weights] != ctx.versions:
            raise RuntimeError(
                "a weight of a block that is recomputed in backward was changed in place after the forward pass; "
                "change weights only after the backward pass."
            )
        saved, last = ctx.saved_tensors, ctx.code + len(ctx.call) - 1
        code, others, state, noted = saved[: ctx.code], saved[ctx.code : last], saved[last], saved[last + 1 :]
        kept = replace(ctx.kept, tensors=tuple(code))
        hidden = kept.restore(code).detach()
        needs = ctx.needs_input_grad[4 : 4 + len(ctx.call)]
        inputs = [hidden, *(t.detach() for t in others)]
        for tensor, need in zip(inputs, needs, strict=True):
            tensor.requires_grad_(need)
        offer_kept(hidden, kept)
        enabled, dtype = ctx.autocast
        with (
            torch.enable_grad(),
            replayed(state, ctx.device),
            on_tape(Tape.of(ctx.device, ctx.notes, noted)),
            torch.autocast(ctx.device.type, dtype, enabled=enabled),
        ):
            outputs = ctx.call(inputs)
        returned = zip(outputs, grads, strict=True)
        pairs = [(o, g) for o, g in returned if g is not None and isinstance(o, Tensor) and o.requires_grad]
        wanted = [*(t for t in inputs if t.requires_grad), *ctx.weights]
        found = iter(torch.autograd.grad([o for o, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True))
        of_inputs = [next(found) if need else None for need in needs]
        return None, None, None, None, *of_inputs, *found


_recompute: Any = _Recompute.apply
