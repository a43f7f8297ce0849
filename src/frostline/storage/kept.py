"""A tensor that waits for backward: what is saved in its place, how its values come back, and who may share it.

Two operations that keep the same tensor keep it once: the first leaves an offer on it, and the next takes the offer
if it is as precise as its own choice. So query, key and value share their input; and a LayerNorm, which keeps its
normalised input, offers its output (normalised times weight plus bias) to the Linear that comes next, which then
keeps nothing of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from frostline.errors import StorageError
from frostline.storage.codecs.base import Codec, Layout
from frostline.storage.codecs.exact import Exact
from frostline.storage.finite import note_finite

_OFFER = "_frostline_offer"


@dataclass(frozen=True, slots=True)
class Kept:
    """What an operation saves in place of a tensor.

    Attributes:
        tensors: for `ctx.save_for_backward`, so that autograd, hooks and meters see them.
        restore: gives the values back from `tensors`; holds no tensor itself.
        bits: for each value, by which a consumer judges whether it may take the offer.
        dtype: of the values that come back.
    """

    tensors: tuple[Tensor, ...]
    restore: Callable[[Sequence[Tensor]], Tensor]
    bits: float
    dtype: torch.dtype

    def to(self, dtype: torch.dtype) -> Kept:
        """Return the same with the values cast as they come back."""
        return Kept(self.tensors, partial(_cast, self.restore, dtype), self.bits, dtype)

    def then(self, function: Callable[..., Tensor], *weights: Tensor) -> Kept:
        """Return what gives `function(values, *weights)`, recomputed from this one; `weights` are saved along."""
        return Kept(
            (*self.tensors, *(w.detach() for w in weights)),
            partial(_recompute, self.restore, len(self.tensors), function),
            self.bits,
            self.dtype,
        )


def keep(tensor: Tensor, codec: Codec, site: str) -> Kept:
    """Encode a tensor.

    Args:
        tensor: of any shape.
        codec: how it waits.
        site: who keeps it, for the message.

    Raises:
        StorageError: the codec cannot keep such a tensor, or it holds an infinite value or NaN; names the site.
    """
    try:
        code = codec.encode(tensor.detach())
    except StorageError as error:
        raise StorageError(f"{site}: {error}") from error
    if not isinstance(codec, Exact):
        note_finite(codec.finite(code), codec.name, site)
    return Kept(code, partial(codec.decode, layout=Layout.of(tensor)), _bits(codec, tensor.dtype), tensor.dtype)


def keep_shared(tensor: Tensor, codec: Codec, site: str, dtype: torch.dtype | None = None) -> Kept:
    """Take the offer that lies on `tensor` if it is precise enough, else encode it and leave an offer.

    Args:
        tensor: of any shape.
        codec: how it waits.
        site: who keeps it, for the message.
        dtype: of the values that come back, if not the tensor's own: autocast's.
    """
    dtype = dtype or tensor.dtype
    kept = offered(tensor, codec, dtype)
    if kept is None:
        kept = keep(tensor.to(dtype), codec, site)
        offer_kept(tensor, kept)
    return kept


def offered(tensor: Tensor, codec: Codec, dtype: torch.dtype) -> Kept | None:
    """Return the offer that lies on `tensor` if it is as precise as `codec` in that dtype."""
    version, kept = getattr(tensor, _OFFER, (-1, None))
    if kept is None or version != tensor._version or kept.bits < _bits(codec, dtype):
        return None
    found: Kept = kept
    return found if found.dtype == dtype else found.to(dtype)


def offer_kept(tensor: Tensor, kept: Kept) -> None:
    """Leave word on `tensor` that `kept` gives its values; a change in place makes it void."""
    setattr(tensor, _OFFER, (tensor._version, kept))


def _bits(codec: Codec, dtype: torch.dtype) -> float:
    return min(codec.bits, 8 * dtype.itemsize)


def _recompute(
    restore: Callable[[Sequence[Tensor]], Tensor], count: int, function: Callable[..., Tensor], saved: Sequence[Tensor]
) -> Tensor:
    return function(restore(saved[:count]), *saved[count:])


def _cast(restore: Callable[[Sequence[Tensor]], Tensor], dtype: torch.dtype, saved: Sequence[Tensor]) -> Tensor:
    return restore(saved).to(dtype)
