"""The truth: peak memory of the process and of the accelerator."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Start a new measurement: `peak_bytes` then speaks of what comes after, where the system can tell."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if sys.platform == "linux":
        try:
            _CLEAR.write_text("5")  # resets VmHWM to the present resident size, see proc(5)
        except OSError:  # not permitted in some containers: the peak then counts from the start of the process
            return


def peak_bytes() -> int:
    """Return the peak since the last reset, in bytes: reserved on a GPU if there is one, else resident (VmHWM)."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    if sys.platform == "linux":
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))  # Windows keeps a peak; elsewhere the present size
