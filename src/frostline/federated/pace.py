"""How far replies move the weights in a step: what tells one that is a thousand times too large from an honest one.

A norm of the weights themselves cannot: in a late round an honest device moves them by a small part of it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from statistics import median_low

import numpy as np

from frostline.federated.merging import Arrays
from frostline.federated.turns import Record

_REMEMBERED = 64


def pace_of(arrays: Arrays, base: Arrays, steps: int) -> float:
    """Return how far a reply moved a weight in a step, the root mean square over its weights.

    Args:
        arrays: of the reply.
        base: what the device started from.
        steps: that it took.
    """
    squares = sum(float(np.square(array - base[name], dtype=np.float64).sum()) for name, array in arrays.items())
    return math.sqrt(squares / max(1, sum(array.size for array in arrays.values()))) / max(1, steps)


class Pace:
    """The paces of the last valid replies.

    Args:
        bound: the most that a pace may be, to their median.
    """

    def __init__(self, bound: float) -> None:
        self._bound = bound
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)

    @classmethod
    def after(cls, log: Iterable[Record], bound: float) -> Pace:
        """Return it as it stands after the rounds of a log."""
        pace = cls(bound)
        for record in log:
            for device in record["devices"]:
                if device["reply"] == "ok":
                    pace.add(device["pace"])
        return pace

    def add(self, pace: float) -> None:
        """Take note of a valid reply."""
        self._recent.append(pace)

    def most(self, beside: Sequence[float]) -> float:
        """Return the largest pace that is believed, where replies with others have come at the same time."""
        known = [*self._recent, *beside]
        middle = median_low(known) if known else 0.0
        return self._bound * middle if middle > 0 else math.inf  # with a rate of 0 nothing moves
