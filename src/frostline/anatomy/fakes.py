"""Fake tensors, which have shapes and no values, except where what the tokens say decides a shape.

Classifiers of an encoder and a decoder (T5, BART) look for the token that ends a text and read what lies there. So the
values of a batch's whole numbers are known, of constants, and of whatever is computed from these alone, while it has no
more than two dimensions: texts and tokens. Operations whose result has a shape that depends on such values run on fake
tensors then. All else is without values, and an operation that asks for them raises.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from frostline.anatomy.quick_fakes import WHERE, QuickFakes

_MOST_DIMENSIONS, _MOST_VALUES = 2, 2**22
_BY_VALUE = frozenset({torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output})
_CONSTANT = frozenset({"ones", "zeros", "full", "arange"})
_UNDETERMINED = frozenset({"empty_like", "new_empty", "new_empty_strided"})
_INDEXING = frozenset({"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"})


class Fakes(QuickFakes):
    """Follows the values of whole numbers beside the fake tensors that stand for them. Made by `fakes`."""

    def __init__(self) -> None:
        super().__init__()
        self._values = WeakTensorKeyDictionary()

    def like(self, value: Any, device: torch.device) -> Any:
        """Return a fake tensor of a tensor's shape, strides and dtype; what is no tensor comes back as it is."""
        if not isinstance(value, Tensor):
            return value
        fake = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device)
        if _is_whole(value):
            with _disable_current_modes():
                self._values[fake] = value.detach().to("cpu", copy=True)  # the pass may write into it
        return fake

    def knows(self, tensor: Tensor) -> bool:
        """Tell whether a tensor's values are known: a fake one's that follow, or a number's or tokens' that is none."""
        if isinstance(tensor, FakeTensor):
            return tensor.dim() <= _MOST_DIMENSIONS and tensor in self._values
        return (tensor.dim() == 0 and not tensor.is_meta) or _is_whole(tensor)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation on fake tensors, and on values where all that it reads has some."""
        if func is WHERE:
            return args[0].device
        args, named = tuple(args), dict(kwargs or {})
        tensors = list(_tensors((*args, *named.values())))
        if not tensors:
            made = self._fake_only(func, args, named)
            return self._with_values(func, args, named, made) if _name(func) in _CONSTANT and _is_small(made) else made
        known = [self.knows(tensor) for tensor in tensors]
        if not any(known):
            return self._fake_only(func, args, named)
        written = _written(func, args)
        if all(known) and _determined(func) and all(tensor in self._values for tensor in written):
            return self._with_values(func, args, named)
        for tensor in written:
            self._forget(tensor)
        if _name(func) in _INDEXING:
            args = (args[0], [place for index in args[1] for place in self._places(index)], *args[2:])
        return self._fake_only(func, args, named)

    def _fake_only(self, func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return super().__torch_dispatch__(func, (), args, named)

    def _with_values(self, func: Any, args: tuple[Any, ...], named: dict[str, Any], fake: Any = None) -> Any:
        own, own_named = tree_map_only(torch.device, lambda _: torch.device("cpu"), self._read((args, named)))
        with _disable_current_modes():
            found = func(*own, **own_named)
        if _BY_VALUE.intersection(func.tags):
            device = next(leaf.device for leaf in tree_leaves((args, named)) if isinstance(leaf, Tensor))
            return tree_map(lambda leaf: self.like(leaf, device), found)
        fake = self._fake_only(func, args, named) if fake is None else fake
        for made, value in zip(tree_leaves(fake), tree_leaves(found), strict=True):
            if isinstance(made, Tensor) and _is_small(value):
                self._values[made] = value
        return fake

    def _read(self, values: Any) -> Any:
        return tree_map(lambda leaf: self._values.get(leaf, leaf) if isinstance(leaf, Tensor) else leaf, values)

    def _forget(self, written: Tensor) -> None:
        """Know nothing any more of a tensor into which unknown values are written, nor of its views."""
        storage = written.untyped_storage()._cdata
        for fake in [fake for fake in self._values if fake.untyped_storage()._cdata == storage]:
            del self._values[fake]

    def _places(self, index: Any) -> list[Any]:
        """Return the places at which a known mask is true, a tensor for each of its dimensions; else the index."""
        if not isinstance(index, Tensor) or index.dtype is not torch.bool or not self.knows(index):
            return [index]
        with _disable_current_modes():
            places = self._values[index].nonzero().unbind(1)
        return [self.like(place, index.device) for place in places]


@contextmanager
def fakes() -> Iterator[Fakes]:
    """Make every new tensor a fake one, and give what makes those that stand for a batch."""
    with Fakes() as known, ExitStack() as stack:
        log = logging.getLogger("torch._subclasses.fake_tensor")  # prints what it raises, traceback and all
        stack.callback(log.setLevel, log.level)
        log.setLevel(logging.CRITICAL)
        transformers = sys.modules.get("transformers.utils.import_utils")
        if transformers is not None:  # it asks whether a mask is fake before it looks whether that masks anything
            is_fake = transformers.is_fake_tensor
            own = patch.object(
                transformers, "is_fake_tensor", lambda tensor: is_fake(tensor) and not known.knows(tensor)
            )
            stack.enter_context(own)
        yield known


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the tensors among an operation's arguments, also those in lists: a general tree takes much longer."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _is_whole(value: Tensor) -> bool:
    """Tell whether a tensor that is no fake holds whole numbers, or what is true, of texts and tokens."""
    has_values = not value.is_meta and not isinstance(value, FakeTensor)
    return has_values and not value.is_floating_point() and not value.is_complex() and _is_small(value)


def _written(func: Any, args: tuple[Any, ...]) -> list[Tensor]:
    """Return the tensors that an operation writes into."""
    found = zip(_schema(func).arguments, args, strict=False)
    return [arg for slot, arg in found if isinstance(arg, Tensor) and slot.alias_info and slot.alias_info.is_write]


def _is_small(value: Tensor) -> bool:
    """Tell whether its values may be held: of texts and tokens at most."""
    return value.dim() <= _MOST_DIMENSIONS and value.numel() <= _MOST_VALUES


def _determined(func: Any) -> bool:
    """Tell whether the values that go in decide those that come out."""
    return torch.Tag.nondeterministic_seeded not in func.tags and _name(func) not in _UNDETERMINED


def _name(func: Any) -> str:
    return str(_schema(func).name).rpartition("::")[2]


def _schema(func: Any) -> Any:
    return func._schema
