"""How the activations that an operation keeps wait for the backward pass."""

from __future__ import annotations

from frostline.storage.attach import Attached
from frostline.storage.choice import KINDS, PRESETS, Choice, Storage, Ways, with_blocks

__all__ = ["KINDS", "PRESETS", "Attached", "Choice", "Storage", "Ways", "with_blocks"]
