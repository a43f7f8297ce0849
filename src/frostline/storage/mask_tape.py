"""Dropout's masks of a block's first run, noted in bits for its second.

Drawing masks is nearly all that dropout costs on a CPU, so a block that runs again takes its masks from here. Beside
each mask stands the generator's state after it was drawn (5 KB on a CPU): what draws for itself in between finds what
it found the first time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from frostline.storage.random_state import rng_state, set_rng_state


class MaskTape:
    """The masks of one run of a block.

    Args:
        device: whose generator draws.
        noted: the tape of an earlier run, to be played; None to note.

    Attributes:
        tensors: masks in bits, each with the generator's state after it.
    """

    def __init__(self, device: torch.device, noted: Sequence[Tensor] | None = None) -> None:
        self.plays = noted is not None
        self.tensors = list(noted or ())
        self._device, self._next = device, 0

    def note(self, bits: Tensor) -> None:
        """Note a mask that was just drawn."""
        self.tensors += [bits, rng_state(self._device)]

    def play(self) -> Tensor:
        """Return the next mask's bits, and leave the generator as it was after they were drawn."""
        bits, state = self.tensors[self._next : self._next + 2]
        self._next += 2
        set_rng_state(state, self._device)
        return bits


_current: ContextVar[MaskTape | None] = ContextVar("tape", default=None)


def current_tape() -> MaskTape | None:
    """Return the tape of the block that runs now, None outside of such."""
    return _current.get()


@contextmanager
def on_tape(tape: MaskTape) -> Iterator[MaskTape]:
    """Note, or play, the masks of what runs within."""
    token = _current.set(tape)
    try:
        yield tape
    finally:
        _current.reset(token)
