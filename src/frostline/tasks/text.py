"""Reading text tasks: classes or scores of texts and pairs, from files, folders, the Hub or the embedded data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from frostline.errors import DataError
from frostline.tasks import metrics
from frostline.tasks.base import TaskData
from frostline.tasks.kinds import AskedKind
from frostline.tasks.sources.columns import Asked
from frostline.tasks.sources.content import digest
from frostline.tasks.sources.labels import label_names_of
from frostline.tasks.sources.reading import read_evaluation, read_train
from frostline.tasks.sources.rows import Rows, check
from frostline.tasks.sources.scores import settle_kind
from frostline.tasks.sources.targets import divide, refuse_constant, refuse_unseen, take, targets_of

if TYPE_CHECKING:
    import datasets


def load(
    source: str,
    *,
    task: AskedKind = "auto",
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    delimiter: str | None = None,
    validation: str | None = None,
    validation_share: float = 0.1,
    max_train: int | None = None,
    seed: int = 0,
) -> TaskData:
    """Read training and validation data.

    Args:
        source: a file, a folder, `acceptability`, or a Hub name such as `glue/cola`.
        task: `classification`, `regression`, or `auto`: regression for STS-B and for labels with fractions.
        text: column of the text; None finds it by its usual names.
        text_pair: column of the second text.
        label: column of the label: classes as text or whole numbers, or scores.
        delimiter: one character between fields; None takes the comma for .csv and the tab for .tsv.
        validation: file to validate on, in place of the source's own; `split` splits some rows off train instead.
        validation_share: part of train, in (0, 1), split off where that is asked for or nothing else is there.
        max_train: keep at most so many training rows.
        seed: of the split and of the choice of rows, in both of which every class keeps its share.

    Returns:
        The data; identical for identical arguments and files.

    Raises:
        DataError: the source is not recognised or cannot be learnt from; names the file, the row and the way out.
    """
    if not 0 < validation_share < 1:
        raise DataError(f"validation_share is {validation_share}; give a share between 0 and 1, such as 0.1")
    if max_train is not None and max_train < 1:
        raise DataError(f"max_train is {max_train}; give at least 1, or leave it out to train on all rows")
    train, held = read_train(source, Asked(text, text_pair, label, delimiter), validation)
    check(train, labels_needed=True)
    kind = settle_kind(train, task)
    label_names = label_names_of(train) if kind == "classification" else ()
    targets = targets_of(train, label_names, "the task")
    refuse_constant(train, targets, label_names)
    if held is None:
        kept, split = divide(targets, label_names, validation_share, seed, train.origin)
        validation_data = _dataset(train, targets, label_names, split)
    else:
        _require_like(train, held)
        validation_data = _dataset(held, targets_of(held, label_names, train.origin), label_names)
        refuse_unseen(train, targets, held, label_names)
        kept = list(range(len(targets)))
    if max_train is not None and max_train < len(kept):
        kept = take(kept, targets, label_names, max_train, seed)
    own = train.metric if train.metric and metrics.METRICS[train.metric].kind == kind else None
    return TaskData(
        train=_dataset(train, targets, label_names, kept),
        validation=validation_data,
        label_names=label_names,
        metric=own or metrics.DEFAULT[kind],
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
        label_names: the classes of the model, none of them for one that gives scores; None leaves any labels out.
        text: column of the text; None finds it by its usual names.
        text_pair: column of the second text.
        label: column of the label; the data may have none.
        delimiter: one character between fields.

    Returns:
        Data with the columns of `TaskData.train`, `label` only where there are labels and `label_names` is not None;
        and the SHA-256 of the file's bytes, or of the rows where there is no file.

    Raises:
        DataError: as `load`, or a label is none of `label_names`.
    """
    rows = read_evaluation(source, Asked(text, text_pair, label, delimiter))
    labelled = rows.labels is not None and label_names is not None and any(name is not None for name in rows.labels)
    check(rows, labels_needed=labelled)
    if not labelled or label_names is None:
        return _dataset(rows, None, None), digest([rows])
    targets = targets_of(rows, label_names, "the model's training data")
    return _dataset(rows, targets, label_names), digest([rows])


def _require_like(train: Rows, held: Rows) -> None:
    check(held, labels_needed=True)
    if (train.pairs is None) != (held.pairs is None):
        pair, single = (held, train) if train.pairs is None else (train, held)
        raise DataError(
            f"{pair.origin} holds pairs of texts and {single.origin} single texts; name the columns of both with "
            "`text` and `text_pair`"
        )


def _dataset(
    rows: Rows, targets: Sequence[float] | None, label_names: Sequence[str] | None, kept: Sequence[int] | None = None
) -> datasets.Dataset:
    from datasets import ClassLabel, Dataset, Features, Value

    order = range(len(rows.texts)) if kept is None else kept
    columns: dict[str, list[object]] = {"text": [rows.texts[index] for index in order]}
    features = {"text": Value("string")}
    if rows.pairs is not None:
        columns["text_pair"] = [rows.pairs[index] for index in order]
        features["text_pair"] = Value("string")
    if targets is not None:
        columns["label"] = [targets[index] for index in order]
        features["label"] = ClassLabel(names=list(label_names)) if label_names else Value("float64")
    return Dataset.from_dict(columns, features=Features(features))
