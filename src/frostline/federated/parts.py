"""What one device trains of a network: its last layers, a window of layers below them, or adapters on all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline.methods.lora import Lora

SCALE = 2
"""Of an adapter's output, whatever its rank: so what is averaged over ranks means the same in all."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a device trains besides the head.

    Attributes:
        layers: blocks, counted from the top; with adapters all of them have some.
        rank: of its adapters, which train in place of the blocks' own weights; None if there are none.
        skip: blocks above its own that stay as they are.
    """

    layers: int
    rank: int | None = None
    skip: int = 0

    @property
    def method(self) -> str:
        """The method that trains it."""
        return "layers" if self.rank is None else Lora.name

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of that method."""
        if self.rank is None:
            return {"count": self.layers, "skip": self.skip}
        return {"rank": self.rank, "alpha": SCALE * self.rank}


def is_adapter(name: str) -> bool:
    """Tell whether a tensor of that name belongs to an adapter."""
    return Lora.marker in name


def beside(name: str) -> str:
    """Return the name of the weight beside which an adapter stands, given that of a tensor of the adapter."""
    return f"{name.partition(Lora.marker)[0]}.weight"


def rank_of(name: str, value: NDArray[Any]) -> int | None:
    """Return the rank of an adapter by its first factor, (rank, in); None of any other tensor."""
    return len(value) if f"{Lora.marker}A" in name else None


def cut(value: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the corner of a tensor that a device with a smaller rank has."""
    return np.ascontiguousarray(value[tuple(slice(size) for size in shape)])


def padded(value: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a tensor of a larger shape with this one in its corner and zeros around (HetLoRA, arXiv 2401.06432)."""
    if value.shape == shape:
        return value
    whole = np.zeros(shape, value.dtype)
    whole[tuple(slice(size) for size in value.shape)] = value
    return whole
