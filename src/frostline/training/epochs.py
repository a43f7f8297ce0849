"""Tells rows that are drawn anew in every epoch which epoch it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Epochs(TrainerCallback):
    """Calls `begin` with the number of each epoch, also of one within which a run resumes.

    A loader's own `set_epoch` does not reach its rows there: accelerate stops at the sampler that it wraps.
    """

    def __init__(self, begin: Callable[[int], None]) -> None:
        self._begin = begin

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the epoch."""
        self._begin(int(state.epoch or 0))
