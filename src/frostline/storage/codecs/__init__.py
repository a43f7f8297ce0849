"""Number formats for tensors that wait for backward; `get("int8")` gives one by name."""

from __future__ import annotations

import torch

from frostline.errors import ConfigError, nearest
from frostline.storage.codecs.affine import Affine
from frostline.storage.codecs.base import Code, Codec, Layout
from frostline.storage.codecs.exact import Exact
from frostline.storage.codecs.fixed_point import FixedPoint
from frostline.storage.codecs.floating import Floating
from frostline.storage.codecs.offload import MappedFile, PinnedMemory
from frostline.storage.codecs.topk import TopK

__all__ = [
    "Affine",
    "Code",
    "Codec",
    "Exact",
    "FixedPoint",
    "Floating",
    "Layout",
    "MappedFile",
    "PinnedMemory",
    "TopK",
    "get",
    "names",
]

_CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Exact(),
        Floating("bf16", 16, torch.bfloat16),
        Floating("fp16", 16, torch.float16),
        Affine("int8", 8),
        Affine("int8_stochastic", 8, stochastic=True),
        Affine("int4", 4),
        Affine("int4_stochastic", 4, stochastic=True),
        FixedPoint("fixed3.4", 8, 4),
        FixedPoint("fixed2.1", 4, 1),
        FixedPoint("fixed0.8", 8, 8, signed=False),
        TopK("top10", 0.1, 2.4),
        PinnedMemory(),
        MappedFile(),
    )
}


def names() -> tuple[str, ...]:
    """Return the names of all codecs."""
    return tuple(_CODECS)


def get(name: str) -> Codec:
    """Return the codec of that name; ConfigError, with the nearest name, if there is none."""
    try:
        return _CODECS[name]
    except KeyError:
        raise ConfigError(f"storage {name!r} is unknown{nearest(name, _CODECS)}") from None
