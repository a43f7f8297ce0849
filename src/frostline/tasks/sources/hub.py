"""Data sets of the Hugging Face Hub, read by `datasets`."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

from frostline.errors import DataError, nearest
from frostline.tasks.sources.columns import Asked
from frostline.tasks.sources.rows import Rows
from frostline.tasks.sources.tables import from_arrow

if TYPE_CHECKING:
    import datasets

PROBE_SECONDS = 5.0
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+){1,2}")
VALIDATION = ("validation", "validation_matched", "dev", "test")
_GLUE_METRICS = {"cola": "matthews", "mrpc": "f1", "qqp": "f1", "stsb": "pearson"}


def is_name(source: str) -> bool:
    """Whether `source` has the form of a Hub name: `owner/name`, `owner/name/config` or `glue/task`."""
    return _NAME.fullmatch(source) is not None


def read_train(source: str, asked: Asked, *, held_needed: bool) -> tuple[Rows, Rows | None]:
    """Read the training and validation splits.

    Args:
        source: `owner/name`, `owner/name/config` or `glue/task`.
        asked: columns the caller named.
        held_needed: whether to look for a validation split at all.

    Returns:
        The rows of `train`, and of the first labelled split of validation, dev and test if there is one.

    Raises:
        DataError: the Hub cannot be reached, does not know the name, or the splits or columns are not clear.
    """
    splits = splits_of(source)
    if "train" not in splits:
        raise DataError(f"{source}: there is no split 'train'{nearest('train', splits)}; name another data set")
    train = _rows(source, "train", splits["train"], asked, label_needed=True)
    for split in VALIDATION if held_needed else ():
        if split in splits:
            rows = _rows(source, split, splits[split], asked, label_needed=False)
            # Benchmarks keep the labels of their test split to themselves; such a split validates nothing.
            if rows.labels is not None and any(label is not None for label in rows.labels):
                return train, rows
    return train, None


def read_evaluation(source: str, asked: Asked) -> Rows:
    """Read the evaluation split: the first there is of validation, dev and test.

    Args:
        source: `owner/name`, `owner/name/config` or `glue/task`.
        asked: columns the caller named.

    Returns:
        Its rows.

    Raises:
        DataError: as `read_train`, or there is no such split.
    """
    splits = splits_of(source)
    for split in VALIDATION:
        if split in splits:
            return _rows(source, split, splits[split], asked, label_needed=False)
    raise DataError(f"{source}: its splits are {', '.join(splits)}; none of {', '.join(VALIDATION)} to evaluate on")


def _rows(source: str, split: str, data: datasets.Dataset, asked: Asked, *, label_needed: bool) -> Rows:
    import dataclasses

    table = data.with_format("arrow")[:]
    rows = from_arrow(table, data.features, f"{source} ({split})", source, asked, label_needed=label_needed)
    path, config = _path_and_config(source)
    return dataclasses.replace(rows, metric=_GLUE_METRICS.get(config or "") if path.endswith("/glue") else None)


def _path_and_config(source: str) -> tuple[str, str | None]:
    owner, name, *config = source.split("/")
    if owner == "glue" and not config:
        return "nyu-mll/glue", name
    return f"{owner}/{name}", config[0] if config else None


def splits_of(source: str) -> dict[str, Any]:
    """Return the splits of a data set by name; DataError if the Hub cannot be reached or does not know it."""
    from datasets import load_dataset
    from huggingface_hub import constants

    # Without a network the Hub's own client retries for half a minute; one short request tells beforehand.
    # In its offline mode the client asks nobody and answers from its cache at once.
    if not constants.is_offline_mode() and not _answers(PROBE_SECONDS):
        raise DataError(_unreachable(source, f"{constants.ENDPOINT} does not answer"))
    path, config = _path_and_config(source)
    try:
        return dict(load_dataset(path, config))
    except ConnectionError as error:
        raise DataError(_unreachable(source, str(error))) from error
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{source}: the Hub's data set {path!r} (config {config!r}) cannot be read: {error}; check the name"
        ) from error


def _unreachable(source: str, why: str) -> str:
    return (
        f"{source}: no file or folder has this name, so it was taken for a data set of the Hugging Face Hub, which "
        f"cannot be reached ({why}). Offline, name a file, a folder, or 'acceptability', the embedded data; a data "
        "set already in the Hub's cache is read with HF_HUB_OFFLINE=1"
    )


def _answers(seconds: float) -> bool:
    from huggingface_hub import constants, get_session

    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=seconds)
        except Exception:  # whatever goes wrong, the Hub did not answer
            return
        answered.set()

    # A thread, because looking up a host's name keeps no timeout of the request's.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()
