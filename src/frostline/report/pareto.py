"""The Pareto front: whom nobody beats in both, score up and memory down."""

from __future__ import annotations

from collections.abc import Mapping


def front(points: Mapping[str, tuple[float, float]]) -> frozenset[str]:
    """Return the names of the (score, memory) points that no other point dominates.

    A point dominates another if its score is at least as high and its memory at most as large, and one of both is
    better. Two equal points do not dominate each other: both are in the front, or neither.
    """
    members: set[str] = set()
    best = float("-inf")  # score of all points with less memory than the present one
    ranked = sorted(points, key=lambda name: (points[name][1], -points[name][0]))
    for index, name in enumerate(ranked):
        score, memory = points[name]
        previous = points[ranked[index - 1]] if index else None
        if previous == (score, memory):
            if ranked[index - 1] in members:
                members.add(name)
        elif score > best:
            members.add(name)
        best = max(best, score)
    return frozenset(members)
