"""What a model is to give for each row: the index of its class, or its score where there are no classes."""

from __future__ import annotations

from collections.abc import Sequence

from frostline.errors import DataError
from frostline.tasks.sources.labels import encode
from frostline.tasks.sources.rows import Rows
from frostline.tasks.sources.scores import scores_of
from frostline.tasks.sources.splits import split_off, split_plainly, subset


def targets_of(rows: Rows, label_names: Sequence[str], known_by: str) -> Sequence[float]:
    """Return every row's target.

    Args:
        rows: rows that all have labels.
        label_names: the classes in index order; none for scores.
        known_by: what defined the classes, for the message.

    Raises:
        DataError: a label is none of `label_names`, or no number.
    """
    return encode(rows, label_names, known_by) if label_names else scores_of(rows)


def refuse_constant(train: Rows, targets: Sequence[float], label_names: Sequence[str]) -> None:
    """Raise DataError where there is only one class, or only one score."""
    if len(set(targets)) > 1:
        return
    if label_names:
        raise DataError(
            f"{train.origin}: every label is {label_names[int(targets[0])]!r}; to learn, two classes are needed: "
            "add rows of another class, or name the right column with `label`"
        )
    raise DataError(
        f"{train.origin}: every label is {targets[0]:g}; to learn, scores that differ are needed: add rows, or name "
        "the right column with `label`"
    )


def refuse_unseen(train: Rows, targets: Sequence[float], held: Rows, label_names: Sequence[str]) -> None:
    """Raise DataError where a class of the validation rows has no training row."""
    unseen = set(range(len(label_names))) - set(targets)
    if not unseen:
        return
    for row, index in enumerate(encode(held, label_names, train.origin)):
        if index in unseen:
            raise DataError(
                f"{held.place(row)}: label {label_names[index]!r} has no example in {train.origin}; add some there, "
                "or drop the row"
            )


def divide(
    targets: Sequence[float], label_names: Sequence[str], share: float, seed: int, origin: str
) -> tuple[list[int], list[int]]:
    """Split row indices into training and validation: class by class, or plainly; see `splits`."""
    if label_names:
        return split_off([int(target) for target in targets], label_names, share, seed, origin)
    return split_plainly(len(targets), share, seed, origin)


def take(kept: Sequence[int], targets: Sequence[float], label_names: Sequence[str], size: int, seed: int) -> list[int]:
    """Return `size` of the row indices in `kept`, chosen by seed; every class keeps its share."""
    strata = [int(targets[index]) if label_names else 0 for index in kept]
    return [kept[index] for index in subset(strata, size, seed)]
