"""Splitting rows and taking fewer of them by seed: class by class, or plainly where labels are numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from frostline.errors import DataError

_SHOWN = 5


def split_off(
    labels: Sequence[int], label_names: Sequence[str], share: float, seed: int, origin: str
) -> tuple[list[int], list[int]]:
    """Split row indices into training and validation, keeping the classes' shares.

    Args:
        labels: class index of every row.
        label_names: the classes.
        share: part of the rows for validation, in (0, 1).
        seed: which split.
        origin: what messages call the rows.

    Returns:
        Training and validation indices, each rising.

    Raises:
        DataError: a class is too small, or the rows too few, for both sides.
    """
    from sklearn.model_selection import train_test_split

    counts = Counter(labels)
    lone = [label_names[label] for label, count in sorted(counts.items()) if count == 1]
    if lone:
        named = ", ".join(map(repr, lone[:_SHOWN])) + (", ..." if len(lone) > _SHOWN else "")
        classes = f"class {named} has" if len(lone) == 1 else f"{len(lone)} classes ({named}) have"
        raise DataError(
            f"{origin}: {classes} just one example, which cannot stand in both "
            "training and validation; add examples, drop the class, or give a validation file"
        )
    try:
        train, held = train_test_split(range(len(labels)), test_size=share, random_state=seed, stratify=labels)
    except ValueError as error:
        raise DataError(
            f"{origin}: {len(labels)} rows of {len(counts)} classes cannot be split with validation_share={share} "
            f"({error}); change the share, add rows, or give a validation file"
        ) from error
    lost = sorted(set(counts) - {labels[index] for index in train})
    if lost:
        raise DataError(
            f"{origin}: with validation_share={share} no example of class {label_names[lost[0]]!r} is left to train "
            "on; lower the share"
        )
    return sorted(train), sorted(held)


def split_plainly(count: int, share: float, seed: int, origin: str) -> tuple[list[int], list[int]]:
    """Split row indices into training and validation, whatever their labels.

    Args:
        count: how many rows there are.
        share: part of the rows for validation, in (0, 1).
        seed: which split.
        origin: what messages call the rows.

    Returns:
        Training and validation indices, each rising.

    Raises:
        DataError: the rows are too few for both sides.
    """
    from sklearn.model_selection import train_test_split

    try:
        train, held = train_test_split(range(count), test_size=share, random_state=seed)
    except ValueError as error:
        raise DataError(
            f"{origin}: {count} rows cannot be split with validation_share={share} ({error}); change the share, add "
            "rows, or give a validation file"
        ) from error
    return sorted(train), sorted(held)


def subset(labels: Sequence[int], size: int, seed: int) -> list[int]:
    """Choose `size` rows by seed, every class in its share as far as whole rows allow.

    Args:
        labels: class index of every row; all the same where rows have no classes.
        size: how many to keep, at least 1.
        seed: which rows.

    Returns:
        Rising indices; a larger size keeps all rows of a smaller one.
    """
    import numpy as np

    classes = np.asarray(labels)
    # Each row stands at its class's quantile, in random order: any prefix then holds every class in its share. Unlike
    # scikit-learn's stratified split this works for any size and for classes of one row.
    order = np.random.default_rng(seed).permutation(len(classes))
    quantile = np.empty(len(classes))
    for label in np.unique(classes):
        rows = order[classes[order] == label]
        quantile[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    kept = order[np.argsort(quantile[order], kind="stable")][:size]
    return [int(index) for index in np.sort(kept)]
