"""torch's own allocator on a GPU, told to map memory page by page.

By default it reserves segments of fixed sizes, and a tensor that fits no gap in them needs another: on an H200 it
reserved up to a quarter more than its tensors took. Segments that grow by pages of 2 MiB leave few such gaps
(benchmarks/budget).
"""

from __future__ import annotations

import os
import sys

_OF_THE_USER = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")


def expand_segments() -> None:
    """Have segments grow from now on, where there is a GPU; nothing changes where the user has said otherwise."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or any(name in os.environ for name in _OF_THE_USER):
        return
    torch._C._accelerator_setAllocatorSettings("expandable_segments:True")  # by a variable only before torch is there
