"""Which unit was active at which step, as a table of shares: a row a unit, a column a bin of steps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby

from frostline.report.values import Steps

BINS = 96
_DIGITS = re.compile(r"(\d+)")
_BLOCK = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class Activity:
    """When each unit trained.

    Attributes:
        units: names of all that were active at least once: embeddings, blocks in order, the rest.
        groups: (what the rows have in common, how many) from the top: `embeddings`, `0`, `1`, ..., `head`.
        shares: for each unit, the share of the steps of each bin at which it was active.
        totals: the same over all steps.
        steps: how many there were.
        changes: how often the set of active units changed.
    """

    units: tuple[str, ...]
    groups: tuple[tuple[str, int], ...]
    shares: tuple[tuple[float, ...], ...]
    totals: tuple[float, ...]
    steps: int
    changes: int


def activity(steps: Steps) -> Activity:
    """Return the activity of a run; a run without steps or names has none, and no units."""
    total = len(steps.losses)
    units = sorted({name for _, names in steps.changes for name in names}, key=_place)
    row = {unit: index for index, unit in enumerate(units)}
    bins = min(BINS, total)
    counts = [[0] * bins for _ in units]
    ends = [*(start for start, _ in steps.changes), total][1:]
    sizes = [0] * bins
    bin_of = [step * bins // total for step in range(total)]
    for index in bin_of:
        sizes[index] += 1
    for (start, names), end in zip(steps.changes, ends, strict=True):
        for index, group in groupby(bin_of[start:end]):
            length = sum(1 for _ in group)
            for name in set(names):
                counts[row[name]][index] += length
    return Activity(
        units=tuple(units),
        groups=tuple((label, sum(1 for _ in group)) for label, group in groupby(units, key=_group)),
        shares=tuple(tuple(n / size for n, size in zip(line, sizes, strict=True)) for line in counts),
        totals=tuple(sum(line) / total for line in counts),
        steps=total,
        changes=max(0, len(steps.changes) - 1),
    )


def _group(unit: str) -> str:
    block = _BLOCK.search(unit)
    return block[1] if block else "embeddings" if "embed" in unit.lower() else "head"


def _place(unit: str) -> tuple[int, tuple[int, str], list[tuple[int, str]]]:
    """Return what a unit is sorted by: embeddings first, then the blocks by number, then what follows them."""
    group = _group(unit)
    natural = [_number(piece) if piece.isdecimal() else (-1, piece) for piece in _DIGITS.split(unit)]
    region = {"embeddings": 0, "head": 2}.get(group, 1)
    return region, _number(group) if region == 1 else (0, ""), natural


def _number(digits: str) -> tuple[int, str]:
    """Return what sorts as the number does, however long it is."""
    plain = digits.lstrip("0")
    return len(plain), plain
