"""The state of a device's default generator: random numbers drawn once more, as they were, disturbing nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def replayed(state: Tensor, device: torch.device) -> Iterator[None]:
    """Draw random numbers from `state` on, and leave the device's generator as it was."""
    before = rng_state(device)
    set_rng_state(state, device)
    try:
        yield
    finally:
        set_rng_state(before, device)


def rng_state(device: torch.device) -> Tensor:
    """Return the state of the device's default generator, a byte tensor on the CPU."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_rng_state(state: Tensor, device: torch.device) -> None:
    """Set the state of the device's default generator."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
