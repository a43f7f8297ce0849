"""From the name of a source to its rows: a file, a folder, the embedded data or a name of the Hub."""

from __future__ import annotations

import dataclasses
import filecmp
import os
from pathlib import Path

from frostline.errors import DataError, nearest
from frostline.tasks.sources import embedded, files, hub
from frostline.tasks.sources.columns import Asked, refuse_columns
from frostline.tasks.sources.rows import Rows

SPLIT = "split"
"""The value of `validation` that leaves the source's own validation data alone; a file of that name is `./split`."""


def read_train(source: str, asked: Asked, validation: str | None) -> tuple[Rows, Rows | None]:
    """Read training rows, and validation rows where there are any to be read.

    Args:
        source: a file, a folder, `acceptability`, or a Hub name.
        asked: columns and delimiter the caller named.
        validation: a file to validate on, `split` for no validation rows, None for the source's own.

    Returns:
        The training rows; and the validation rows, None where some are to be split off.

    Raises:
        DataError: the source is not recognised or cannot be read.
    """
    path = _existing(source)
    if path is None:
        if validation not in (None, SPLIT):
            raise DataError(
                f"validation={validation!r}: {source!r} brings its own; a file goes with files and folders, and "
                f"validation={SPLIT} splits some rows off train"
            )
        own = validation is None
        if source == embedded.NAME:
            refuse_columns(asked, source, "the embedded data have no columns to name")
            return embedded.read_train(), embedded.read_validation() if own else None
        return hub.read_train(source, asked, held_needed=own)
    folder = path if path.is_dir() else None
    train_path = files.find_train(folder) if folder else path
    held_path = _validation_path(folder, validation)
    train = _named(files.read(train_path, asked, label_needed=True), folder)
    return train, None if held_path is None else _read_held(held_path, train_path, asked)


def read_evaluation(source: str, asked: Asked) -> Rows:
    """Read rows to evaluate or predict on: one file, or the evaluation split; raises as `read_train`."""
    path = _existing(source)
    if path is not None:
        return files.read(files.require_evaluation(path) if path.is_dir() else path, asked, label_needed=False)
    if source == embedded.NAME:
        refuse_columns(asked, source, "the embedded data have no columns to name")
        return embedded.read_validation()
    return hub.read_evaluation(source, asked)


def _validation_path(folder: Path | None, validation: str | None) -> Path | None:
    if validation == SPLIT:
        return None
    if validation is None:
        return files.find_evaluation(folder) if folder else None
    path = Path(validation).expanduser()
    if not path.is_file():
        way_out = _sibling(path) or f"; check the path, or say {SPLIT!r} to split some rows off train"
        raise DataError(f"validation: there is no file {validation!r}{way_out}")
    return path


def _read_held(path: Path, train_path: Path, asked: Asked) -> Rows:
    rows = files.read(path, asked, label_needed=False)
    if filecmp.cmp(train_path, path, shallow=False):
        raise DataError(
            f"{path}: validation is the same file as training, {train_path}, or a copy of it, so its score would "
            f"say nothing; name another, or say validation={SPLIT} to split some rows off"
        )
    if rows.labels is None:
        raise DataError(
            f"{path}: validation needs labels, and no column is known as one; name it with `label`, give another file "
            f"with `validation`, or say validation={SPLIT} to split some rows off train"
        )
    return rows


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
    # A layout that knows its task keeps that name; otherwise a folder says more than "train".
    if folder is None or rows.path is None or rows.name != rows.path.stem:
        return rows
    return dataclasses.replace(rows, name=folder.resolve().name)
