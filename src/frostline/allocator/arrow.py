"""Arrow, in which data sets lie, told to take memory from the C library, which gives back what is freed.

Its own pool keeps it: of a file of 59 MiB 84 more, when that had been read (benchmarks/allocator/pictures.py).
"""

from __future__ import annotations

import os
import sys

VARIABLE = "ARROW_DEFAULT_MEMORY_POOL"


def keep_nothing() -> None:
    """From now on; unless the user has chosen a pool."""
    if VARIABLE in os.environ:
        return
    os.environ[VARIABLE] = "system"  # read at the first allocation, and by processes that this one starts
    if "pyarrow" in sys.modules:
        import pyarrow

        pyarrow.set_memory_pool(pyarrow.system_memory_pool())
