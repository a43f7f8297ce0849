"""oneDNN, which multiplies matrices in sixteen bits, told to keep few of the kernels that it makes.

It compiles one for every shape of every operation and keeps 1024 of them, and torch keeps as many of its own wrappings.
Texts of 34 lengths fill 180 MiB with them in MiniLM's training, outside of any tensor. Few are enough for a step; a
step of another shape compiles its own anew, which takes up to a tenth of its time. Products in float32 need none.
"""

from __future__ import annotations

import os

VARIABLES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
KERNELS = 32
"""About twice as many as a step of a transformer has products of different shapes."""


def keep_few() -> None:
    """Set both limits, unless the user has; both are read once, at the first product in sixteen bits."""
    for variable in VARIABLES:
        os.environ.setdefault(variable, str(KERNELS))
