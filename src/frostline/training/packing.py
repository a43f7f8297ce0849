"""Nested Python values as JSON and a flat dictionary of tensors, and back to the bit: a pickle's work without one.

A tensor of a class of its own (the codes and scales of an 8-bit moment) is packed as the tensors it is made of and the
name of its class. Only a class is made again that torch's own safe loading has on its list
(`torch.serialization.add_safe_globals`), where a library puts its classes when it is imported.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from frostline.errors import CheckpointError


def pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return `value` as JSON values, its tensors put under names that start with `name` into `tensors`.

    Args:
        value: numbers, text, None, dtypes, tensors, and lists, tuples and dictionaries of them.
        name: where it stands.
        tensors: is added to; copies, in CPU memory.
    """
    if isinstance(value, Tensor):
        if is_traceable_wrapper_subclass(value):
            parts, rest = value.__tensor_flatten__()
            made_of = {part: getattr(value, part) for part in parts}
            size, stride = list(value.size()), list(value.stride())
            return {"made": [_name(type(value)), pack(made_of, name, tensors), pack(rest, name, tensors), size, stride]}
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, pack(entry, f"{name}.{key}", tensors)] for key, entry in value.items()]}
    if isinstance(value, list | tuple):
        entries = [pack(entry, f"{name}.{index}", tensors) for index, entry in enumerate(value)]
        return entries if isinstance(value, list) else {"tuple": entries}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    return value


def unpack(packed: Any, tensors: dict[str, Tensor]) -> Any:
    """Return the value that `pack` packed; CheckpointError for a class of tensor that nothing here declares safe."""
    if isinstance(packed, list):
        return [unpack(entry, tensors) for entry in packed]
    if not isinstance(packed, dict):
        return packed
    ((kind, content),) = packed.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: unpack(entry, tensors) for key, entry in content}
    if kind == "tuple":
        return tuple(unpack(entry, tensors) for entry in content)
    if kind == "dtype":
        return getattr(torch, content)
    name, made_of, rest, size, stride = content
    made: Any = _safe_class(name)
    return made.__tensor_unflatten__(unpack(made_of, tensors), unpack(rest, tensors), torch.Size(size), tuple(stride))


def _name(cls: Any) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _safe_class(name: str) -> Any:
    for safe in torch.serialization.get_safe_globals():
        if isinstance(safe, type) and issubclass(safe, Tensor) and _name(safe) == name:
            return safe
    raise CheckpointError(
        f"the checkpoint holds tensors of the class {name!r}, which is not here or not declared safe to load; install "
        "the package that the run was started with."
    )
