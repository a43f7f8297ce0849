"""Scores and predictions of a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray

from frostline.errors import ConfigError, DataError
from frostline.models import Classifier, load_classifier, longest_text, quiet
from frostline.tasks.kinds import kind_of
from frostline.tasks.metrics import DEFAULT, decisions, get_metric
from frostline.tasks.text import load, read_examples
from frostline.training.run_folder import RunFolder

Columns = dict[str, str | None]


def evaluate_model(
    folder: Path, data: str | None, metric: str | None, columns: Columns, batch_size: int
) -> dict[str, float | int]:
    """Return the scores of the model in `folder` on labelled data.

    Args:
        folder: a run folder, or any folder with a sequence classifier.
        data: what to score on; the run's own validation data if None.
        metric: a name in METRICS; the run's own, else accuracy or pearson, if None.
        columns: names of `text`, `text_pair`, `label`, and the `delimiter`.
        batch_size: examples in a forward pass.

    Raises:
        ConfigError: the folder holds no model, the metric is not for such a model, or no data were named and it is
            no run folder.
        DataError: the data cannot be read, have no labels, or a label is not among the model's.
    """
    record, loaded = _load(folder)
    names, kind = loaded.label_names, kind_of(loaded.label_names)
    score = get_metric(metric or (record or {}).get("metric", DEFAULT[kind]), kind)
    if data is None:
        if record is None:
            raise ConfigError(f"{folder} is no run folder, so it names no data; say --data.")
        examples = _own_validation(record, names)
    else:
        examples, _ = read_examples(data, label_names=names, **_given(columns))
    if "label" not in examples.column_names:
        raise DataError(f"{data} has no labels to score against; use `frostline predict`, or name the column: --label.")
    outputs = _outputs(loaded, examples, batch_size, _max_length(record))
    scores: dict[str, float | int] = dict(score(decisions(outputs), np.asarray(examples["label"])))
    return {**scores, "examples": len(examples)}


def predict_rows(
    folder: Path, texts: Sequence[str] | None, data: str | None, columns: Columns, batch_size: int
) -> list[dict[str, Any]]:
    """Return for each text its class and the class's probability as `label` and `score`; its `score` in regression.

    Args:
        folder: a run folder, or any folder with a sequence classifier.
        texts: what to classify or score; or None and
        data: a file or folder of texts.
        columns: names of `text`, `text_pair`, and the `delimiter`.
        batch_size: examples in a forward pass.
    """
    record, loaded = _load(folder)
    if texts is not None:
        examples = datasets.Dataset.from_dict({"text": list(texts)})
    else:
        assert data is not None
        examples, _ = read_examples(data, label_names=None, **_given(columns))
    outputs = _outputs(loaded, examples, batch_size, _max_length(record))
    names = loaded.label_names
    rows = []
    for example, row in zip(examples, outputs, strict=True):
        best = int(row.argmax())
        pair = {"text_pair": example["text_pair"]} if "text_pair" in example else {}
        label = {"label": names[best]} if names else {}
        rows.append({"text": example["text"], **pair, **label, "score": float(row[best])})
    return rows


def _load(folder: Path) -> tuple[dict[str, Any] | None, Classifier]:
    quiet()
    record = RunFolder(folder).record()
    if record is not None and record["status"] != "finished":
        raise ConfigError(
            f"the run in {folder} is not finished (status: {record['status']}); resume it, or export a checkpoint."
        )
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {str(folder)!r}.")
    loaded = load_classifier(str(folder))
    problem, outputs = loaded.model.config.problem_type, loaded.model.config.num_labels
    if problem == "multi_label_classification" or (problem == "regression" and outputs > 1):
        raise ConfigError(
            f"the model in {folder} has {outputs} outputs for problem_type={problem!r}; here a model gives each text "
            "one class or one score."
        )
    return record, loaded


def _own_validation(record: dict[str, Any], names: tuple[str, ...]) -> datasets.Dataset:
    config = record["config"]
    keys = ("text", "text_pair", "label", "delimiter", "validation", "validation_share", "max_train", "seed")
    # The model's kind is settled, whatever `auto` would make of the data now.
    found = load(config["data"], task=kind_of(names), **{key: config[key] for key in keys})
    if found.label_names != names:
        raise DataError(f"{config['data']} now has the classes {found.label_names}; the model knows {names}.")
    return found.validation


def _given(columns: Columns) -> dict[str, str | None]:
    return {key: value for key, value in columns.items() if value is not None}


def _max_length(record: dict[str, Any] | None) -> int | None:
    return None if record is None else int(record["config"]["max_length"])


def _outputs(
    loaded: Classifier, examples: datasets.Dataset, batch_size: int, max_length: int | None
) -> NDArray[np.float32]:
    """Return the classes' probabilities, shape (rows, classes), or the scores, shape (rows, 1)."""
    pair = "text_pair" in examples.column_names
    limit = max_length or longest_text(loaded.model)
    model = loaded.model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    parts = []
    for start in range(0, len(examples), batch_size):
        batch = examples[start : start + batch_size]
        texts = (batch["text"], batch["text_pair"]) if pair else (batch["text"],)
        encoded = loaded.tokenizer(*texts, truncation=True, max_length=limit, padding=True, return_tensors="pt")
        with torch.inference_mode():
            logits = model(**encoded.to(model.device)).logits.float()
        parts.append((logits.softmax(-1) if loaded.label_names else logits).cpu().numpy())
    result: NDArray[np.float32] = np.concatenate(parts)
    return result
