"""The peak of tensors over training steps, and what it is made of, as a record that a run keeps."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from frostline.meter.process import Peaks
from frostline.meter.tensors import TensorTracker


class StepPeaks:
    """Follows every tensor (see `TensorTracker`) and remembers the step with the highest peak.

    Args:
        model: as for `TensorTracker`.
        device_type: count tensors on this kind of device only.
        held: tensors of the tuner's own that are there already, see `Tuner.held`.

    Attributes:
        saved: most bytes of saved activations at any moment, of each step.
    """

    def __init__(self, model: nn.Module, device_type: str, held: Iterable[Tensor] = ()) -> None:
        self.saved: list[int] = []
        self._held = list(held)
        self._tracker = TensorTracker(model, device_type)
        self._peak: dict[str, int] = {}

    def __enter__(self) -> StepPeaks:
        """Start to follow."""
        self._tracker.__enter__()
        self._tracker.mark("other", self._held)
        self._held = []
        return self

    def __exit__(self, *details: Any) -> None:
        """Stop to follow."""
        self._tracker.__exit__(*details)

    def optimizer_moved(self, optimizer: Optimizer) -> None:
        """Tell the optimizer's state from other tensors; call it after the optimizer's step."""
        self._tracker.mark_optimizer(optimizer)

    def end_step(self) -> None:
        """Keep the step's peaks."""
        self.saved.append(self._tracker.saved_peak)
        if self._tracker.peak_bytes > sum(self._peak.values()):
            self._peak = self._tracker.peak
        self._tracker.reset()

    def memory(self) -> dict[str, Any]:
        """Return the peak of tensors, what it was made of, and the saved activations, all in bytes."""
        return {
            **memory_record(None, self._peak, max(self.saved)),
            "saved_activations_median": statistics.median(self.saved),
        }


def memory_record(peaks: Peaks | None, at_tensor_peak: dict[str, int] | None, saved: int | None) -> dict[str, Any]:
    """Return peaks in bytes as a record; None stands for what was not measured.

    Args:
        peaks: of the process and of the accelerator's allocator.
        at_tensor_peak: bytes by category when all tensors together were most.
        saved: most bytes of saved activations.
    """
    return {
        "process_peak": peaks.process if peaks else None,
        "tensor_peak": None if at_tensor_peak is None else sum(at_tensor_peak.values()),
        "at_tensor_peak": at_tensor_peak,
        "saved_activations": saved,
        "cuda_allocated": peaks.cuda_allocated if peaks else None,
        "cuda_reserved": peaks.cuda_reserved if peaks else None,
    }
