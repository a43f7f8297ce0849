"""Peaks that the operating system and the accelerator's allocator count."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import nn

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Peaks:
    """Peaks of memory since the last reset, in bytes.

    Attributes:
        process: resident size (VmHWM): the interpreter, its libraries, every tensor on the CPU.
        cuda_allocated: by tensors on the GPU; None without one.
        cuda_reserved: by torch's allocator on the GPU; None without one.
    """

    process: int = 0
    cuda_allocated: int | None = None
    cuda_reserved: int | None = None

    @property
    def deciding(self) -> int:
        """The peak that says whether a run fits: reserved on the GPU if there is one, else the process's."""
        return self.process if self.cuda_reserved is None else self.cuda_reserved

    def __or__(self, other: Peaks) -> Peaks:
        """Return the higher of each peak."""
        return Peaks(
            max(self.process, other.process),
            _higher(self.cuda_allocated, other.cuda_allocated),
            _higher(self.cuda_reserved, other.cuda_reserved),
        )


def synchronize() -> None:
    """Wait until the accelerator has done what it was given, before a clock is read."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _higher(first: int | None, second: int | None) -> int | None:
    return max((value for value in (first, second) if value is not None), default=None)


def reset_peaks() -> None:
    """Start a new measurement: `peaks` then speaks of what comes after, where the system can tell."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if sys.platform == "linux":
        try:
            _CLEAR.write_text("5")  # resets VmHWM to the present resident size, see proc(5)
        except OSError:  # not permitted in some containers: the peak then counts from the start of the process
            return


def peaks() -> Peaks:
    """Return the peaks since the last reset."""
    if torch.cuda.is_available():
        return Peaks(_resident_peak(), int(torch.cuda.max_memory_allocated()), int(torch.cuda.max_memory_reserved()))
    return Peaks(_resident_peak())


def besides(model: nn.Module) -> int:
    """Return the resident bytes of this process without those of the model's parameters and buffers."""
    tensors = (*model.parameters(), *model.buffers())
    for tensor in tensors:
        tensor.detach().count_nonzero()  # a file that is mapped takes memory once it has been read
    storages = (tensor.untyped_storage() for tensor in tensors)
    own = {storage.data_ptr(): storage.nbytes() for storage in storages}
    return int(psutil.Process().memory_info().rss) - sum(own.values())


def _resident_peak() -> int:
    if sys.platform == "linux":
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))  # Windows keeps a peak; elsewhere the present size
