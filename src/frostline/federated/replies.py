"""What a device sent, checked before it comes near the model: a bad value never reaches the average."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from frostline.federated.merging import Arrays
from frostline.federated.telling import brief
from frostline.federated.uploads import Upload, template, unpacked

_HEADER = 4096
"""More bytes than a serialised array has besides its values."""


class Rejected(Exception):
    """A reply that is left out.

    Attributes:
        reason: one word, by which they are counted: error, keys, unreadable, dtype, shape, nonfinite, norm, examples.
        detail: names the tensor and the value.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {brief(detail)}")
        self.reason, self.detail = reason, brief(detail)


def checked(
    record: ArrayRecord, base: Arrays, *, upload: Upload = "exact", norm_bound: float = math.inf
) -> dict[str, NDArray[Any]]:
    """Return the arrays of a reply.

    Args:
        record: as it came.
        base: what the device started from, of the tensors that it was to train.
        upload: how it was to send them.
        norm_bound: the most that its weights may have moved together, to their own norm before.

    Raises:
        Rejected: tensors missing or too many, not to be read, of another dtype or shape, not finite, moved too far.
    """
    asked = template(base, upload)
    if set(record) != set(asked):
        more, fewer = sorted(set(record) - set(asked)), sorted(set(asked) - set(record))
        raise Rejected("keys", f"{len(more)} too many {more[:1]}, {len(fewer)} missing {fewer[:1]}")
    found = unpacked({name: _array(name, record, like) for name, like in asked.items()}, base, upload)
    for name, array in found.items():
        if not np.isfinite(array).all():
            raise Rejected("nonfinite", f"{name} has {int((~np.isfinite(array)).sum())} values that are not finite")
    moved = math.sqrt(sum(_square(array - base[name]) for name, array in found.items()))
    size = math.sqrt(sum(_square(base[name]) for name in found))
    if not moved <= norm_bound * size:
        raise Rejected(
            "norm", f"the weights moved by {moved:.3g}, {norm_bound:g} times their norm of {size:.3g} at most"
        )
    return found


def _array(name: str, record: ArrayRecord, like: NDArray[Any]) -> NDArray[Any]:
    stored = record[name]
    if len(stored.data) > like.nbytes + _HEADER:  # before it is unpacked: it could be of any size
        raise Rejected("shape", f"{name} has {len(stored.data):,} bytes, {like.nbytes:,} are right")
    try:
        array = stored.numpy()
    except Exception as error:  # a broken array can fail in a dozen ways; each is the device's fault
        raise Rejected("unreadable", f"{name}: {type(error).__name__}: {error}") from error
    if not isinstance(array, np.ndarray):  # an archive of several, which NumPy reads as well
        raise Rejected("unreadable", f"{name} is no array")
    if array.dtype != like.dtype:
        raise Rejected("dtype", f"{name} is {array.dtype}, {like.dtype} is right")
    if array.shape != like.shape:
        raise Rejected("shape", f"{name} has {array.shape}, {like.shape} is right")
    return array


def _square(array: NDArray[Any]) -> float:
    return float(np.square(array, dtype=np.float64).sum())
