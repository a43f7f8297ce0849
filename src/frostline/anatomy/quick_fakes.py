"""Fake tensors made quickly: what an operation gives is remembered by the shapes that go in.

torch remembers, too, but by a description of each tensor that takes longer than most operations. Here a tensor is its
shape, strides and dtype, which is all there is to strided tensors of one process, and everything else (values, sparse
layouts, other subclasses, shapes that depend on data) goes torch's way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager
from torch.utils._pytree import tree_leaves, tree_map_only

_PLAIN = (int, float, bool, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format, type(None))
_LOOKS = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.inplace_view})
_OTHER = frozenset({"aten::lift_fresh", "aten::lift", "aten::alias"})
WHERE = torch.ops.prim.device.default
"""The question where a fake tensor lies, which every mode is asked."""

Output = tuple[tuple[int, ...], tuple[int, ...], torch.dtype, torch.device]
Again = Callable[["QuickFakes", Sequence[Any], Mapping[str, Any]], Any]


class _Kind(Enum):
    """What to do with an operation."""

    VIEW = "run, as what comes out shares memory with what goes in"
    REMEMBERED = "run once for the same shapes"
    OTHER = "left to torch"


class _Unknown(Exception):
    """An argument that cannot be described."""


class Uncompiled:
    """A dispatch mode that no compiler looks into, so that torch need not wrap each dispatch."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Tell torch to leave out the wrapper."""
        return False


class QuickFakes(Uncompiled, FakeTensorMode):
    """torch's mode of fake tensors with a memory of its own, which all of them share; see above."""

    _results: ClassVar[dict[Any, Again | None]] = {}

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self._attributes: dict[torch.device, dict[str, Any]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation on fake tensors."""
        named, kind = kwargs or {}, _kind(func)
        if kind is _Kind.OTHER or torch.is_inference_mode_enabled():
            return self.dispatch(func, types, args, named)
        if kind is _Kind.VIEW and self._owns(args[0]):
            with in_kernel_invocation_manager(self):
                view = func(*args, **named)
            if isinstance(view, Tensor):
                return self._fake(view, args[0].fake_device)
            return tree_map_only(Tensor, lambda part: self._fake(part, args[0].fake_device), view)
        try:
            given = self._described((args, tuple(named.items())))
        except _Unknown:
            return self.dispatch(func, types, args, named)
        key = func, torch.get_default_dtype(), given
        if again := self._results.get(key):
            return again(self, args, named)
        made = self.dispatch(func, types, args, named)
        if key not in self._results:
            changed = given != self._described((args, tuple(named.items())))  # `out` may get other strides
            self._results[key] = None if changed else _remembered(made, args, named)
        return made

    def made(self, output: Output) -> Tensor:
        """Return a new fake tensor."""
        shape, strides, dtype, device = output
        return self._fake(torch.empty_strided(shape, strides, dtype=dtype, device="meta"), device)

    def _fake(self, meta: Tensor, device: torch.device) -> Tensor:
        """Return the fake tensor that stands for one on the meta device, as FakeTensor's constructor makes it."""
        if isinstance(meta, FakeTensor):
            return meta
        attributes = self._attributes.get(device)
        if attributes is None:
            first = FakeTensor(self, meta, device)
            self._attributes[device] = dict(first.__dict__)
            return first
        keys: dict[str, Any] = {"dispatch_device": True, "device_for_backend_keys": device}
        fake: Tensor = Tensor._make_subclass(FakeTensor, meta, False, **keys)
        if self._allow_unsafe_data_ptr_access:
            torch._C._set_warn_deprecated_on_mutable_data_ptr(fake)
        else:
            torch._C._set_throw_on_mutable_data_ptr(fake)
        fake.__dict__.update(attributes)
        return fake

    def _owns(self, value: Any) -> bool:
        """Tell whether a value is a strided fake tensor of this mode of which no values are known."""
        if type(value) is not FakeTensor or value.fake_mode is not self or value.constant is not None:
            return False
        return value.layout is torch.strided

    def _described(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Return all of the arguments that a result's shape depends on; _Unknown if that is not known."""
        found: list[Any] = []
        for value in values:
            kind = type(value)
            if kind is FakeTensor and self._owns(value):
                found += (value.shape, value.stride(), value.dtype, value.fake_device)
            elif kind in _PLAIN:
                found += (kind, value)
            elif kind in (list, tuple, torch.Size):
                found.append(self._described(value))
            else:
                raise _Unknown
        return tuple(found)


@cache
def _kind(func: Any) -> _Kind:
    if not isinstance(func, torch._ops.OpOverload) or func.namespace != "aten" or _LOOKS.intersection(func.tags):
        return _Kind.OTHER
    if func._schema.name in _OTHER:
        return _Kind.OTHER
    composed = torch._C.DispatchKey.CompositeImplicitAutograd  # as `to`, which is a view only if nothing changes
    if func is torch.ops.aten._unsafe_view.default or (
        func.is_view and not torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), composed)
    ):
        return _Kind.VIEW
    return _Kind.REMEMBERED


def _remembered(made: Any, args: Sequence[Any], named: Mapping[str, Any]) -> Again | None:
    """Return what gives the same again for arguments of the same kind; None if that cannot be told."""
    if made is None or isinstance(made, Tensor):
        return _tensor(made, args, named)
    if not isinstance(made, list | tuple) or not all(part is None or isinstance(part, Tensor) for part in made):
        return None
    parts = [_tensor(part, args, named) for part in made]
    known = [part for part in parts if part is not None]
    kind = list if isinstance(made, list) else tuple  # a tuple with names is a tuple to whoever dispatched
    return (lambda *given: kind(part(*given) for part in known)) if len(known) == len(parts) else None


def _tensor(made: Tensor | None, args: Sequence[Any], named: Mapping[str, Any]) -> Again | None:
    """Return what gives a tensor again: one of the arguments, or a new one."""
    if made is None:
        return lambda mode, args, named: None
    for place, value in enumerate(args):
        if value is made:
            return lambda mode, args, named: args[place]
    for name, value in named.items():
        if value is made:
            return lambda mode, args, named: named[name]
    output = _output(made, (*args, *named.values()))
    return None if output is None else lambda mode, args, named: mode.made(output)


def _output(made: Tensor, args: Sequence[Any]) -> Output | None:
    """Return what a tensor is, if it is new, strided and fills its storage; else None."""
    if type(made) is not FakeTensor or made.layout is not torch.strided or made.constant is not None:
        return None
    own = made.untyped_storage()
    others = [leaf.untyped_storage()._cdata for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
    if made.storage_offset() or own._cdata in others:
        return None
    shape, strides = tuple(made.shape), made.stride()
    extent = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) if made.numel() else 0
    return (shape, strides, made.dtype, made.fake_device) if own.nbytes() == extent * made.element_size() else None
