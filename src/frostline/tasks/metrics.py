"""Metrics of classification, all computed by scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from frostline.errors import ConfigError, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Indices = NDArray[np.integer[Any]]

Metric = Callable[["Indices", "Indices"], dict[str, float]]


def accuracy(predictions: Indices, labels: Indices) -> dict[str, float]:
    """Share of rows whose predicted class is the true one.

    Args:
        predictions: class indices, shape (rows,).
        labels: class indices, shape (rows,).

    Returns:
        {"accuracy"}, in [0, 1].
    """
    from sklearn.metrics import accuracy_score

    return {"accuracy": float(accuracy_score(labels, predictions))}


def matthews(predictions: Indices, labels: Indices) -> dict[str, float]:
    """Matthews correlation, CoLA's metric; 0 where one side holds a single class.

    Args:
        predictions: class indices, shape (rows,).
        labels: class indices, shape (rows,).

    Returns:
        {"matthews", "accuracy"}; matthews in [-1, 1].
    """
    from sklearn.metrics import matthews_corrcoef

    return {"matthews": float(matthews_corrcoef(labels, predictions)), **accuracy(predictions, labels)}


def f1(predictions: Indices, labels: Indices) -> dict[str, float]:
    """F1 of class 1 in a two-class task, as GLUE reports MRPC and QQP.

    Args:
        predictions: class indices 0 or 1, shape (rows,).
        labels: class indices 0 or 1, shape (rows,).

    Returns:
        {"f1", "accuracy"}, in [0, 1]; f1 is 0 where nothing is, or is predicted as, class 1.

    Raises:
        ConfigError: an index is above 1.
    """
    from sklearn.metrics import f1_score

    highest = max(int(predictions.max(initial=0)), int(labels.max(initial=0)))
    if highest > 1:
        raise ConfigError(f"metric 'f1' is for two classes, but class index {highest} occurs; use 'macro_f1'")
    return {"f1": float(f1_score(labels, predictions, zero_division=0)), **accuracy(predictions, labels)}


def macro_f1(predictions: Indices, labels: Indices) -> dict[str, float]:
    """Unweighted mean of the F1 of every class that occurs.

    Args:
        predictions: class indices, shape (rows,).
        labels: class indices, shape (rows,).

    Returns:
        {"macro_f1", "accuracy"}, in [0, 1].
    """
    from sklearn.metrics import f1_score

    score = float(f1_score(labels, predictions, average="macro", zero_division=0))
    return {"macro_f1": score, **accuracy(predictions, labels)}


METRICS: Mapping[str, Metric] = {"accuracy": accuracy, "matthews": matthews, "f1": f1, "macro_f1": macro_f1}


def get_metric(name: str) -> Metric:
    """Return the metric called `name`.

    Args:
        name: a key of `METRICS`.

    Returns:
        A function of (predictions, labels) whose result's first key is `name`.

    Raises:
        ConfigError: there is no such metric.
    """
    if name not in METRICS:
        raise ConfigError(f"unknown metric {name!r}{nearest(name, METRICS)}")
    return METRICS[name]
