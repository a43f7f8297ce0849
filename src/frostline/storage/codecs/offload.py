"""Tensors that wait elsewhere, exactly as they are: in the CPU's memory for a GPU, or in a file."""

from __future__ import annotations

import ctypes
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from frostline.anatomy.target import device_type
from frostline.errors import StorageError
from frostline.storage.codecs import memory_order
from frostline.storage.codecs.base import Code, Codec, Layout

_DONTNEED = 4  # madvise(2)


@dataclass(frozen=True, slots=True)
class _Elsewhere(Codec):
    """What offloading to memory and to a file share: values kept bit for bit, in their own dtype."""

    name: str
    bits: float = 64

    def size(self, shape: Sequence[int], dtype: torch.dtype) -> int:
        """Return the tensor's own bytes, though they lie elsewhere."""
        return math.prod(shape) * dtype.itemsize

    def error_bound(self, tensor: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(tensor, dtype=torch.float64)

    def finite(self, code: Sequence[Tensor]) -> Tensor:
        """Return True: what is not finite is kept as it is."""
        return torch.ones((), dtype=torch.bool)


@dataclass(frozen=True, slots=True)
class PinnedMemory(_Elsewhere):
    """A GPU's tensor waits in page-locked memory of the CPU; both copies run in the stream of the computation."""

    name: str = "cpu"

    def encode(self, tensor: Tensor) -> Code:
        """Return the values in the CPU's memory, and an empty tensor that tells the device.

        Raises:
            StorageError: the tensor is in the CPU's memory already.
        """
        memory_order.require_floats(tensor, self.name)
        if device_type(tensor) == "cpu":
            raise StorageError(
                "storage 'cpu' takes a tensor from an accelerator into the CPU's memory, and this one is there "
                "already. Use `file`, or `int8` to make it smaller."
            )
        row = memory_order.flat(tensor)
        if isinstance(tensor, FakeTensor):
            return row.new_empty(row.numel(), device=_elsewhere(row)), row.new_empty(0)
        return torch.empty_like(row, device="cpu", pin_memory=True).copy_(row, non_blocking=True), row.new_empty(0)

    def decode(self, code: Sequence[Tensor], layout: Layout) -> Tensor:
        """Return the values, on the device that they came from."""
        return memory_order.shaped(code[0].to(code[1].device, non_blocking=True), layout)


@dataclass(frozen=True, slots=True)
class MappedFile(_Elsewhere):
    """A tensor waits in a file without a name, in the folder that TMPDIR names, and is mapped, not read.

    Written like any file and mapped only then, it does not count as resident memory; decoding copies piece by piece
    and lets each piece go. The system's file cache may hold it for as long as nobody needs that memory. The folder has
    to be on a disk: in many systems /dev/shm, in some /tmp, is memory.
    """

    name: str = "file"

    def encode(self, tensor: Tensor) -> Code:
        """Return the mapped values, and an empty tensor that tells the device.

        Raises:
            StorageError: the file cannot be written; names the folder.
        """
        memory_order.require_floats(tensor, self.name)
        row = memory_order.flat(tensor)
        device = row.new_empty(0)
        if isinstance(tensor, FakeTensor) or not row.numel():
            return row.new_empty(row.numel(), device=_elsewhere(row)), device
        return _written(row), device

    def decode(self, code: Sequence[Tensor], layout: Layout) -> Tensor:
        """Return a copy of the values, on the device that they came from."""
        stored, device = code
        row = memory_order.empty_flat(layout, device.device)
        for places in memory_order.blocks(stored):
            row[places].copy_(stored[places])
            _let_go(stored, places)
        return memory_order.shaped(row, layout)


def _elsewhere(row: Tensor) -> str:
    """Return where a fake tensor's copy lies: not on the device whose bytes are counted."""
    return "cuda" if row.device.type == "cpu" and device_type(row) != "cpu" else "cpu"


def _written(row: Tensor) -> Tensor:
    folder = os.environ.get("TMPDIR") or tempfile.gettempdir()
    path = None
    try:
        file, path = tempfile.mkstemp(prefix="frostline-", suffix=".activation", dir=folder)
        with open(file, "wb", buffering=0) as stream:
            for places in memory_order.blocks(row):
                rest = row[places].cpu().view(torch.uint8).numpy().data
                while rest:
                    rest = rest[stream.write(rest) :]
        return torch.from_file(path, shared=True, size=row.numel(), dtype=row.dtype)
    except OSError as error:
        needed = row.numel() * row.itemsize / 2**20
        raise StorageError(
            f"storage 'file' cannot put {needed:.1f} MiB into the folder {folder}: {error.strerror or error}. Make "
            "room there, set TMPDIR to a folder on a disk with more, or use `int8`."
        ) from error
    finally:
        if path is not None:
            os.unlink(path)  # the mapping holds the file; it goes when the tensor goes, or the process ends


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _let_go(stored: Tensor, places: slice) -> None:
    """Take pages that have been read out of resident memory; they stay in the file."""
    if sys.platform != "linux" or isinstance(stored, FakeTensor) or stored.untyped_storage().filename is None:
        return
    size = stored.itemsize
    with suppress(OSError, AttributeError):
        _libc().madvise(
            ctypes.c_void_p(stored.data_ptr() + places.start * size),
            ctypes.c_size_t((places.stop - places.start) * size),
            _DONTNEED,
        )
