"""Metrics by name, computed by scikit-learn, SciPy, torchmetrics and seqeval; of a language, by their definition."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frostline.errors import ConfigError, DataError, nearest
from frostline.tasks import correlation
from frostline.tasks.kinds import Kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.integer[Any]] | NDArray[np.floating[Any]]

Scores = dict[str, float]


@dataclass(frozen=True)
class Metric:
    """A function of (predictions, labels), one of each row, whose result's first key is the metric's name."""

    kind: Kind
    """Which tasks it serves: predictions and labels are class indices in classification, numbers in regression, answers
    and lists of right ones in question answering, losses and nothing in
    language modelling, tags of sentences in classification of tokens."""
    compute: Callable[[Any, Any], Scores]
    greater_is_better: bool = True

    def __call__(self, predictions: Any, labels: Any) -> Scores:
        """Return the scores."""
        return self.compute(predictions, labels)


def accuracy(predictions: Values, labels: Values) -> Scores:
    """Return {"accuracy"}: share of rows whose predicted class is the true one, in [0, 1]."""
    from sklearn.metrics import accuracy_score

    return {"accuracy": float(accuracy_score(labels, predictions))}


def matthews(predictions: Values, labels: Values) -> Scores:
    """Return {"matthews", "accuracy"}: Matthews correlation, CoLA's, in [-1, 1]; 0 where one side is constant."""
    from sklearn.metrics import matthews_corrcoef

    return {"matthews": float(matthews_corrcoef(labels, predictions)), **accuracy(predictions, labels)}


def f1(predictions: Values, labels: Values) -> Scores:
    """Return {"f1", "accuracy"}: F1 of class 1 in a two-class task, as GLUE reports MRPC and QQP.

    Returns:
        Values in [0, 1]; f1 is 0 where nothing is, or is predicted as, class 1.

    Raises:
        ConfigError: an index is above 1.
    """
    from sklearn.metrics import f1_score

    highest = max(int(predictions.max(initial=0)), int(labels.max(initial=0)))
    if highest > 1:
        raise ConfigError(f"metric 'f1' is for two classes, but class index {highest} occurs; use 'macro_f1'")
    return {"f1": float(f1_score(labels, predictions, zero_division=0)), **accuracy(predictions, labels)}


def macro_f1(predictions: Values, labels: Values) -> Scores:
    """Return {"macro_f1", "accuracy"}: unweighted mean of the F1 of every class that occurs, in [0, 1]."""
    from sklearn.metrics import f1_score

    score = float(f1_score(labels, predictions, average="macro", zero_division=0))
    return {"macro_f1": score, **accuracy(predictions, labels)}


def pearson(predictions: Values, labels: Values) -> Scores:
    """Return {"pearson", "spearman"}, as GLUE reports STS-B, in [-1, 1]; 0 where one side is constant."""
    return {name: correlation.of(name, predictions, labels) for name in ("pearson", "spearman")}


def spearman(predictions: Values, labels: Values) -> Scores:
    """Return {"spearman", "pearson"}, in [-1, 1]; 0 where one side is constant."""
    return {name: correlation.of(name, predictions, labels) for name in ("spearman", "pearson")}


def mse(predictions: Values, labels: Values) -> Scores:
    """Return {"mse", "pearson"}: mean squared error, in the labels' unit squared."""
    from sklearn.metrics import mean_squared_error

    score = float(mean_squared_error(labels, predictions))
    return {"mse": score, "pearson": correlation.of("pearson", predictions, labels)}


def mae(predictions: Values, labels: Values) -> Scores:
    """Return {"mae", "pearson"}: mean absolute error, in the labels' unit."""
    from sklearn.metrics import mean_absolute_error

    score = float(mean_absolute_error(labels, predictions))
    return {"mae": score, "pearson": correlation.of("pearson", predictions, labels)}


