"""`Rows`: what every source gives, before labels become class indices or numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from frostline.errors import DataError
from frostline.tasks.kinds import Kind

_WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0*")
_SHOWN = 5


@dataclass(frozen=True)
class Rows:
    """One file or split as it was read; `texts`, `pairs`, `labels` and `numbers` run in parallel."""

    origin: str
    """What messages call it: the file's path, or the name and split."""
    name: str
    """The task's name."""
    texts: Sequence[object]
    """What is read: texts; or images as `datasets` writes them, {"bytes", "path"}."""
    pairs: Sequence[object] | None
    """Second texts, for tasks on pairs."""
    labels: Sequence[str | None] | None
    """Class names, or numbers as text; None where a row has none."""
    numbers: Sequence[int]
    """Each row's number in `unit`s, from 1."""
    unit: str = "row"
    """What `numbers` count: "line" or "row"."""
    classes: tuple[str, ...] | None = None
    """Class names in index order, where the source itself fixes them."""
    kind: Kind | None = None
    """Where the source itself settles it; otherwise the labels tell."""
    metric: str | None = None
    """The task's own, where it is known to have one."""
    path: Path | None = None
    """The file, where there is one."""

    def place(self, index: int) -> str:
        """Return where row `index` stands, for a message."""
        return f"{self.origin}, {self.unit} {self.numbers[index]}"


def label_name(value: object) -> str | None:
    """Return a label as text: stripped, whole numbers without a fraction, None where missing.

    Args:
        value: a cell as its parser gave it.

    Returns:
        The text, or None for null, NaN and blank cells.

    Raises:
        TypeError: the value is neither text, a number nor a truth value.
    """
    if value is None:
        return None
    if not isinstance(value, (str, int, float, Decimal)):
        raise TypeError(f"a label must be text or a number, not {type(value).__name__}")
    name = str(value).strip()
    if not name or name.lower() == "nan":
        return None
    # pandas writes 0 and 1 as 0.0 and 1.0 as soon as one label of the column is missing.
    whole = _WHOLE_NUMBER.fullmatch(name)
    return whole.group(1) if whole else name


def label_cells(cells: Sequence[object], origin: str, numbers: Sequence[int], unit: str) -> list[str | None]:
    """Return cells of a label column as text; a list or an object is a DataError naming its row."""
    names: list[str | None] = []
    for number, cell in zip(numbers, cells, strict=True):
        try:
            names.append(label_name(cell))
        except TypeError as error:
            raise DataError(
                f"{origin}, {unit} {number}: label {cell!r}: {error}; give every row one label "
                "(several labels a row are not supported here)"
            ) from error
    return names


def is_unicode(text: str) -> bool:
    """Tell whether a text can be written as UTF-8: JSON may hold half of a pair of surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check(rows: Rows, *, labels_needed: bool) -> None:
    """Refuse rows that cannot be learnt from.

    Args:
        rows: what a source gave.
        labels_needed: whether every row must have a label.

    Raises:
        DataError: no rows, cells that are missing or no text, or labels missing.
    """
    if not rows.texts:
        raise DataError(f"{rows.origin}: there are no rows, only a header at most; add rows or name another file")
    _check_texts(rows, rows.texts, "text")
    if rows.pairs is not None:
        _check_texts(rows, rows.pairs, "second text")
    if labels_needed:
        check_labels(rows)


def check_labels(rows: Rows) -> None:
    """Raise DataError where labels are missing."""
    if rows.labels is None:
        raise DataError(f"{rows.origin}: there are no labels; name their column with `label`")
    _refuse(rows, [index for index, label in enumerate(rows.labels) if label is None], "the label is missing")


def _check_texts(rows: Rows, cells: Sequence[object], what: str) -> None:
    for index, cell in enumerate(cells):
        # NaN, alone unequal to itself, is how pandas writes a missing text.
        if cell is not None and not isinstance(cell, str) and cell == cell:
            raise DataError(
                f"{rows.place(index)}: the {what} is {cell!r} ({type(cell).__name__}); "
                "write it as text, or name the right column"
            )
        if isinstance(cell, str) and not is_unicode(cell):
            raise DataError(f"{rows.place(index)}: the {what} is {cell!r}, which no UTF-8 can hold; mend it")
    missing = [i for i, cell in enumerate(cells) if not isinstance(cell, str) or not cell.strip()]
    _refuse(rows, missing, f"the {what} is missing")


def _refuse(rows: Rows, missing: Sequence[int], what: str) -> None:
    if missing:
        these = "this row" if len(missing) == 1 else "these rows"
        shown = ", ".join(str(rows.numbers[index]) for index in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        units = rows.unit if len(missing) == 1 else f"{rows.unit}s"
        raise DataError(f"{rows.origin}, {units} {shown}{more}: {what}; fill in or delete {these}")
