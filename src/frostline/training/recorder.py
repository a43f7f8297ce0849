"""Records every step in steps.csv, measures, and talks to the user."""

from __future__ import annotations

import csv
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from frostline import meter
from frostline.training.run_folder import STEP_COLUMNS, RunFolder
from frostline.training.save_and_stop import SaveAndStop

if TYPE_CHECKING:
    from frostline.training.trainer import StepMeasures
    from frostline.tuner import Tuner


class StepClock(TrainerCallback):
    """Notes when a step begins; the first of the callbacks, so that the tuner's own work is in the time."""

    def __init__(self) -> None:
        self.began = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self.began = time.perf_counter()


class Recorder(TrainerCallback, ExportableState):
    """Writes a row a step, keeps the peak of memory, prints progress; the last of the callbacks.

    Attributes:
        peaks: of memory during training steps, evaluations left out.

    The peaks and the time travel in the checkpoint's trainer_state.json.
    """

    def __init__(
        self, folder: RunFolder, tuner: Tuner, clock: StepClock, measures: StepMeasures, console: Console
    ) -> None:
        self.peaks = meter.Peaks()
        self._folder, self._tuner, self._clock, self._measures = folder, tuner, clock, measures
        self._console = console
        self._stream: TextIO | None = None
        self._last_active: frozenset[str] | None = None
        self._row: dict[str, Any] = {}
        self._since_log: list[tuple[float, int, float]] = []
        self._progress: Progress | None = None
        self._seconds_before, self._began = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Time spent training, evaluating and saving; before a resume, up to its checkpoint."""
        return self._seconds_before + time.perf_counter() - self._began

    def state(self) -> dict[str, Any]:
        """Return what a resumed run goes on counting from, in the form that a Trainer saves."""
        return {"args": {}, "attributes": {"peaks": asdict(self.peaks), "seconds": self.seconds}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open steps.csv, cut back to where the run resumes, and go on counting from there."""
        callbacks: Any = state.stateful_callbacks  # a list when made, a dict by class name ever after
        if state.global_step > 0:
            saved = callbacks[type(self).__name__]["attributes"]
            self.peaks, self._seconds_before = meter.Peaks(**saved["peaks"]), saved["seconds"]
        self._began = time.perf_counter()
        for row in self._folder.start_steps(state.global_step):
            self._last_active = frozenset(row["active"].split()) if row["active"] else self._last_active
        self._stream = self._folder.steps.open("a", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._stream, STEP_COLUMNS)
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._progress.add_task("training", total=state.max_steps, completed=state.global_step)
            self._progress.start()
        meter.reset_peaks()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note what trains, while it does."""
        active = self._tuner.active
        self._row = {
            "step": state.global_step + 1,
            "learning_rate": float(kwargs["optimizer"].param_groups[0]["lr"]),  # torchao keeps it in a tensor
            "active_units": len(active),
            "trainable_parameters": self._tuner.trainable_parameters,
            # Names only where the set changed: a constant method says them once.
            "active": "" if active == self._last_active else " ".join(sorted(active)),
        }
        self._last_active = active

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write the row and, every logging step, a line."""
        meter.synchronize()
        seconds = time.perf_counter() - self._clock.began
        loss, tokens = self._measures.take()
        assert self._stream is not None
        self._writer.writerow({**self._row, "loss": loss, "tokens": tokens, "seconds": f"{seconds:.6f}"})
        self._stream.flush()
        self.peaks |= meter.peaks()
        if self._progress is not None:
            self._progress.update(self._task, completed=state.global_step)
        self._since_log.append((loss, tokens, seconds))
        if state.global_step % args.logging_steps == 0 or state.global_step == state.max_steps:
            self._print_line(state)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Print the scores; the evaluation's own memory does not count as training's."""
        metrics = kwargs.get("metrics") or {}
        scores = [
            f"{key.removeprefix('eval_')} {value:.4f}"
            for key, value in metrics.items()
            if isinstance(value, float) and not key.endswith(("runtime", "per_second")) and key != "epoch"
        ]
        self._console.print(f"evaluation after step {state.global_step}: {'  '.join(scores)}", highlight=False)
        meter.reset_peaks()

    def close(self) -> None:
        """Close steps.csv and the progress bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _print_line(self, state: TrainerState) -> None:
        losses, tokens, seconds = zip(*self._since_log, strict=True)
        self._since_log = []
        share = self._row["trainable_parameters"] / self._tuner.anatomy.parameter_count
        self._console.print(
            f"step {state.global_step}/{state.max_steps}  loss {sum(losses) / len(losses):.4f}  "
            f"lr {self._row['learning_rate']:.2e}  active {share:.1%}  {sum(tokens) / sum(seconds):,.0f} tokens/s",
            highlight=False,
        )


class StopOnInterrupt(SaveAndStop):
    """Turns Ctrl-C into a checkpoint at the end of the step; a second Ctrl-C stops at once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.interrupted = False
        self._say = say
        self._previous: Any = None

    def __enter__(self) -> StopOnInterrupt:
        """Listen for SIGINT."""
        self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Give SIGINT back."""
        signal.signal(signal.SIGINT, self._previous)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        self._say("interrupted: finishing this step, then writing a checkpoint (Ctrl-C again stops at once)")

    @property
    def asked(self) -> bool:
        """Whether the user wants the run to end."""
        return self.interrupted
