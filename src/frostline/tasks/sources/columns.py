"""Which columns hold the texts and the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frostline.errors import DataError, nearest

TEXTS = ("text", "sentence", "question")
PAIRS = (
    ("text", "text_pair"),
    ("text1", "text2"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
)
LABELS = ("label", "labels", "gold_label", "class", "category", "target", "is_duplicate")
SCORE = "score"
"""A label where no column has one of the names above: a score beside a label is mostly somebody's prediction."""
_SHOWN = 20


@dataclass(frozen=True)
class Asked:
    """What the caller said about a table; None leaves it to be found."""

    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    delimiter: str | None = None

    @property
    def anything(self) -> bool:
        """Whether the caller named a column or a delimiter."""
        return self != Asked()


@dataclass(frozen=True)
class Columns:
    """The columns to read."""

    text: str
    text_pair: str | None
    label: str | None


def choose(names: Sequence[str], asked: Asked, origin: str, *, label_needed: bool, hint: str = "") -> Columns:
    """Choose the columns to read: those asked for, else the usual names where only one reading is possible.

    Args:
        names: the table's column names.
        asked: what the caller named.
        origin: what messages call the table.
        label_needed: whether a missing label column is an error.
        hint: what else may be wrong where no usual name is found.

    Returns:
        Columns that occur exactly once in `names`.

    Raises:
        DataError: a column is missing, occurs twice, or is not clear.
    """
    text, text_pair = _texts(names, asked, origin, hint)
    chosen = Columns(text, text_pair, _label(names, asked, origin, hint, needed=label_needed))
    used = [name for name in (chosen.text, chosen.text_pair, chosen.label) if name is not None]
    for name in used:
        if names.count(name) > 1:
            raise DataError(f"{origin}: column {name!r} occurs {names.count(name)} times; rename all but one")
        if used.count(name) > 1:
            raise DataError(f"{origin}: column {name!r} is asked for twice; text, text_pair and label must differ")
    return chosen


def refuse_columns(asked: Asked, origin: str, why: str) -> None:
    """Raise a DataError where columns or a delimiter are named for a source that has none."""
    if asked.anything:
        raise DataError(f"{origin}: {why}; leave text, text_pair, label and delimiter out")


def _texts(names: Sequence[str], asked: Asked, origin: str, hint: str) -> tuple[str, str | None]:
    if asked.text is not None:
        pair = None if asked.text_pair is None else _require(asked.text_pair, names, origin, "text_pair")
        return _require(asked.text, names, origin, "text"), pair
    if asked.text_pair is not None:
        raise DataError(f"{origin}: text_pair is {asked.text_pair!r} but text is not given; name both columns")
    known = _by_lower_case(names)
    pairs = [pair for pair in PAIRS if pair[0] in known and pair[1] in known]
    singles = [name for name in TEXTS if name in known]
    if len(pairs) == 1 and set(singles) <= set(pairs[0]):
        return known[pairs[0][0]], known[pairs[0][1]]
    if not pairs and len(singles) == 1:
        return known[singles[0]], None
    found = "several could be" if pairs or singles else "none is known as"
    raise DataError(
        f"{origin}: columns are {_listed(names)}; {found} the text: name it with `text` (and `text_pair`){hint}"
    )


def _label(names: Sequence[str], asked: Asked, origin: str, hint: str, *, needed: bool) -> str | None:
    if asked.label is not None:
        return _require(asked.label, names, origin, "label")
    known = _by_lower_case(names)
    found = [name for name in LABELS if name in known] or [SCORE] * (SCORE in known)
    if len(found) == 1:
        return known[found[0]]
    if found or needed:
        which = "several could be" if found else "none is known as"
        raise DataError(f"{origin}: columns are {_listed(names)}; {which} the label: name it with `label`{hint}")
    return None


def _require(name: str, names: Sequence[str], origin: str, argument: str) -> str:
    if name not in names:
        raise DataError(
            f"{origin}: there is no column {name!r} ({argument}){nearest(name, names)} (columns: {_listed(names)})"
        )
    return name


def _by_lower_case(names: Sequence[str]) -> dict[str, str]:
    return {name.strip().lower(): name for name in names}


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name if len(name) <= 40 else name[:37] + "...") for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
