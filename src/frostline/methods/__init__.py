"""One file a method; `get(name)` finds it there and loads nothing else.

A method of your own joins the built-in ones with `register(MyMethod)`, or is passed to `prepare` as it is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from frostline.errors import ConfigError, nearest

if TYPE_CHECKING:
    from frostline.methods.base import Method

# Name -> class, in `frostline.methods.<name>`. A table and not a scan, so that listing the names imports no torch.
BUILT_IN = {
    "full": "Full",
    "head": "Head",
    "bitfit": "BitFit",
    "lora": "Lora",
    "layers": "Layers",
    "random": "Random",
    "lisa": "Lisa",
    "slimfit": "SlimFit",
    "far": "Far",
    "auto": "Auto",
}
_registered: dict[str, type[Method]] = {}


def names() -> tuple[str, ...]:
    """Return the names of all methods, the built-in ones first."""
    return (*BUILT_IN, *(name for name in _registered if name not in BUILT_IN))


def get(name: str) -> type[Method]:
    """Return the method's class; an unknown name raises ConfigError with the nearest."""
    if name in _registered:
        return _registered[name]
    if name not in BUILT_IN:
        raise ConfigError(f"there is no method {name!r}{nearest(name, names())}")
    module = importlib.import_module(f"frostline.methods.{name}")
    method: type[Method] = getattr(module, BUILT_IN[name])
    return method


def register(method: type[Method]) -> type[Method]:
    """Make a method known under its `name`; usable as a class decorator. A taken name raises ConfigError."""
    if method.name in names():
        raise ConfigError(f"a method {method.name!r} exists already; give yours another name.")
    _registered[method.name] = method
    return method
