"""Which of a block's modules need not run a second time, because no gradient reads what they give out.

A gradient reads values only where an operation saves them. Behind a block's last Linear come dropout and an addition,
which save a mask and nothing, and in post-norm blocks a norm, which saves its normalised input; when the first run
notes that one, the Linear's values go nowhere. Neither do those of the activation before it, as the Linear takes its
input from what the activation keeps.

This is found out and not assumed: a trial run on fake tensors marks whatever is computed from those values, and if
autograd is handed a marked tensor to save, they are read. Blocks that are alike are tried once.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from frostline.storage.operations.activation import StoredActivation
from frostline.storage.operations.linear import StoredConv1D, StoredLinear
from frostline.storage.operations.norm import StoredLayerNorm
from frostline.storage.tape import Tape, Unread, on_tape

Names = tuple[frozenset[str], frozenset[str]]
Trials = dict[tuple[Any, ...], Names]
"""Of each kind of block that was tried: the names, within the block, of what is skipped and what is noted."""


def find_unread(block: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], trials: Trials) -> Unread:
    """Return what a second run of the block may leave out; nothing, where the trial fails.

    Args:
        block: with storage on its modules.
        args, kwargs: what it is called with.
        trials: of blocks before it; this one's is added.
    """
    named = dict(block.named_modules())
    kind = tuple((name, type(module), repr(vars(module).get("_storage"))) for name, module in named.items())
    if kind not in trials:
        names = {module: name for name, module in named.items()}
        found = _Trial(block, args, kwargs).unread()
        trials[kind] = frozenset(names[m] for m in found.skipped), frozenset(names[m] for m in found.noted)
    skipped, noted = trials[kind]
    return Unread(frozenset(named[name] for name in skipped), frozenset(named[name] for name in noted))


class _Trial:
    """Runs of a block on fake tensors: no memory, no arithmetic, no random numbers."""

    def __init__(self, block: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._block, self._inputs = block, (tuple(args), dict(kwargs))
        leaves = [leaf for leaf in tree_leaves(self._inputs) if isinstance(leaf, Tensor)]
        self._device = next(leaf.device for leaf in leaves if leaf.is_floating_point())

    def unread(self) -> Unread:
        try:
            with self._unseen(), FakeTensorMode(allow_non_fake_inputs=True), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
                for candidate in _candidates(self._order()):
                    if not self._is_read(candidate):
                        return candidate
        except Exception:  # what cannot run on fake tensors cannot be told; it then runs whole a second time
            return Unread()
        return Unread()

    @contextmanager
    def _unseen(self) -> Iterator[None]:
        """Run the block without anybody's hooks and modes: they are meant for runs that count."""
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        modules = list(self._block.modules())
        hooks = [{kind: vars(module)[kind] for kind in kinds} for module in modules]
        for module in modules:
            vars(module).update({kind: OrderedDict() for kind in kinds})
        vars(self._block)["_on_trial"] = True
        try:
            with _disable_current_modes(), torch._C.DisableTorchFunction():
                yield
        finally:
            del vars(self._block)["_on_trial"]
            for module, own in zip(modules, hooks, strict=True):
                vars(module).update(own)

    def _order(self) -> list[nn.Module]:
        """Return the block's modules that store, in the order in which they run."""
        order: list[nn.Module] = []
        with ExitStack() as hooks, torch.no_grad():
            for module in self._block.modules():
                if isinstance(module, StoredLinear | StoredConv1D | StoredActivation | StoredLayerNorm):
                    handle = module.register_forward_pre_hook(lambda module, _: order.append(module))
                    hooks.callback(handle.remove)
            self._run()
        return order

    def _is_read(self, candidate: Unread) -> bool:
        """Tell whether a gradient of any of the block's weights or inputs reads what the candidate leaves out."""
        with torch.no_grad(), on_tape(Tape(self._device, candidate)) as tape:
            self._run()
        marks = _Marks()
        with ExitStack() as stack:
            for module in (*candidate.skipped, *candidate.noted):
                handle = module.register_forward_hook(lambda _, __, output: marks.add(output))
                stack.callback(handle.remove)
            stack.enter_context(torch.enable_grad())
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(marks.check, lambda tensor: tensor))
            stack.enter_context(on_tape(Tape.of(self._device, *tape.apart())))
            stack.enter_context(marks)
            self._run()
        return marks.saved

    def _run(self) -> None:
        """Run the block with all of its weights and inputs trainable: whatever may train at another step."""
        # Each place that holds a tensor has its turn once, under one name, or it would get a fake one back in the end.
        fakes: dict[Tensor, Tensor] = {}
        state: dict[str, Tensor] = {}
        for prefix, module in self._block.named_modules():
            for name, held in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                state[f"{prefix}.{name}" if prefix else name] = fakes.setdefault(held, self._fake(held, True))
        args, kwargs = tree_map(lambda leaf: self._fake(leaf, True), self._inputs)
        functional_call(self._block, state, args, kwargs, tie_weights=False)

    def _fake(self, value: Any, trains: bool) -> Any:
        if not isinstance(value, Tensor):
            return value
        fake = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)
        return fake.requires_grad_(trains and value.is_floating_point())


def _candidates(order: Sequence[nn.Module]) -> Iterable[Unread]:
    linears = [place for place, module in enumerate(order) if isinstance(module, StoredLinear | StoredConv1D)]
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


class _Marks(TorchDispatchMode):
    """Marks the memory of what is computed from marked tensors; all of it stays alive meanwhile."""

    _SHAPE_ONLY = (torch.ops.aten.ones_like.default, torch.ops.aten.new_ones.default)

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.saved = False
        self._marked: dict[int, torch.UntypedStorage] = {}

    def add(self, output: Tensor) -> None:
        storage = output.untyped_storage()
        self._marked[storage._cdata] = storage

    def check(self, tensor: Tensor) -> Tensor:
        self.saved = self.saved or self._has(tensor)
        return tensor

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func not in self._SHAPE_ONLY and any(self._has(leaf) for leaf in tree_leaves((args, kwargs))):
            for leaf in tree_leaves(found):
                if isinstance(leaf, Tensor):
                    self.add(leaf)
        return found

    def _has(self, leaf: Any) -> bool:
        return isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata in self._marked
