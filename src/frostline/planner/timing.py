"""How fast this machine works, fitted to measured steps: a step's time is linear in its work.

    seconds = flops / (flops a second) + bytes / (bytes a second) + operations * (seconds an operation)

Three rates say most: matrix products run at the processor's speed, everything else at the memory's, and small shapes
pay for each call. They are fitted with non-negative least squares to relative errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from frostline.meter.work import Work


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds that a unit of work takes.

    Attributes:
        flop, byte, operation: seconds each.
        error: root mean square of the relative error over the steps that they were fitted to.
    """

    flop: float
    byte: float
    operation: float
    error: float = 0.0

    def seconds(self, work: Work) -> float:
        """Return how long so much work takes."""
        return self.flop * work.flops + self.byte * work.bytes + self.operation * work.operations

    def to_json(self) -> dict[str, float]:
        """Return the rates as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Speed:
        """Return what `to_json` gave."""
        return cls(**values)


def fit(works: Sequence[Work], seconds: Sequence[float]) -> Speed:
    """Return the speed that explains measured times best.

    Args:
        works: of each step, at least three different ones.
        seconds: that each took, above 0.
    """
    times = np.asarray(seconds)
    rows = np.asarray([(work.flops, work.bytes, work.operations) for work in works], dtype=float) / times[:, None]
    scale = rows.max(axis=0)
    scale[scale == 0] = 1.0
    rates = nnls(rows / scale, np.ones(len(times)))[0] / scale
    flop, byte, operation = (float(rate) for rate in rates)
    return Speed(flop, byte, operation, float(np.sqrt(np.mean((rows @ rates - 1) ** 2))))
