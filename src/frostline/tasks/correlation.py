"""Correlations of predictions with labels, by SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def of(name: str, predictions: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the correlation called `name`.

    Args:
        name: "pearson" or "spearman".
        predictions: numbers, shape (rows,).
        labels: numbers, shape (rows,).

    Returns:
        A number in [-1, 1]; 0 where it is not defined, one side being constant; NaN where a prediction is.
    """
    import numpy as np
    from scipy import stats

    x, y = np.asarray(predictions, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    # SciPy gives NaN with a warning, or an error for a single row; a model that predicts a constant has found nothing.
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    measure = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[name]
    return float(measure(x, y).statistic)
