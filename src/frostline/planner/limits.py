"""What a step may take: memory, and if the user says so, time, floating-point operations and bytes to send."""

from __future__ import annotations

import math
from dataclasses import dataclass

from frostline.budget import written
from frostline.planner.rehearsal import Rehearsal
from frostline.planner.timing import Speed

MARGIN = 0.02
"""Share of a budget that stays free: what a prediction may be off by (benchmarks/budget)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds of a step; None is none.

    Attributes:
        budget: bytes at the peak, of the whole process on a CPU.
        runtime: bytes of the process besides its tensors.
        seconds: of a step; by `speed`.
        flops: of a step.
        upload: bytes of all weights that may ever train: what a device of a fleet sends.
        speed: of this machine, as `frostline calibrate` measures it; None if it has not.
    """

    budget: int
    runtime: int = 0
    seconds: float | None = None
    flops: float | None = None
    upload: int | None = None
    speed: Speed | None = None

    @property
    def limits_work(self) -> bool:
        """Whether time or operations are limited."""
        return self.seconds is not None or self.flops is not None

    @property
    def tensors(self) -> int:
        """The bytes that all tensors may take together; below 0 if the process alone is too large."""
        return math.floor(self.budget * (1 - MARGIN)) - self.runtime

    def budget_for(self, tensors: int) -> int:
        """Return the smallest budget within which tensors may take so many bytes."""
        budget = math.floor((tensors + self.runtime) / (1 - MARGIN))
        while Limits(budget, self.runtime).tensors < tensors:
            budget += 1
        return budget

    def memory_fits(self, found: Rehearsal) -> bool:
        """Tell whether the peak is within its limit."""
        return found.peak <= self.tensors

    def work_fits(self, found: Rehearsal) -> bool:
        """Tell whether time and operations are within theirs."""
        return not self._work(found)

    def broken(self, found: Rehearsal) -> list[str]:
        """Return, in words, the limits that a step would break."""
        broken = [] if self.memory_fits(found) else ["memory"]
        broken += self._work(found)
        if self.upload is not None and found.upload > self.upload:
            broken.append(f"upload of {written(found.upload)}")
        return broken

    def _work(self, found: Rehearsal) -> list[str]:
        broken = []
        if self.seconds is not None and self.speed is not None and self.speed.seconds(found.work) > self.seconds:
            broken.append(f"{self.speed.seconds(found.work):.2f} s a step")
        if self.flops is not None and found.work.flops > self.flops:
            broken.append(f"{found.work.flops:.3g} FLOPs a step")
        return broken
