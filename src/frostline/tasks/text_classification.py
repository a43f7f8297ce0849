"""Reading text classification data: single sentences and pairs, from files, folders, the Hub or the embedded task."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frostline.errors import DataError, nearest
from frostline.tasks.sources import embedded, files, hub
from frostline.tasks.sources.columns import Asked, refuse_columns
from frostline.tasks.sources.content import digest
from frostline.tasks.sources.labels import encode, label_names_of
from frostline.tasks.sources.rows import Rows, check
from frostline.tasks.sources.splits import split_off, subset

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class TextData:
    """A text classification task, ready to be tokenised."""

    train: datasets.Dataset
    """Columns `text`, `text_pair` for tasks on pairs, and `label`, an index into `label_names`."""
    validation: datasets.Dataset
    """Same columns."""
    label_names: tuple[str, ...]
    metric: str
    """The task's own metric, a name in `metrics.METRICS`."""
    name: str
    sha256: str
    """Of the bytes of the files read, training before validation; of the rows where there are no files."""


def load(
    source: str,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    delimiter: str | None = None,
    validation: str | None = None,
    validation_share: float = 0.1,
    max_train: int | None = None,
    seed: int = 0,
) -> TextData:
    """Read training and validation data.

    Args:
        source: a file, a folder, `acceptability`, or a Hub name such as `glue/cola`.
        text: column of the text; None finds it by its usual names.
        text_pair: column of the second text.
        label: column of the label, classes as text or whole numbers.
        delimiter: one character between fields; None takes the comma for .csv and the tab for .tsv.
        validation: file to validate on, in place of the source's own.
        validation_share: part of train, in (0, 1), split off class by class where nothing else is there.
        max_train: keep at most so many training rows, every class in its share.
        seed: of the split and of the choice of rows.

    Returns:
        The data; identical for identical arguments and files.

    Raises:
        DataError: the source is not recognised or cannot be learnt from; names the file, the row and the way out.
    """
    if not 0 < validation_share < 1:
        raise DataError(f"validation_share is {validation_share}; give a share between 0 and 1, such as 0.1")
    if max_train is not None and max_train < 1:
        raise DataError(f"max_train is {max_train}; give at least 1, or leave it out to train on all rows")
    train, held = _read_train(source, Asked(text, text_pair, label, delimiter), validation)
    check(train, labels_needed=True)
    label_names = label_names_of(train)
    labels = encode(train, label_names, "the task")
    if len(set(labels)) < 2:
        raise DataError(
            f"{train.origin}: every label is {label_names[labels[0]]!r}; to learn, two classes are needed: "
            "add rows of another class, or name the right column with `label`"
        )
    if held is None:
        kept, split = split_off(labels, label_names, validation_share, seed, train.origin)
        validation_data = _dataset(train, labels, label_names, split)
    else:
        _check_validation(train, held, labels, label_names)
        kept = list(range(len(labels)))
        validation_data = _dataset(held, encode(held, label_names, train.origin), label_names)
    if max_train is not None and max_train < len(kept):
        kept = [kept[index] for index in subset([labels[index] for index in kept], max_train, seed)]
    return TextData(
        train=_dataset(train, labels, label_names, kept),
        validation=validation_data,
        label_names=label_names,
        metric=train.metric,
        name=train.name,
        sha256=digest([train] if held is None else [train, held]),
    )


def read_examples(
    source: str,
    *,
    label_names: tuple[str, ...] | None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    delimiter: str | None = None,
) -> tuple[datasets.Dataset, str]:
    """Read examples to evaluate or predict on: one file, or the evaluation split of anything `load` takes.

    Args:
        source: a file, a folder, `acceptability`, or a Hub name.
        label_names: the classes of the model; None leaves any labels out.
        text: column of the text; None finds it by its usual names.
        text_pair: column of the second text.
        label: column of the label; the data may have none.
        delimiter: one character between fields.

    Returns:
        Data with the columns of `TextData.train`, `label` only where there are labels and `label_names`;
        and the SHA-256 of the file's bytes, or of the rows where there is no file.

    Raises:
        DataError: as `load`, or a label is none of `label_names`.
    """
    rows = _read_evaluation(source, Asked(text, text_pair, label, delimiter))
    labelled = rows.labels is not None and label_names is not None and any(name is not None for name in rows.labels)
    check(rows, labels_needed=labelled)
    if not labelled or label_names is None:
        return _dataset(rows, None, None), digest([rows])
    return _dataset(rows, encode(rows, label_names, "the model's training data"), label_names), digest([rows])


