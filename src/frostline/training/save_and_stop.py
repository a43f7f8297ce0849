"""Ends a run before its time, at the end of a step and with a checkpoint."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class SaveAndStop(TrainerCallback):
    """Asks the Trainer to save and stop as soon as `asked` is true."""

    @property
    def asked(self) -> bool:
        """Whether the run shall end."""
        raise NotImplementedError

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask the Trainer to save and stop; at the end of an epoch once that has done its own work."""
        if self.asked:
            control.should_save = control.should_save or bool((state.epoch or 0) % 1)
            control.should_training_stop = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save after an epoch's own evaluation; in the middle of one leave that to the resumed run."""
        if self.asked:
            whole = not (state.epoch or 0) % 1
            control.should_save, control.should_evaluate = whole, control.should_evaluate and whole
