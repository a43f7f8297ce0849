"""Early stopping that a resumed run takes up where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments


class AlreadyStopped(Exception):
    """The run had stopped early when it wrote this checkpoint: no step is left to do."""


class EarlyStopping(EarlyStoppingCallback):
    """Stops after `patience` evaluations without gain; the last of the callbacks.

    Args:
        patience: how many.
        resume_from: the checkpoint that the Trainer resumes from, if any.

    Raises (from `Trainer.train`, with all state restored):
        AlreadyStopped: see there.
    """

    def __init__(self, patience: int, resume_from: Path | None) -> None:
        super().__init__(patience)
        if resume_from is not None:
            saved = json.loads((resume_from / "trainer_state.json").read_text(encoding="utf-8"))["stateful_callbacks"]
            counted = saved[type(self).__name__]["attributes"]["early_stopping_patience_counter"]
            self.early_stopping_patience_counter = int(counted)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check that there is something to stop by, and something left to stop."""
        super().on_train_begin(args, state, control, **kwargs)  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            raise AlreadyStopped
