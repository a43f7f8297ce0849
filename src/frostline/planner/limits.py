"""What a step may take: memory, and if the user says so, time, floating-point operations and bytes to send."""

from __future__ import annotations

from dataclasses import dataclass

from frostline.budget import written
from frostline.planner.rehearsal import Rehearsal
from frostline.planner.timing import Speed


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds of a step; None is none.

    Attributes:
        tensors: bytes at the peak, of all tensors together.
        seconds: of a step; by `speed`.
        flops: of a step.
        upload: bytes of all weights that may ever train: what a device of a fleet sends.
        speed: of this machine, as `frostline calibrate` measures it; None if it has not.
    """

    tensors: int
    seconds: float | None = None
    flops: float | None = None
    upload: int | None = None
    speed: Speed | None = None

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
