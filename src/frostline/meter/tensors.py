"""Bytes of live tensors, by what they are for, followed operation by operation."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from frostline.anatomy.accounting import unbound
from frostline.anatomy.quick_fakes import WHERE, Uncompiled

CATEGORIES = ("weights", "gradients", "optimizer", "saved", "other")


class TensorTracker(Uncompiled, TorchDispatchMode):
    """Counts the bytes of live tensors while it is entered, each storage once, and keeps the peak.

    What an operation allocates and frees inside itself is not seen, nor what lies outside of tensors. Every operation
    passes through Python, so a step takes several times as long: never time one under this tracker.

    Args:
        model: whose weights, gradients and saved activations are told apart.
        device_type: count tensors on this kind of device only, `cpu` or `cuda`.

    Attributes:
        live: bytes now, by category: `weights` (parameters and buffers), `gradients`, `optimizer` (its state), `saved`
            (activations kept for backward), `other` (everything else).
        peak: `live` at the moment when its sum was highest.
        saved_peak: most bytes of saved activations at any moment.
    """

    def __init__(self, model: nn.Module, device_type: str = "cpu") -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.live = dict.fromkeys(CATEGORIES, 0)
        self.peak = dict(self.live)
        self.saved_peak = 0
        self._model = model
        self._device_type = device_type
        # Of each live storage, by the address of its implementation: bytes, category, and the guard of its end.
        self._storages: dict[int, tuple[int, str, weakref.ref[torch.UntypedStorage]]] = {}
        self._hooked = WeakTensorKeyDictionary()
        self._stack = ExitStack()

    @property
    def peak_bytes(self) -> int:
        """The highest sum over all categories."""
        return sum(self.peak.values())

    def reset(self) -> None:
        """Forget the peaks so far."""
        self.peak, self.saved_peak = dict(self.live), self.live["saved"]

    def mark(self, category: str, tensors: Iterable[Tensor]) -> None:
        """Count these tensors' storages under `category` from now on."""
        for tensor in tensors:
            self._count(tensor, category)

    def mark_optimizer(self, optimizer: Optimizer) -> None:
        """Count the optimizer's state as such; call it after the optimizer's step."""
        self.mark("optimizer", (leaf for leaf in tree_leaves(dict(optimizer.state)) if isinstance(leaf, Tensor)))

    def __enter__(self) -> TensorTracker:
        """Start to follow."""
        self._stack.enter_context(torch.autograd.graph.saved_tensors_hooks(self._pack, _unpack))
        hook = self._model.register_forward_pre_hook(lambda *_: self._mark_model())
        self._stack.callback(hook.remove)
        self._mark_model()
        super().__enter__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return self

    def __exit__(self, *details: Any) -> None:
        """Stop to follow."""
        super().__exit__(*details)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._stack.close()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation and count what it made."""
        if func is WHERE:
            return args[0].device
        result = func(*args, **(kwargs or {}))
        for leaf in (result,) if isinstance(result, Tensor) else tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf, None)
        return result

    def _mark_model(self) -> None:
        """Find the weights anew, since a method may replace some, and see to it that their gradients are known."""
        parameters = list(self._model.parameters())
        self.mark("weights", (*parameters, *self._model.buffers()))
        self.mark("gradients", (p.grad for p in parameters if p.grad is not None))
        for parameter in parameters:
            if parameter.requires_grad and parameter not in self._hooked:
                self._hooked[parameter] = True
                self._stack.callback(parameter.register_post_accumulate_grad_hook(self._mark_gradient).remove)

    def _mark_gradient(self, parameter: Tensor) -> None:
        if parameter.grad is not None:
            self._count(parameter.grad, "gradients")

    def _pack(self, tensor: Tensor) -> Tensor:
        known = self._entry(tensor)
        if known is None or known[1] == "other":
            self._count(tensor, "saved")
        return unbound(tensor)

    def _entry(self, tensor: Tensor) -> tuple[int, str, weakref.ref[torch.UntypedStorage]] | None:
        try:
            return self._storages.get(tensor.untyped_storage()._cdata)
        except NotImplementedError:  # a wrapper tensor has no storage of its own
            return None

    def _count(self, tensor: Tensor, category: str | None) -> None:
        if tensor.device.type != self._device_type:
            return
        try:
            storage = tensor.untyped_storage()
        except NotImplementedError:  # a wrapper tensor, as above
            return
        key, size = storage._cdata, storage.nbytes()
        known = self._storages.get(key)
        if known is not None:
            before, old, guard = known
            if (category in (None, old)) and before == size:
                return
            self.live[old] -= before
            category = category or old
        else:
            guard = weakref.ref(storage, lambda _: self._forget(key))
            category = category or "other"
        self._storages[key] = size, category, guard
        self.live[category] += size
        self.saved_peak = max(self.saved_peak, self.live["saved"])
        if sum(self.live.values()) > self.peak_bytes:
            self.peak = dict(self.live)

    def _forget(self, key: int) -> None:
        size, category, _ = self._storages.pop(key)
        self.live[category] -= size


def _unpack(tensor: Tensor) -> Tensor:
    return tensor
