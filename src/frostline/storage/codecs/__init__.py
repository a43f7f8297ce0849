"""Number formats for tensors that wait for backward; `get("int8")` gives one by name."""

from __future__ import annotations

from frostline.errors import ConfigError, nearest
from frostline.storage.codecs.base import Code, Codec, Layout
from frostline.storage.codecs.exact import Exact

__all__ = ["Code", "Codec", "Exact", "Layout", "get", "names"]

_CODECS: dict[str, Codec] = {codec.name: codec for codec in (Exact(),)}


def names() -> tuple[str, ...]:
    """Return the names of all codecs."""
    return tuple(_CODECS)


def get(name: str) -> Codec:
    """Return the codec of that name; ConfigError, with the nearest name, if there is none."""
    try:
        return _CODECS[name]
    except KeyError:
        raise ConfigError(f"storage {name!r} is unknown{nearest(name, _CODECS)}") from None
