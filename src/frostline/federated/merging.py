"""The average of what devices send, each tensor over those that trained it; as they come, in memory that does not grow.

Of arrays in NumPy, as Flower has them. The sums are those of Flower's FedAvg (flwr.serverapp.strategy), operation by
operation, so where every device trains everything the result is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


class Merge:
    """A weighted average per tensor, of replies that need not have the same ones (CAFF, arXiv 2411.07826).

    Holds one sum per tensor, whatever the number of replies.

    Args:
        expected: of each tensor, the examples of all devices that were asked to train it. The factor of a reply is its
            examples over these; where some do not answer, the sum is put right at the end.
    """

    def __init__(self, expected: Mapping[str, int]) -> None:
        self._expected = dict(expected)
        self._sums: dict[str, NDArray[Any]] = {}
        self._examples: dict[str, int] = {}
        self._replies: dict[str, int] = {}
        self._count = 0

    @property
    def replies(self) -> int:
        """How many were added."""
        return self._count

    def add(self, arrays: Arrays, examples: int) -> None:
        """Add a reply that was found valid; the order counts in the last bit."""
        self._count += 1
        for name, array in arrays.items():
            part = np.asarray(array * (examples / self._expected[name]))
            if name in self._sums:
                self._sums[name] += part
            else:
                self._sums[name] = part
            self._examples[name] = self._examples.get(name, 0) + examples
            self._replies[name] = self._replies.get(name, 0) + 1

    def average(self, base: Arrays, *, damped: bool = False) -> dict[str, NDArray[Any]]:
        """Return the averages of the tensors that any reply had; the others keep their value in `base`.

        Args:
            base: the tensors that the devices started from.
            damped: move each tensor only by the share of the replies that trained it (CAFF; the form is ours).
        """
        found = {}
        for name, total in self._sums.items():
            missing = self._expected[name] != self._examples[name]
            mean = np.asarray(total * (self._expected[name] / self._examples[name])) if missing else total
            share = self._replies[name] / self._count
            if damped and share < 1:
                mean = np.asarray(base[name] + share * (mean - base[name]))
            found[name] = mean.astype(base[name].dtype, copy=False)
        return found