def squad_f1(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> Scores:
    """Return {"squad_f1", "exact_match"}: SQuAD's F1 over words and share of answers that are exactly right, in [0, 1].

    Articles, punctuation and case do not count, and of several right answers the nearest does (arXiv 1606.05250,
    section 6.1). Where there is no answer, only the empty one is right (arXiv 1806.03822); both are then given for
    questions with an answer and without one, too.

    Args:
        predictions: the answer to each question, "" for none.
        answers: those that are right, none where there is none.
    """
    from torchmetrics.functional.text import squad

    def scored(indices: list[int], right: Sequence[Sequence[str]]) -> tuple[float, float]:
        if not indices:
            return 0.0, 0.0
        told = [{"prediction_text": predictions[i], "id": str(i)} for i in indices]
        wanted: list[dict[str, Any]] = [{"text": list(each), "answer_start": []} for each in right]
        found = squad(told, [{"answers": one, "id": str(i)} for one, i in zip(wanted, indices, strict=True)])
        return float(found["f1"]) / 100, float(found["exact_match"]) / 100

    told = [i for i, right in enumerate(answers) if right]
    silent = [i for i, right in enumerate(answers) if not right]
    with_answer = scored(told, [answers[i] for i in told])
    none = scored(silent, [[""]] * len(silent))[1]  # what is left of "the" or "!" is as empty as nothing
    share = len(told) / len(answers)
    f1_, exact = (share * value + (1 - share) * none for value in with_answer)
    scores = {"squad_f1": f1_, "exact_match": exact}
    if told and silent:
        scores |= {"has_answer_f1": with_answer[0], "has_answer_exact": with_answer[1], "no_answer": none}
    return scores


def exact_match(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> Scores:
    """Return the same as `squad_f1`, the share that is exactly right first."""
    scores = squad_f1(predictions, answers)
    return {"exact_match": scores["exact_match"], **scores}


def perplexity(outputs: NDArray[np.floating[Any]], labels: Any) -> Scores:
    """Return {"perplexity", "token_accuracy"}: exp of the mean loss over all tokens, however they are spread over rows,
    1 at best; and the share of tokens that were held for the likeliest, in [0, 1].

    Args:
        outputs: as `frostline.tasks.next_tokens.token_scores` gives them, shape (rows, 3).
        labels: not looked at: a text's labels are its own tokens.
    """
    loss, right, tokens = outputs.reshape(-1, 3).sum(0).tolist()
    if not tokens:
        raise DataError("no token follows another in any of the texts: there is nothing to score; give longer texts.")
    mean = loss / tokens
    # A float64 ends near exp(709); a model so far off has diverged.
    return {"perplexity": math.exp(mean) if mean < 709 else math.inf, "token_accuracy": right / tokens}


def token_accuracy(outputs: NDArray[np.floating[Any]], labels: Any) -> Scores:
    """Return {"token_accuracy", "perplexity"}, see `perplexity`."""
    return dict(reversed(perplexity(outputs, labels).items()))


def entity_f1(predictions: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]) -> Scores:
    """Return {"entity_f1", "entity_precision", "entity_recall"}, in [0, 1], as conlleval counts: an entity is right if
    its words and its type are; 0 where there is none.

    Args:
        predictions: of each sentence the tags of its words: O, B-TYPE, I-TYPE.
        labels: the true ones.
    """
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    precision, recall, score, _ = precision_recall_fscore_support(
        [list(row) for row in labels], [list(row) for row in predictions], average="micro", zero_division=0
    )
    return {"entity_f1": float(score), "entity_precision": float(precision), "entity_recall": float(recall)}


def decisions(outputs: NDArray[Any]) -> NDArray[Any]:
    """Return what a model's outputs, shape (rows, classes or 1), say of each row: the best class, or the score."""
    result: NDArray[Any] = outputs[:, 0] if outputs.shape[1] == 1 else outputs.argmax(-1)
    return result


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("classification", accuracy),
    "matthews": Metric("classification", matthews),
    "f1": Metric("classification", f1),
    "macro_f1": Metric("classification", macro_f1),
    "pearson": Metric("regression", pearson),
    "spearman": Metric("regression", spearman),
    "mse": Metric("regression", mse, greater_is_better=False),
    "mae": Metric("regression", mae, greater_is_better=False),
    "squad_f1": Metric("question-answering", squad_f1),
    "exact_match": Metric("question-answering", exact_match),
    "perplexity": Metric("language-modeling", perplexity, greater_is_better=False),
    "token_accuracy": Metric("language-modeling", token_accuracy),
    "entity_f1": Metric("token-classification", entity_f1),
}
DEFAULT: Mapping[Kind, str] = {
    "classification": "accuracy",
    "regression": "pearson",
    "question-answering": "squad_f1",
    "language-modeling": "perplexity",
    "token-classification": "entity_f1",
}


def get_metric(name: str, kind: Kind) -> Metric:
    """Return the metric called `name`.

    Args:
        name: a key of `METRICS`.
        kind: of the task to be scored.

    Raises:
        ConfigError: there is no such metric, or it does not serve this kind of task.
    """
    if name not in METRICS:
        raise ConfigError(f"unknown metric {name!r}{nearest(name, METRICS)}")
    metric = METRICS[name]
    if metric.kind != kind:
        valid = ", ".join(repr(other) for other, found in METRICS.items() if found.kind == kind)
        raise ConfigError(f"metric {name!r} is for {metric.kind}, but this task is {kind}; use one of {valid}")
    return metric
