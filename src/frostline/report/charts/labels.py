"""Labels beside points, so placed that they hide neither a point nor each other."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

Box = tuple[float, float, float, float]  # left, bottom, right, top
_DISTANCES = (8.0, 15.0, 24.0, 35.0, 48.0, 64.0)
_ANGLES = (0, 180, 90, 270, 45, 315, 135, 225, 20, 340, 160, 200)


@dataclass(frozen=True)
class Label:
    """Where a label goes: the middle of its box, and whether it is so far off that a line should lead to it."""

    x: float
    y: float
    led: bool


def place_labels(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    frame: Box,
    obstacles: Sequence[Box] = (),
    size: float = 11,
) -> list[Label]:
    """Return a place for each text beside its point, all in CSS pixels with y upwards.

    Greedy: the points with the most neighbours choose first, each the nearest free place; where none is free, the one
    with the least overlap.

    Args:
        points: the markers.
        texts: one for each.
        frame: the labels stay inside.
        obstacles: what else they should not hide.
        size: of the font.
    """
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in points] + list(obstacles)
    found: dict[int, Label] = {}
    crowd = [sum(math.dist(one, other) < 60 for other in points) for one in points]
    for index in sorted(range(len(points)), key=lambda i: (-crowd[i], i)):
        width, height = text_width(texts[index], size), size * 1.15
        best: tuple[float, Label, Box] | None = None
        for distance in _DISTANCES:
            for rank, angle in enumerate(_ANGLES):
                label, box = _candidate(points[index], distance, angle, width, height)
                cost = sum(_overlap(box, other) for other in taken) + 3 * _outside(box, frame)
                cost += 0.02 * rank + 0.35 * distance
                if best is None or cost < best[0]:
                    best = (cost, label, box)
        assert best is not None
        found[index] = best[1]
        taken.append(best[2])
    return [found[index] for index in range(len(points))]


def text_width(text: str, size: float) -> float:
    """Return about how wide a text is in the fonts that browsers use for pages."""
    return sum(size if unicodedata.east_asian_width(letter) in "WF" else 0.6 * size for letter in text)


def fitted(text: str, width: float, size: float = 11) -> str:
    """Return text in one line, cut to so many CSS pixels."""
    text = " ".join(text.split())
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _candidate(
    point: tuple[float, float], distance: float, angle: int, width: float, height: float
) -> tuple[Label, Box]:
    """Return the label whose box touches the circle of that radius around the point in that direction."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x = point[0] + cosine * distance + cosine * width / 2
    y = point[1] + sine * distance + sine * height / 2
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Label(x, y, distance > 10), box


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: Box, frame: Box) -> float:
    over = (frame[0] - box[0], frame[1] - box[1], box[2] - frame[2], box[3] - frame[3])
    return 100 * sum(max(0.0, part) for part in over)
