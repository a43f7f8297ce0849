"""From class names to indices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from frostline.errors import DataError
from frostline.tasks.sources.rows import Rows

_SHOWN = 20


def label_names_of(train: Rows) -> tuple[str, ...]:
    """Return the class names in index order: the source's own, else those that occur, numbers by value.

    Args:
        train: the training rows.

    Returns:
        Every name once.
    """
    if train.classes is not None:
        return train.classes
    return tuple(sorted({name for name in train.labels or () if name is not None}, key=_natural))


def _natural(name: str) -> tuple[object, ...]:
    # "class 10" after "class 2", and -1 before 0.
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", name):
        return (0, Decimal(name), name)
    # Split at a group, text and digits alternate, so that like always meets like.
    parts = re.split(r"(\d+)", name)
    return (1, tuple(int(part) if index % 2 else part for index, part in enumerate(parts)), name)


def encode(rows: Rows, label_names: Sequence[str], known_by: str) -> list[int]:
    """Return every row's class index.

    Args:
        rows: rows that all have labels.
        label_names: the classes in index order.
        known_by: what defined the classes, for the message.

    Returns:
        Indices into `label_names`.

    Raises:
        DataError: a label is none of `label_names`.
    """
    index_of = {name: index for index, name in enumerate(label_names)}
    indices: list[int] = []
    for row, name in enumerate(rows.labels or ()):
        if name is None or name not in index_of:
            known = ", ".join(map(repr, label_names[:_SHOWN])) + (", ..." if len(label_names) > _SHOWN else "")
            raise DataError(
                f"{rows.place(row)}: label {name!r} does not occur in {known_by}, whose labels are {known}; "
                "correct it, drop the row, or train with it"
            )
        indices.append(index_of[name])
    return indices
