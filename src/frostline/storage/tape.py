"""What a block's first run notes for its second, and what the second leaves out.

Noted are dropout's masks, in bits, as drawing them is nearly all that dropout costs on a CPU. Beside each mask stands
the generator's state after it was drawn (5 KB on a CPU): what draws for itself in between finds what it found the first
time. Noted are also the norms behind the last Linear, if nothing reads that Linear's values (unread.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from frostline.storage.kept import Kept
from frostline.storage.random_state import rng_state, set_rng_state


@dataclass(frozen=True, slots=True)
class Unread:
    """Modules of a block whose output no gradient reads.

    Attributes:
        skipped: a Linear, and the activation before it, that a second run does not compute.
        noted: norms that run behind it, whose normalised input the first run notes.
    """

    skipped: frozenset[nn.Module] = frozenset()
    noted: frozenset[nn.Module] = frozenset()


@dataclass(frozen=True, slots=True)
class Notes:
    """A tape's content apart from its tensors, which autograd saves."""

    unread: Unread
    kept: tuple[Kept | None, ...]
    counts: tuple[int, ...]


@dataclass(slots=True)
class Tape:
    """The notes of one run of a block, being written or played.

    Attributes:
        device: whose generator draws.
        unread: what need not be computed a second time.
        plays: whether this is the second run.
    """

    device: torch.device
    unread: Unread = field(default_factory=Unread)
    plays: bool = False
    _entries: list[tuple[Kept | None, tuple[Tensor, ...]]] = field(default_factory=list)
    _next: int = 0

    @classmethod
    def of(cls, device: torch.device, notes: Notes, tensors: Sequence[Tensor]) -> Tape:
        """Return the tape to be played that was taken apart into `notes` and `tensors`."""
        parts = iter(tensors)
        entries = [
            (kept, tuple(next(parts) for _ in range(n))) for kept, n in zip(notes.kept, notes.counts, strict=True)
        ]
        return cls(device, notes.unread, True, entries)

    def apart(self) -> tuple[Notes, list[Tensor]]:
        """Return what was noted, and its tensors for themselves."""
        shells = tuple(kept and replace(kept, tensors=()) for kept, _ in self._entries)
        counts = tuple(len(tensors) for _, tensors in self._entries)
        return Notes(self.unread, shells, counts), [tensor for _, tensors in self._entries for tensor in tensors]

    def skips(self, module: nn.Module) -> bool:
        """Tell whether the values of the module's output are not needed in this run."""
        return self.plays and module in self.unread.skipped

    def note_mask(self, bits: Tensor) -> None:
        """Note a mask that was just drawn."""
        self._entries.append((None, (bits, rng_state(self.device))))

    def play_mask(self) -> Tensor:
        """Return the next mask's bits, and leave the generator as it was after they were drawn."""
        _, (bits, state) = self._play()
        set_rng_state(state, self.device)
        return bits

    def note_norm(self, rstd: Tensor, normalised: Kept) -> None:
        """Note a norm's inverse deviation and normalised input."""
        self._entries.append((normalised, (rstd, *normalised.tensors)))

    def play_norm(self) -> tuple[Tensor, Kept]:
        """Return the next norm's inverse deviation and normalised input."""
        kept, (rstd, *code) = self._play()
        assert kept is not None
        return rstd, replace(kept, tensors=tuple(code))

    def _play(self) -> tuple[Kept | None, tuple[Tensor, ...]]:
        self._next += 1
        return self._entries[self._next - 1]


_current: ContextVar[Tape | None] = ContextVar("tape", default=None)


def current_tape() -> Tape | None:
    """Return the tape of the block that runs now, None outside of such."""
    return _current.get()


@contextmanager
def on_tape(tape: Tape) -> Iterator[Tape]:
    """Note, or play, what runs within."""
    token = _current.set(tape)
    try:
        yield tape
    finally:
        _current.reset(token)
