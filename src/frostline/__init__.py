"""Frostline: fine-tune a transformer in less memory, by deciding at every step which weights thaw.

    tuner = frostline.prepare(model, method="slimfit", rate=0.9)
    Trainer(model, args, ..., callbacks=[tuner.callback()]).train()
    tuner.finish()

With `budget="2GiB", example=batch` it finds the method by itself.

Names are loaded on first use: importing this package imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from frostline.anatomy import Anatomy, Unit, discover
    from frostline.errors import FrostlineError
    from frostline.methods.base import Method
    from frostline.plan import Plan
    from frostline.scripts import prepare
    from frostline.tuner import Tuner

_HOMES = {
    "Anatomy": "frostline.anatomy",
    "FrostlineError": "frostline.errors",
    "Method": "frostline.methods.base",
    "Plan": "frostline.plan",
    "Tuner": "frostline.tuner",
    "Unit": "frostline.anatomy",
    "discover": "frostline.anatomy",
    "prepare": "frostline.scripts",
}

__all__ = ["Anatomy", "FrostlineError", "Method", "Plan", "Tuner", "Unit", "__version__", "discover", "prepare"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'frostline' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
