"""A noisy curve made readable: fewer points, and a moving mean."""

from __future__ import annotations

from collections.abc import Sequence

POINTS = 160


def smoothed(values: Sequence[float | None]) -> list[tuple[float, float]]:
    """Return (step, mean of the steps around it) with a window of a tenth of the run; steps without a value are bare.

    At both ends the window holds only the steps that there are.
    """
    total = len(values)
    sums, counts = [0.0], [0]
    for value in values:
        sums.append(sums[-1] + (value or 0.0))
        counts.append(counts[-1] + (value is not None))
    found = []
    stride, reach = max(1, total // POINTS), max(1, total // 20)
    for step in sorted({*range(0, total, stride), total - 1} - {-1}):
        first, last = max(0, step - reach), min(total, step + reach + 1)
        if counts[last] > counts[first]:
            found.append((step + 1.0, (sums[last] - sums[first]) / (counts[last] - counts[first])))
    return found


def thinned(values: Sequence[float | None]) -> list[tuple[float, float]]:
    """Return at most `POINTS` of the (step, value) pairs, evenly spaced."""
    stride = max(1, -(-len(values) // POINTS))
    return [(step + 1.0, v) for step in range(0, len(values), stride) if (v := values[step]) is not None]
