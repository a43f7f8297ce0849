"""Metrics agree with their definitions and name themselves first."""

from __future__ import annotations

import numpy as np
import pytest

from frostline.errors import ConfigError, DataError
from frostline.tasks.metrics import METRICS, decisions, get_metric, squad_f1

LABELS = np.array([1, 1, 1, 0, 0, 0, 0, 1])
PREDICTIONS = np.array([1, 1, 0, 0, 0, 1, 0, 1])
# Counted by hand from the two lines above.
CLASSIFICATION = ("accuracy", "matthews", "f1", "macro_f1")
REGRESSION = ("pearson", "spearman", "mse", "mae")
ANSWERS = ("squad_f1", "exact_match")
LANGUAGE = ("perplexity", "token_accuracy")
TAGS = ("entity_f1",)
TRUE_POSITIVES, FALSE_POSITIVES, FALSE_NEGATIVES, TRUE_NEGATIVES = 3, 1, 1, 3


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_every_metric_of_classes_names_itself_first_and_gives_accuracy(name: str) -> None:
    scores = get_metric(name, "classification")(PREDICTIONS, LABELS)
    assert next(iter(scores)) == name
    assert scores["accuracy"] == 6 / 8
    assert all(type(score) is float for score in scores.values())


def test_texts_without_a_token_that_follows_cannot_be_scored() -> None:
    with pytest.raises(DataError, match="nothing to score"):
        METRICS["perplexity"](np.zeros((2, 3)), None)


def test_matthews_is_the_correlation_of_predictions_and_labels() -> None:
    expected = np.corrcoef(PREDICTIONS, LABELS)[0, 1]
    # Two orders of float64 rounding above the few operations either side takes.
    assert METRICS["matthews"](PREDICTIONS, LABELS)["matthews"] == pytest.approx(expected, abs=1e-14)


def test_matthews_of_a_constant_prediction_is_zero() -> None:
    assert METRICS["matthews"](np.ones(8, dtype=int), LABELS)["matthews"] == 0.0


def test_f1_is_that_of_class_one() -> None:
    precision = TRUE_POSITIVES / (TRUE_POSITIVES + FALSE_POSITIVES)
    recall = TRUE_POSITIVES / (TRUE_POSITIVES + FALSE_NEGATIVES)
    expected = 2 * precision * recall / (precision + recall)
    assert METRICS["f1"](PREDICTIONS, LABELS)["f1"] == pytest.approx(expected)


def test_f1_is_zero_and_silent_where_nothing_is_class_one(recwarn: pytest.WarningsRecorder) -> None:
    zeros = np.zeros(4, dtype=int)
    assert METRICS["f1"](zeros, zeros) == {"f1": 0.0, "accuracy": 1.0}
    assert not recwarn.list


def test_f1_refuses_three_classes_and_names_macro_f1() -> None:
    with pytest.raises(ConfigError, match="class index 2 occurs; use 'macro_f1'"):
        METRICS["f1"](np.array([0, 2]), np.array([0, 1]))


def test_macro_f1_weighs_every_class_the_same() -> None:
    labels = np.array([0] * 9 + [1])
    all_zero = np.zeros(10, dtype=int)
    # F1 of class 0: precision 0.9, recall 1; of class 1: 0.
    assert METRICS["macro_f1"](all_zero, labels)["macro_f1"] == pytest.approx((2 * 0.9 / 1.9 + 0) / 2)


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown metric 'mathews'; did you mean 'matthews'"):
        get_metric("mathews", "classification")


def test_metric_of_the_other_kind_is_refused_with_the_valid_ones() -> None:
    assert tuple(METRICS) == CLASSIFICATION + REGRESSION + ANSWERS + LANGUAGE + TAGS
    with pytest.raises(
        ConfigError, match="metric 'accuracy' is for classification, but this task is regression; use one of 'pearson',"
    ):
        get_metric("accuracy", "regression")
    with pytest.raises(ConfigError, match=r"'pearson' is for regression, .* 'accuracy', 'matthews', 'f1', 'macro_f1'"):
        get_metric("pearson", "classification")


def test_only_errors_and_perplexity_are_better_when_smaller() -> None:
    smaller = {name for name, metric in METRICS.items() if not metric.greater_is_better}
    assert smaller == {"mse", "mae", "perplexity"}


GIVEN = np.array([1.0, 2.5, 2.0, 4.0], dtype=np.float32)
WANTED = np.array([0.0, 3.0, 2.5, 9.0])


@pytest.mark.parametrize("name", REGRESSION)
def test_every_metric_of_numbers_names_itself_first(name: str) -> None:
    scores = get_metric(name, "regression")(GIVEN, WANTED)
    assert next(iter(scores)) == name
    # Squares and absolute differences by hand: 1, .25, .25, 25 and 1, .5, .5, 5; the order of both sides is the same.
    expected = {"pearson": np.corrcoef(GIVEN, WANTED)[0, 1], "spearman": 1.0, "mse": 26.5 / 4, "mae": 7.0 / 4}
    for key, score in scores.items():
        assert type(score) is float
        assert score == pytest.approx(expected[key], abs=1e-14)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_correlation_that_is_not_defined_is_zero_and_silent(name: str) -> None:
    zeros = {"pearson": 0.0, "spearman": 0.0}
    for predictions, labels in ((np.ones(4), WANTED), (GIVEN, np.ones(4)), (GIVEN[:1], WANTED[:1])):
        assert get_metric(name, "regression")(predictions, labels) == zeros


def test_correlation_of_predictions_that_are_no_numbers_is_none_either() -> None:
    broken = np.array([1.0, np.nan, 2.0, 4.0])
    assert np.isnan(METRICS["pearson"](broken, WANTED)["pearson"])


def test_outputs_become_classes_or_scores() -> None:
    assert decisions(np.array([[0.1, 0.9], [0.8, 0.2]])).tolist() == [1, 0]
    assert decisions(np.array([[0.5], [-2.0]])).tolist() == [0.5, -2.0]


@pytest.mark.parametrize("silence", ["", "the", "A", " !! ", "The an."])
def test_what_normalises_to_nothing_is_no_answer(silence: str) -> None:
    assert squad_f1([silence, "word"], [[], []]) == {"squad_f1": 0.5, "exact_match": 0.5}
    found = squad_f1([silence, "Paris"], [[], ["in Paris", "Paris"]])
    assert found["exact_match"] == found["no_answer"] == found["has_answer_exact"] == 1.0
