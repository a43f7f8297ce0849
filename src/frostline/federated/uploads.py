"""How a reply travels: the weights as they are, or in few bits how far each has moved.

A device sends the way from the weights that it was given, group by group in integers whose rounding is unbiased, so
what is lost averages out over devices (QSGD, arXiv 1610.02132, does so with gradients). The codecs are those by which
activations wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch._subclasses.fake_tensor import FakeTensorMode

from frostline.federated.merging import Arrays
from frostline.storage import codecs
from frostline.storage.codecs import Code, Layout

Upload = Literal["exact", "int8", "int4"]

HEADER = 128
"""Bytes of NumPy's format, in which Flower sends an array, besides its values."""

_CODECS = {"int8": "int8_stochastic", "int4": "int4_stochastic"}


def packed(arrays: Arrays, base: Arrays, how: Upload) -> dict[str, NDArray[Any]]:
    """Return what is sent of the arrays that a device has trained: themselves, or bytes.

    Args:
        arrays: what has trained, by name.
        base: what the device started from.
        how: `exact`, or the integers in which each tensor's way travels.
    """
    if how == "exact":
        return dict(arrays)
    codec = codecs.get(_CODECS[how])
    ways = {name: torch.from_numpy(np.asarray(value - base[name])) for name, value in arrays.items()}
    return {name: _joined(codec.encode(way)) for name, way in ways.items()}


def unpacked(sent: Arrays, base: Arrays, how: Upload) -> dict[str, NDArray[Any]]:
    """Return the arrays that a device has trained, NaN where a way that was not finite was sent.

    Args:
        sent: as `packed` gives it, of the shapes and dtypes of `template`.
        base, how: as for `packed`.
    """
    if how == "exact":
        return dict(sent)
    codec, found = codecs.get(_CODECS[how]), {}
    for name, value in base.items():
        layout = Layout.of(torch.from_numpy(np.asarray(value)))
        code = _split(sent[name], _form(how, value.shape))
        way = codec.decode(code, layout).numpy() if codec.finite(code) else np.float32(np.nan)
        found[name] = np.asarray(value + way)
    return found


def template(base: Arrays, how: Upload) -> dict[str, NDArray[Any]]:
    """Return arrays of the names, shapes and dtypes of what is sent; their values say nothing."""
    if how == "exact":
        return dict(base)
    sizes = {name: sum(part.nbytes for part in _form(how, value.shape)) for name, value in base.items()}
    return {name: np.empty(count, np.uint8) for name, count in sizes.items()}


def size(shapes: Mapping[str, tuple[int, ...]], how: Upload) -> int:
    """Return the bytes of what is sent of float32 tensors, the header of each included."""
    if how == "exact":
        values = sum(4 * int(np.prod(shape)) for shape in shapes.values())
    else:
        values = sum(codecs.get(_CODECS[how]).size(shape, torch.float32) for shape in shapes.values())
    return values + HEADER * len(shapes)


@cache
def _form(how: Upload, shape: tuple[int, ...]) -> Code:
    """Return the parts of the code of a float32 tensor, without their values."""
    with FakeTensorMode():
        return codecs.get(_CODECS[how]).encode(torch.empty(shape))


def _joined(code: Code) -> NDArray[Any]:
    """Return the bytes of a code, one part behind the other."""
    array: NDArray[Any] = torch.cat([part.contiguous().view(torch.uint8) for part in code]).numpy()
    return array


def _split(sent: NDArray[Any], like: Code) -> Code:
    """Return the code of which `_joined` gave these bytes, its parts as long and of the dtypes of another's."""
    parts = torch.from_numpy(sent).split([part.nbytes for part in like])
    return tuple(part.clone().view(other.dtype) for part, other in zip(parts, like, strict=True))
