"""Who keeps what: follows one forward pass, on fake tensors or real ones, and notes what autograd saves for whom."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from frostline.anatomy.blocks import block_stacks
from frostline.anatomy.inventory import Site
from frostline.anatomy.operations import function_name, operation_name, running_function
from frostline.anatomy.values import Region
from frostline.errors import UnsupportedModel

Place = tuple[str, str, int]
"""Module, operation, and which of the module's calls of it."""


@dataclass(eq=False, slots=True)
class Saved:
    """A storage that waits for the backward pass.

    Attributes:
        bytes: its size.
        owner: the first site that kept it.
        alive: whether it still waits.
    """

    bytes: int
    owner: Place
    alive: bool = True


@dataclass(slots=True)
class Visit:
    """What one site saved: the storages, each with shape and dtype of the tensor, and where the site lies."""

    region: Region
    block: int | None
    saved: list[tuple[Saved, tuple[Any, ...]]] = field(default_factory=list)


class Accounting(TorchFunctionMode):
    """Notes, while it is entered, which storages autograd saves, and which operation of which module first.

    Args:
        model: whose modules and blocks tell the places.
        own: weights and buffers; what lies in their storages is no activation.
        device_type: count what waits on this kind of device only, so that what is offloaded does not count.

    Attributes:
        visits: of each site, in forward order, what it saved.
        region: where the forward pass is now; `head` after the last block of a stack, until another stack runs.
        inside: whether a block runs.

    Raises:
        UnsupportedModel: the model has no blocks, or runs them more than once.
    """

    def __init__(self, model: nn.Module, own: Iterable[Tensor], device_type: str) -> None:
        super().__init__()
        self.visits: dict[Place, Visit] = {}
        self.region: Region = "embeddings"
        self.device_type = device_type
        self._model = model
        self._own = {tensor.untyped_storage()._cdata for tensor in own}
        self._live: dict[int, tuple[Saved, weakref.ref[torch.UntypedStorage]]] = {}  # by the storage's address
        self.inside = False
        self._lasts = {name: stack[-1] for stack in block_stacks(model) for name in stack}  # of its stack
        self._entered: list[str] = []  # blocks, in forward order
        self._block: int | None = None
        self._modules = [""]
        self._operation: str | None = None
        self._calls: Counter[tuple[str, str]] = Counter()
        self._clock = 0  # operations so far: two nodes of one Function have operations between them
        self._node: tuple[str, type, int] | None = None
        self._packing = False
        self._stack = ExitStack()

    def __enter__(self) -> Accounting:
        """Start to follow."""
        for name, module in self._model.named_modules():
            self._stack.callback(module.register_forward_pre_hook(self._entering(name)).remove)
            self._stack.callback(module.register_forward_hook(self._leaving(name), always_call=True).remove)
        self._stack.enter_context(torch.autograd.graph.saved_tensors_hooks(self._pack, _unpack))
        super().__enter__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return self

    def __exit__(self, *details: Any) -> None:
        """Stop to follow; what is still kept now counts."""
        super().__exit__(*details)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._stack.close()
        self.visits = {
            place: Visit(visit.region, visit.block, [(saved, shape) for saved, shape in visit.saved if saved.alive])
            for place, visit in self.visits.items()
        }
        self._live.clear()  # and with it the guards: what dies from now on has been kept
        if details == (None, None, None):
            self._require_one_pass()

    def _require_one_pass(self) -> None:
        for block in self._entered:
            if self._entered.count(block) > 1:
                raise UnsupportedModel(
                    f"{type(self._model).__name__}: block {block!r} ran twice, with others between; understood is one "
                    "forward pass."
                )

    def sites(self) -> list[Site]:
        """Return what is kept, by site, in forward order."""
        found = []
        sharers: dict[Place, dict[str, None]] = {}
        for place, visit in self.visits.items():
            for saved, _ in visit.saved:
                if saved.owner != place:
                    sharers.setdefault(saved.owner, {})[place[0]] = None
        for place, visit in self.visits.items():
            storages = {saved: None for saved, _ in visit.saved}  # a site may keep two views of one storage
            own = sum(saved.bytes for saved in storages if saved.owner == place)
            shared = sum(saved.bytes for saved in storages if saved.owner != place)
            if storages:
                found.append(Site(*place, visit.region, visit.block, own, shared, None, tuple(sharers.get(place, ()))))
        return found

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation and remember, while it runs, that it is the one."""
        if self._packing:  # our own questions to a tensor
            return func(*args, **(kwargs or {}))
        outer, self._operation = self._operation, operation_name(func)
        self._count(self._operation)
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self._operation = outer

    def _count(self, operation: str) -> None:
        self._clock += 1
        self._calls[self._modules[-1], operation] += 1

    def _entering(self, name: str) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            self._modules.append(name)
            if name in self._lasts:
                self._enter_block(name)

        return enter

    def _enter_block(self, name: str) -> None:
        if self.region == "head":  # it was not: what ran since the last block counts to that one
            for visit in self.visits.values():
                if visit.region == "head":
                    visit.region, visit.block = "blocks", len(self._entered) - 1
        if self._entered[-1:] != [name]:  # else it is shared, and runs again
            self._entered.append(name)
        self.region, self._block, self.inside = "blocks", len(self._entered) - 1, True

    def _leaving(self, name: str) -> Callable[..., None]:
        def leave(*_: Any) -> None:
            self._modules.pop()
            if name in self._lasts:
                self.inside = False
                if self._lasts[name] == name:  # what runs between two blocks counts to the first of them
                    self.region, self._block = "head", None

        return leave

    def _pack(self, tensor: Tensor) -> Tensor:
        self._packing = True
        try:
            if tensor.device.type == self.device_type:
                storage = tensor.untyped_storage()
                if storage._cdata not in self._own:
                    self._note(storage, (tuple(tensor.shape), tensor.dtype, storage.nbytes()))
        except NotImplementedError:  # a wrapper tensor has no storage of its own; those inside it are saved as well
            return tensor
        else:
            return unbound(tensor)
        finally:
            self._packing = False

    def _note(self, storage: torch.UntypedStorage, shape: tuple[Any, ...]) -> None:
        place = self._place()
        key = storage._cdata
        if key not in self._live:
            saved = Saved(storage.nbytes(), place)
            self._live[key] = saved, weakref.ref(storage, lambda _: self._forget(key))
        visit = self.visits.setdefault(place, Visit(self.region, self._block))
        visit.saved.append((self._live[key][0], shape))

    def _forget(self, key: int) -> None:
        saved, _ = self._live.pop(key)
        saved.alive = False

    def _place(self) -> Place:
        module = self._modules[-1]
        operation = self._operation
        if operation is None:  # an autograd Function: it saves after its forward function, outside any operation
            cls = running_function()
            operation = "unknown" if cls is None else function_name(cls)
            if cls is not None and self._node != (module, cls, self._clock):
                self._count(operation)
                self._node = module, cls, self._clock
        return module, operation, max(0, self._calls[module, operation] - 1)


def unbound(tensor: Tensor) -> Tensor:
    """Return a saved tensor without its graph: an output that its own node holds would never die without backward."""
    return tensor if tensor.grad_fn is None else tensor.detach()


def _unpack(tensor: Tensor) -> Tensor:
    return tensor