def _read_train(source: str, asked: Asked, validation: str | None) -> tuple[Rows, Rows | None]:
    path = _existing(source)
    if path is None:
        if validation is not None:
            raise DataError(f"validation={validation!r}: {source!r} brings its own; a file goes with files and folders")
        if source == embedded.NAME:
            refuse_columns(asked, source, "the embedded data have no columns to name")
            return embedded.read_train(), embedded.read_validation()
        return hub.read_train(source, asked)
    folder = path if path.is_dir() else None
    train_path = files.find_train(folder) if folder else path
    held_path = _validation_path(folder, validation)
    train = _named(files.read(train_path, asked, label_needed=True), folder)
    return train, None if held_path is None else _read_held(held_path, train_path, asked)


def _validation_path(folder: Path | None, validation: str | None) -> Path | None:
    if validation is None:
        return files.find_evaluation(folder) if folder else None
    path = Path(validation).expanduser()
    if not path.is_file():
        raise DataError(f"validation: there is no file {validation!r}{_sibling(path) or '; check the path'}")
    return path


def _read_held(path: Path, train_path: Path, asked: Asked) -> Rows:
    rows = files.read(path, asked, label_needed=False)
    if filecmp.cmp(train_path, path, shallow=False):
        raise DataError(
            f"{path}: validation is the same file as training, {train_path}, or a copy of it, so its score would "
            "say nothing; name another, or leave validation out to split some rows off"
        )
    if rows.labels is None:
        raise DataError(
            f"{path}: validation needs labels, and no column is known as one; name it with `label`, give another file "
            "with `validation`, or name the training file itself as source to split some rows off"
        )
    return rows


def _read_evaluation(source: str, asked: Asked) -> Rows:
    path = _existing(source)
    if path is not None:
        return files.read(files.require_evaluation(path) if path.is_dir() else path, asked, label_needed=False)
    if source == embedded.NAME:
        refuse_columns(asked, source, "the embedded data have no columns to name")
        return embedded.read_validation()
    return hub.read_evaluation(source, asked)


def _existing(source: str) -> Path | None:
    """Return the file or folder `source` names, None for the embedded data and for Hub names."""
    if not source.strip():
        raise DataError(f"the source of the data is empty. {files.LAYOUTS}")
    path = Path(source).expanduser()
    # The embedded name is reserved: a folder called so is read as ./acceptability.
    if source == embedded.NAME:
        return None
    # os.path, because pathlib raises on a name too long for the file system instead of taking it as absent.
    if os.path.exists(path):
        return path
    looks_local = path.suffix.lower() in files.SUFFIXES or os.path.isdir(path.parts[0])
    if hub.is_name(source) and not looks_local:
        return None
    raise DataError(f"{source!r}: there is no such file or folder{_sibling(path) or '.'} {files.LAYOUTS}")


def _sibling(path: Path) -> str:
    names = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    guess = nearest(path.name, [*names, embedded.NAME])
    # Without a near name the list of all would be the folder's whole content.
    return guess if guess.startswith("; did you mean") else ""


def _named(rows: Rows, folder: Path | None) -> Rows:
    from dataclasses import replace

    # A layout that knows its task keeps that name; otherwise a folder says more than "train".
    if folder is None or rows.path is None or rows.name != rows.path.stem:
        return rows
    return replace(rows, name=folder.resolve().name)


def _check_validation(train: Rows, held: Rows, labels: Sequence[int], label_names: Sequence[str]) -> None:
    check(held, labels_needed=True)
    if (train.pairs is None) != (held.pairs is None):
        pair, single = (held, train) if train.pairs is None else (train, held)
        raise DataError(
            f"{pair.origin} holds pairs of texts and {single.origin} single texts; name the columns of both with "
            "`text` and `text_pair`"
        )
    unseen = set(range(len(label_names))) - set(labels)
    for row, index in enumerate(encode(held, label_names, train.origin)):
        if index in unseen:
            raise DataError(
                f"{held.place(row)}: label {label_names[index]!r} has no example in {train.origin}; add some there, "
                "or drop the row"
            )


def _dataset(
    rows: Rows, labels: Sequence[int] | None, label_names: Sequence[str] | None, kept: Sequence[int] | None = None
) -> datasets.Dataset:
    from datasets import ClassLabel, Dataset, Features, Value

    order = range(len(rows.texts)) if kept is None else kept
    columns: dict[str, list[object]] = {"text": [rows.texts[index] for index in order]}
    features = {"text": Value("string")}
    if rows.pairs is not None:
        columns["text_pair"] = [rows.pairs[index] for index in order]
        features["text_pair"] = Value("string")
    if labels is not None:
        columns["label"] = [labels[index] for index in order]
        features["label"] = ClassLabel(names=list(label_names or ()))
    return Dataset.from_dict(columns, features=Features(features))
