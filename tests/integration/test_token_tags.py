"""A run on the tags of words: trained, scored by seqeval, predicted, exported."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from seqeval.metrics import f1_score

KEYS = {"task": "token-classification", "max_length": 24, "batch_size": 8, "epochs": 8, "learning_rate": 0.01}
PLAIN = ["the", "film", "day", "seems", "very", "was"]


def sentences(path: Path, count: int, seed: int) -> Path:
    """Write sentences in which `lovely`, perhaps with `warm` behind it, is one entity, and `nasty` another."""
    generator = random.Random(seed)
    lines: list[str] = []
    for _ in range(count):
        for _ in range(generator.randint(2, 4)):
            lines += [f"{generator.choice(PLAIN)} X O"]
            lines += generator.choice(
                [["lovely X B-GOOD", "warm X I-GOOD"], ["lovely X B-GOOD"], ["nasty X B-BAD"], []]
            )
        lines.append("")
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "tags"
    folder.mkdir()
    sentences(folder / "train.txt", 60, 1)
    sentences(folder / "valid.txt", 16, 2)
    return folder


@pytest.fixture(scope="module")
def run(command: Any, tiny: Path, tagged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that has learnt something, with a checkpoint of its last step."""
    folder = tmp_path_factory.mktemp("runs") / "full"
    words = [f"{key}={value}" for key, value in {**KEYS, "model": tiny, "data": tagged, "output": folder}.items()]
    done = command("train", *words)
    assert done.code == 0, done.stderr
    assert "tags: 60 train, 16 validation, 5 classes" in done.stdout
    return folder


def predictions(command: Any, *words: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in command("predict", *words).stdout.splitlines()]


def test_scores_are_seqevals_on_the_predictions(command: Any, run: Path, tagged: Path, record: Any) -> None:
    values = record(run)
    assert (values["task"], values["metric"]) == ("token-classification", "entity_f1")
    assert values["data"]["label_names"] == ["O", "B-BAD", "I-BAD", "B-GOOD", "I-GOOD"]
    assert list(values["metrics"]) == ["loss", "entity_f1", "entity_precision", "entity_recall"]
    assert values["metrics"]["entity_f1"] > 0.8  # it has learnt them
    blocks = (tagged / "valid.txt").read_text().strip().split("\n\n")
    true = [[line.split()[-1] for line in block.splitlines()] for block in blocks]
    said = [row["tags"] for row in predictions(command, run, "--data", tagged)]
    assert values["metrics"]["entity_f1"] == pytest.approx(f1_score(true, said))
    found = json.loads(command("eval", run, "--json").stdout)
    assert found["entity_f1"] == pytest.approx(values["metrics"]["entity_f1"])
    assert json.loads(command("eval", run, "--data", tagged / "train.txt", "--json").stdout)["examples"] == 60


def test_scores_of_a_model_that_errs_are_those_of_its_rows(
    command: Any, train: Any, tagged: Path, tmp_path: Path
) -> None:
    """Sentences differ in length, and an evaluation that met them in another order would mix up their tags."""
    values = train(
        tmp_path / "run", **{**KEYS, "max_steps": 3}, data=str(tagged), sampling="group_by_length", eval_batch_size=4
    )
    assert 0.1 < values["metrics"]["entity_f1"] < 0.9
    found = json.loads(command("eval", tmp_path / "run", "--json").stdout)
    assert found["entity_f1"] == pytest.approx(values["metrics"]["entity_f1"])
    assert found["entity_precision"] == pytest.approx(values["metrics"]["entity_precision"])


def test_predict_gives_tags_and_entities_of_a_text_and_of_a_file_without_tags(
    command: Any, run: Path, tmp_path: Path
) -> None:
    (row,) = predictions(command, run, "the lovely warm day was nasty")
    assert list(row) == ["words", "tags", "entities"]
    assert row["words"] == ["the", "lovely", "warm", "day", "was", "nasty"]
    assert row["tags"] == ["O", "B-GOOD", "I-GOOD", "O", "O", "B-BAD"]
    assert row["entities"] == [{"type": "GOOD", "text": "lovely warm"}, {"type": "BAD", "text": "nasty"}]
    (tmp_path / "words.txt").write_text("the\nlovely\nwarm\nday\nwas\nnasty\n")
    assert predictions(command, run, "--data", tmp_path / "words.txt") == [row]
    assert "'the' is a word without a tag" in command("eval", run, "--data", tmp_path / "words.txt").said


def test_stock_pipeline_finds_the_same_entities(command: Any, run: Path) -> None:
    from transformers import pipeline

    stock = pipeline("token-classification", model=str(run), device="cpu", aggregation_strategy="simple")
    found = [(entity["entity_group"], entity["word"]) for entity in stock("the lovely warm day was nasty")]
    assert found == [("GOOD", "lovely warm"), ("BAD", "nasty")]


def test_checkpoint_is_exported_and_the_card_says_what_it_is(command: Any, run: Path, tmp_path: Path) -> None:
    checkpoint = max((run / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    assert command("export", checkpoint, tmp_path / "plain").code == 0
    texts = ["the lovely day", "was nasty"]
    assert predictions(command, tmp_path / "plain", *texts) == predictions(command, run, *texts)
    card = (run / "README.md").read_text()
    assert "pipeline_tag: token-classification" in card
    assert "Tags: `O`, `B-BAD`" in card


@pytest.mark.parametrize(
    ("method", "settings", "storage"),
    [
        ("far", {"priming": 0.34}, "compact"),
        ("slimfit", {"rate": 0.5}, "smallest"),
        ("lora", {"rank": 2}, "lossless"),
        ("layers", {"count": 1}, "slimfit"),
    ],
)
def test_methods_and_storage(
    train: Any, tagged: Path, tmp_path: Path, method: str, settings: dict[str, Any], storage: str
) -> None:
    keys = {**KEYS, "data": str(tagged), "max_steps": 3, "max_train": 30}
    values = train(tmp_path / "run", **keys, method=method, settings=settings, storage=storage)
    assert (values["data"]["train"], values["steps"]) == (30, 3)


def test_what_cannot_be_is_refused_before_anything_is_written(
    command: Any, tiny: Path, tagged: Path, run: Path, tmp_path: Path
) -> None:
    words = [f"{key}={value}" for key, value in {**KEYS, "model": tiny, "output": tmp_path / "run"}.items()]
    (tmp_path / "broken.txt").write_text("a B-PER\nb O\nc I-PER\n")
    said = command("train", *words, f"data={tmp_path / 'broken.txt'}").said
    assert "broken.txt, line 3: 'I-PER' follows 'O'" in said
    assert (
        "33 is more than the model's 32 positions" in command("train", *words, f"data={tagged}", "max_length=33").said
    )
    assert "use one of 'entity_f1'" in command("train", *words, f"data={tagged}", "metric=f1").said
    assert not (tmp_path / "run").exists()
    (tmp_path / "other.txt").write_text("a B-PER\n")
    said = command("eval", run, "--data", tmp_path / "other.txt").said
    assert "line 1: the tag 'B-PER' is none of the model's: O, B-BAD" in said
