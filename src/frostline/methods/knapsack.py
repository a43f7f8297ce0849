"""The most valuable set of weights under a limit of bytes, where going deeper has a price of its own.

Items lie on levels, 0 the deepest. A set costs what its items cost and, once, the price of its deepest level. So the
optimum is the best over the levels of a plain 0/1 knapsack of the items at or above it, and one pass from the top,
which adds the items level by level, solves them all. Costs are rounded up to 1/CELLS of the limit, so that a set never
costs more than it seems to.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CELLS = 1024


def affordable(cost: int) -> int:
    """Return a limit within which one item on one level that cost so much together is sure to be taken."""
    return cost + 3 * max(1, -(-cost // (CELLS - 3)))  # both are rounded up, and so is the cell


def best_set(
    values: Sequence[float], costs: Sequence[int], levels: Sequence[int], prices: Sequence[int], limit: int
) -> list[int]:
    """Return the indices of the items of the most valuable set, in ascending order.

    Args:
        values: of each item, at least 0.
        costs: of each item, bytes.
        levels: of each item, an index into `prices`.
        prices: bytes that a set costs besides if that level is its deepest; never rising with the level.
        limit: bytes.
    """
    if costs and sum(costs) + prices[min(levels)] <= limit:  # which rounding would hide
        return [place for place, value in enumerate(values) if value > 0]
    cell = max(1, -(-limit // CELLS))
    room = limit // cell
    best = np.zeros(room + 1)
    taken: list[tuple[int, np.ndarray]] = []
    found: tuple[float, int, int] = (0.0, 0, 0)  # value, how many of `taken` were open, cells to spend
    for level in reversed(range(len(prices))):
        for item in (i for i, at in enumerate(levels) if at == level):
            weight = -(-costs[item] // cell)
            if weight > room or values[item] <= 0:
                continue
            with_item = best[: room + 1 - weight] + values[item]
            takes = np.zeros(room + 1, dtype=bool)
            takes[weight:] = with_item > best[weight:]
            best[weight:] = np.where(takes[weight:], with_item, best[weight:])
            taken.append((item, takes))
        spend = room - -(-prices[level] // cell)
        if spend >= 0 and best[spend] > found[0]:
            found = float(best[spend]), len(taken), spend
    _, count, spend = found
    chosen = []
    for item, takes in reversed(taken[:count]):
        if takes[spend]:
            chosen.append(item)
            spend -= -(-costs[item] // cell)
    return sorted(chosen)
