"""Which of a block's modules need not run a second time, because no gradient reads what they give out.

A gradient reads values only where an operation saves them. Behind a block's last Linear come dropout and an addition,
which save a mask and nothing, and in post-norm blocks a norm, which saves its normalised input; when the first run
notes that one, the Linear's values go nowhere. Neither do those of the activation before it, as the Linear takes its
input from what the activation keeps.

This is found out and not assumed: a trial run marks whatever is computed from those values, and if autograd is handed
a marked tensor to save, they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from frostline.storage.operations.activation import StoredActivation
from frostline.storage.operations.linear import StoredLinear
from frostline.storage.operations.norm import StoredLayerNorm
from frostline.storage.random_state import replayed, rng_state
from frostline.storage.tape import Tape, Unread, on_tape

Run = Callable[[Sequence[Tensor]], Any]


def find_unread(block: nn.Module, run: Run, inputs: Sequence[Tensor]) -> Unread:
    """Return what a second run of the block may leave out.

    Args:
        block: with storage on its modules.
        run: its forward function, of its tensors of numbers.
        inputs: what it is called with.
    """
    device = inputs[0].device
    with replayed(rng_state(device), device):
        order = _order(block, run, inputs)
        for candidate in _candidates(order):
            if not _is_read(block, run, inputs, candidate):
                return candidate
    return Unread()


def _order(block: nn.Module, run: Run, inputs: Sequence[Tensor]) -> list[nn.Module]:
    """Return the block's modules that store, in the order in which they run."""
    order: list[nn.Module] = []
    with ExitStack() as hooks, torch.no_grad():
        for module in block.modules():
            if isinstance(module, StoredLinear | StoredActivation | StoredLayerNorm):
                handle = module.register_forward_pre_hook(lambda module, _: order.append(module))
                hooks.callback(handle.remove)
        run(inputs)
    return order


def _candidates(order: Sequence[nn.Module]) -> Iterable[Unread]:
    linears = [place for place, module in enumerate(order) if isinstance(module, StoredLinear)]
    if not linears:
        return
    last = linears[-1]
    noted = frozenset(module for module in order[last + 1 :] if isinstance(module, StoredLayerNorm))
    if any(order.count(module) > 1 for module in (order[last], *noted)):
        return
    before = order[last - 1] if last else None
    if isinstance(before, StoredActivation) and order.count(before) == 1:
        yield Unread(frozenset((before, order[last])), noted)
    yield Unread(frozenset((order[last],)), noted)


def _is_read(block: nn.Module, run: Run, inputs: Sequence[Tensor], candidate: Unread) -> bool:
    """Tell whether a gradient of any of the block's weights or inputs reads what the candidate leaves out."""
    device = inputs[0].device
    with torch.no_grad(), on_tape(Tape(device, candidate)) as tape:
        run(inputs)
    weights = [p for p in block.parameters() if p.is_floating_point() and not p.requires_grad]
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    marks = _Marks()
    with ExitStack() as stack:
        for weight in weights:  # whatever may train at another step
            stack.callback(weight.requires_grad_(True).requires_grad_, False)
        for module in (*candidate.skipped, *candidate.noted):
            handle = module.register_forward_hook(lambda _, __, output: marks.add(output))
            stack.callback(handle.remove)
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(marks.check, lambda tensor: tensor))
        stack.enter_context(on_tape(Tape.of(device, *tape.apart())))
        stack.enter_context(marks)
        run(leaves)
    return marks.saved


class _Marks(TorchDispatchMode):
    """Marks the memory of what is computed from marked tensors; all of it stays alive meanwhile."""

    _SHAPE_ONLY = (torch.ops.aten.ones_like.default, torch.ops.aten.new_ones.default)

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.saved = False
        self._marked: dict[int, torch.UntypedStorage] = {}

    def add(self, output: Tensor) -> None:
        storage = output.untyped_storage()
        self._marked[storage._cdata] = storage

    def check(self, tensor: Tensor) -> Tensor:
        self.saved = self.saved or self._has(tensor)
        return tensor

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func not in self._SHAPE_ONLY and any(self._has(leaf) for leaf in tree_leaves((args, kwargs))):
            for leaf in tree_leaves(found):
                if isinstance(leaf, Tensor):
                    self.add(leaf)
        return found

    def _has(self, leaf: Any) -> bool:
        return isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata in self._marked
