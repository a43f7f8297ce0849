"""A run on scores in place of classes: trained, scored, predicted, exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

REGRESSION: dict[str, Any] = {"epochs": 6, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def scored(moods: Any, table: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the moods with scores: 4.5 for good ones, 0.25 more for each word, 1 for bad ones."""
    folder = tmp_path_factory.mktemp("data") / "scores"
    folder.mkdir()
    rows = [
        (text, str({"good": 4.5, "bad": 1.0}[label] + 0.25 * len(text.split()))) for text, label in moods(72, seed=3)
    ]
    table(folder / "train.csv", rows[:56], ("text", "score"))
    table(folder / "validation.csv", rows[56:], ("text", "score"))
    return folder


@pytest.fixture(scope="module")
def run(train: Any, scored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that has learnt something, with a checkpoint of its last step."""
    folder = tmp_path_factory.mktemp("runs") / "full"
    train(folder, data=str(scored), **REGRESSION)
    return folder


def predictions(command: Any, *words: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in command("predict", *words).stdout.splitlines()]


def test_run_is_recorded_as_regression(run: Path, record: Any) -> None:
    values = record(run)
    assert (values["task"], values["metric"], values["data"]["label_names"]) == ("regression", "pearson", [])
    assert list(values["metrics"]) == ["loss", "pearson", "spearman"]
    assert values["metrics"]["pearson"] > 0.5  # it has learnt them
    config = json.loads((run / "config.json").read_text())
    assert (config["problem_type"], list(config["id2label"])) == ("regression", ["0"])
    card = (run / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: text-classification\n")
    assert "| pearson |" in card
    assert "Regression: each text or pair gets a score." in card
    assert "Classes" not in card


def test_scores_are_those_of_scipy_on_the_predictions(command: Any, run: Path, scored: Path, record: Any) -> None:
    lines = (scored / "validation.csv").read_text().splitlines()[1:]
    wanted = np.array([float(line.split(",")[1]) for line in lines])
    rows = predictions(command, run, "--data", scored)
    assert all(set(row) == {"text", "score"} for row in rows)
    given = np.array([row["score"] for row in rows])
    found = record(run)["metrics"]
    # The run scored the same texts in float32, in other batches.
    assert found["pearson"] == pytest.approx(stats.pearsonr(given, wanted).statistic, abs=1e-5)
    assert found["spearman"] == pytest.approx(stats.spearmanr(given, wanted).statistic, abs=1e-5)
    assert found["loss"] == pytest.approx(np.mean((given - wanted) ** 2), rel=1e-4)
    assert json.loads(command("eval", run, "--json").stdout) == {
        "pearson": pytest.approx(found["pearson"], abs=1e-5),
        "spearman": pytest.approx(found["spearman"], abs=1e-5),
        "examples": 16,
    }
    errors = json.loads(command("eval", run, "--data", scored, "--metric", "mse", "--json").stdout)
    assert errors["mse"] == pytest.approx(found["loss"], rel=1e-4)


def test_stock_pipeline_gives_the_same_score(command: Any, run: Path) -> None:
    from transformers import pipeline

    (row,) = predictions(command, run, "the day was lovely")
    (found,) = pipeline("text-classification", model=str(run), device="cpu")(["the day was lovely"])
    assert row["score"] == pytest.approx(found["score"], abs=1e-5)


def test_checkpoint_and_delta_are_exported(command: Any, run: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    checkpoint = max((run / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    assert command("export", checkpoint, tmp_path / "plain").code == 0
    assert command("export", run, tmp_path / "delta", "--delta").code == 0
    assert load_file(tmp_path / "delta" / "delta.safetensors")["classifier.weight"].shape == (1, 16)
    texts = ["the day was lovely", "sad"]
    assert predictions(command, tmp_path / "plain", *texts) == predictions(command, run, *texts)


@pytest.mark.parametrize("method", ["far", "slimfit", "lora"])
def test_methods_train_scores(train: Any, scored: Path, tmp_path: Path, method: str) -> None:
    settings = {"far": {"priming": 0.34}, "slimfit": {"rate": 0.5}, "lora": {"rank": 2}}[method]
    values = train(tmp_path / "run", data=str(scored), method=method, settings=settings, max_steps=3, max_train=30)
    assert (values["data"]["train"], values["steps"]) == (30, 3)


@pytest.mark.parametrize("metric", ["mse", "spearman"])
def test_best_model_is_the_one_whose_metric_is_best(train: Any, scored: Path, tmp_path: Path, metric: str) -> None:
    """Small errors are good, small correlations are not."""
    keys = {"data": str(scored), "metric": metric, "load_best_model_at_end": True, "save_total_limit": 9}
    values = train(tmp_path / "run", **keys, epochs=4, learning_rate=0.05, seed=1)
    newest = max((tmp_path / "run" / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    state = json.loads((newest / "trainer_state.json").read_text())
    seen = [entry[f"eval_{metric}"] for entry in state["log_history"] if f"eval_{metric}" in entry]
    assert len(seen) == 4
    assert values["metrics"][metric] == pytest.approx({"mse": min, "spearman": max}[metric](seen))


def test_metric_of_classes_is_refused_before_anything_is_written(
    command: Any, flags: list[str], run: Path, scored: Path, tmp_path: Path
) -> None:
    done = command("train", *flags, f"data={scored}", "metric=accuracy", "--output", tmp_path / "run")
    assert done.code == 2
    assert "metric 'accuracy' is for classification, but this task is regression; use one of 'pearson'" in done.said
    assert not (tmp_path / "run").exists()
    done = command("eval", run, "--metric", "f1")
    assert done.code == 2
    assert "metric 'f1' is for classification" in done.said


def test_labels_that_are_no_numbers_are_refused(command: Any, run: Path, task: Path, tmp_path: Path) -> None:
    done = command("eval", run, "--data", task)
    assert done.code == 2
    assert "validation.csv, line 2: label 'good' is no finite number" in done.said
    done = command("train", f"data={task}", "task=regresion", "--output", tmp_path / "run")
    assert done.code == 2
    assert "task='regresion' is refused" in done.said


def test_model_that_gives_several_numbers_is_refused(command: Any, new_model: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = new_model(tmp_path / "base")
    for problem in ("regression", "multi_label_classification"):
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3, problem_type=problem)
        model.save_pretrained(tmp_path / problem)
        AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / problem)
        done = command("predict", tmp_path / problem, "the day")
        assert done.code == 2
        assert f"has 3 outputs for problem_type={problem!r}" in done.said


def test_run_on_a_split_of_train_is_scored_on_the_same_split(
    command: Any, train: Any, record: Any, scored: Path, tmp_path: Path
) -> None:
    values = train(tmp_path / "run", data=str(scored), validation="split", validation_share=0.25, max_steps=2)
    assert (values["data"]["train"], values["data"]["validation"]) == (42, 14)
    scores = json.loads(command("eval", tmp_path / "run", "--json").stdout)
    assert scores["examples"] == 14
    assert scores["pearson"] == pytest.approx(record(tmp_path / "run")["metrics"]["pearson"], abs=1e-5)
    whole = json.loads(command("eval", tmp_path / "run", "--data", scored, "--json").stdout)
    assert whole["examples"] == 16
