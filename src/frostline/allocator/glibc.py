"""glibc's allocator, told to give memory back.

A request above the mmap threshold gets pages of its own, which go back to the system when it is freed; everything below
lies in a heap. The threshold moves: whenever such pages are freed it rises to their size, up to 32 MiB, so that after a
training step nearly every tensor lies in the heap. There small objects settle in the gaps that tensors leave, so that
the next tensor of that size does not fit any more, and the heap grows. A fixed threshold (mallopt(3), M_MMAP_THRESHOLD)
keeps tensors out of it. The price: the system zeroes every page anew, and the program takes a page fault for each.
"""

from __future__ import annotations

import ctypes
import os
import sys

THRESHOLD = 64 * 2**10
"""Bytes from which an allocation gets pages of its own."""

_M_MMAP_THRESHOLD = -3  # malloc.h
_PROBE = 2**20  # bytes, of which nothing is touched
_OF_THE_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")
_fixed = False


def fixed() -> bool:
    """Return whether `fix_threshold` has been called with success in this process."""
    return _fixed


def fix_threshold() -> str | None:
    """Fix the mmap threshold at `THRESHOLD`, once; return why that cannot be, None when it is done."""
    global _fixed
    reason = None if _fixed else _obstacle() or _set()
    _fixed = reason is None
    return reason


def trim() -> None:
    """Have whole pages that are free inside the heaps go back, too: malloc_trim(3); nothing where that is not."""
    if sys.platform == "linux":
        give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if give_back is not None:
            give_back(0)


def _obstacle() -> str | None:
    if sys.platform != "linux":
        return f"it needs glibc, and this is {sys.platform}"
    for variable in _OF_THE_USER:
        if variable in os.environ:
            return f"{variable} is set in the environment"
    if "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return "GLIBC_TUNABLES sets the allocator"
    return None


def _set() -> str | None:
    """Set the threshold and see whose memory the process gets."""
    try:
        process, glibc = ctypes.CDLL(None), ctypes.CDLL("libc.so.6")  # musl has no library of this name
        glibc.mallinfo.restype = _MallInfo
        process.malloc.restype, process.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        process.free.restype, process.free.argtypes = None, [ctypes.c_void_p]
        if glibc.mallopt(_M_MMAP_THRESHOLD, THRESHOLD) != 1:
            return f"mallopt refused a threshold of {THRESHOLD} bytes"
        trim()
    except (OSError, AttributeError):
        return "it needs glibc, and this is another C library"
    # The process's malloc need not be glibc's: others take its place, by LD_PRELOAD or by being linked in.
    before = glibc.mallinfo().in_use
    memory = process.malloc(_PROBE)
    taken = (glibc.mallinfo().in_use - before) % 2**32
    process.free(memory)
    return None if _PROBE <= taken <= 2 * _PROBE else "another allocator has taken glibc's place"


class _MallInfo(ctypes.Structure):
    """The result of mallinfo(3), whose counts of bytes are modulo 2**32."""

    _fields_ = [
        *((name, ctypes.c_uint) for name in ("arena", "ordblks", "smblks", "hblks")),
        ("hblkhd", ctypes.c_uint),  # bytes of allocations that have pages of their own
        *((name, ctypes.c_uint) for name in ("usmblks", "fsmblks")),
        ("uordblks", ctypes.c_uint),  # bytes in use in heaps
        *((name, ctypes.c_uint) for name in ("fordblks", "keepcost")),
    ]

    @property
    def in_use(self) -> int:
        """Bytes handed out, modulo 2**32."""
        return int(self.hblkhd + self.uordblks)
