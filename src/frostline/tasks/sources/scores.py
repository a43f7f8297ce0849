"""Labels that are numbers: when they make a task regression, and what they are worth."""

from __future__ import annotations

import math
import re

from frostline.errors import DataError
from frostline.tasks.kinds import AskedKind, Kind
from frostline.tasks.sources.rows import Rows

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
_RARE = 0.1
"""Below this share of the rows, fractions may as well be slips in a column of classes."""


def settle_kind(rows: Rows, asked: AskedKind) -> Kind:
    """Return what the training rows ask for.

    Args:
        rows: training rows that all have labels.
        asked: a kind, or `auto`: the source's own where it has one, regression where labels have fractions.

    Raises:
        DataError: `auto` cannot tell, because a few fractions stand among other labels.
    """
    if asked != "auto":
        return asked
    if rows.kind == "regression":
        return "regression"
    labels = rows.labels or ()
    fractions = [row for row, label in enumerate(labels) if not (_value(label) or 0.0).is_integer()]
    if not fractions or rows.classes is not None:
        return "classification"
    if rows.kind is None and len(fractions) >= _RARE * len(labels):
        return "regression"
    raise DataError(
        f"{rows.place(fractions[0])}: label {labels[fractions[0]]!r} is a score among classes; correct it, "
        "or say task=regression for scores, task=classification for classes"
    )


def scores_of(rows: Rows) -> list[float]:
    """Return every row's label as a number.

    Args:
        rows: rows that all have labels.

    Raises:
        DataError: a label is no finite number.
    """
    scores: list[float] = []
    for row, label in enumerate(rows.labels or ()):
        value = _value(label)
        if value is None:
            raise DataError(
                f"{rows.place(row)}: label {label!r} is no finite number, which regression needs; correct it or drop "
                "the row, or, if labels are classes, train with task=classification"
            )
        scores.append(value)
    return scores


def _value(label: str | None) -> float | None:
    # float() alone would take "nan", "infinity" and "1_000" as well.
    if label is None or not _NUMBER.fullmatch(label):
        return None
    value = float(label)
    return value if math.isfinite(value) else None
