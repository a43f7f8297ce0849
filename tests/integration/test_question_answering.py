"""Question answering through the command line: learnt, evaluated, asked, planned, and refused."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from frostline.methods import names
from tiny_words import BAD, GOOD, PLAIN

QUICK = ("auto", "far", "lora", "slimfit")  # the methods that default tests train
KEYS = {"task": "question-answering", "max_length": 32, "stride": 4, "epochs": 14, "learning_rate": 5e-3}


def passages(count: int, seed: int, silent: float = 0.0) -> dict[str, Any]:
    """A passage holds a good and a bad word; the question says which is asked for."""
    generator, articles = random.Random(seed), []
    for number in range(count):
        words = generator.choices(PLAIN[4:10], k=generator.randint(2, 9))
        entries = []
        for question, kind in (("the", GOOD), ("a", BAD)):
            word = generator.choice(kind)
            if generator.random() >= silent:
                words.insert(generator.randint(0, len(words)), word)
                entries.append((question, word))
            else:
                entries.append((question, None))
        context = " ".join(words)
        asked = [
            {
                "id": f"{number}-{question}",
                "question": question,
                "answers": [] if word is None else [{"text": word, "answer_start": context.index(word)}],
            }
            for question, word in entries
        ]
        articles.append({"title": str(number), "paragraphs": [{"context": context, "qas": asked}]})
    return {"version": "1", "data": articles}


@pytest.fixture(scope="module")
def squad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("squad")
    (folder / "train.json").write_text(json.dumps(passages(150, 0)))
    (folder / "dev.json").write_text(json.dumps(passages(20, 1)))
    (folder / "silent.json").write_text(json.dumps(passages(150, 2, silent=0.4)))
    return folder


@pytest.fixture(scope="module")
def learnt(train: Any, squad: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qa") / "run"
    train(folder, data=str(squad), **KEYS)
    return folder


def test_it_learns(learnt: Path, record: Any) -> None:
    found = record(learnt)
    assert found["task"] == found["pipeline"] == "question-answering"
    assert found["metrics"]["squad_f1"] > 0.8
    assert found["plan"]["model"] == "BertForQuestionAnswering"
    assert "QUESTION PASSAGE" in (learnt / "README.md").read_text()


def test_eval_and_predict_agree_with_the_run(command: Any, learnt: Path, squad: Path, record: Any) -> None:
    metrics = record(learnt)["metrics"]
    for words in ([], ["--data", squad / "dev.json"]):
        found = json.loads(command("eval", learnt, *words, "--json").stdout)
        assert found["squad_f1"] == pytest.approx(metrics["squad_f1"])
        assert found["examples"] == 40
    lines = command("predict", learnt, "--data", squad / "dev.json").stdout.splitlines()
    entries = [qa for article in passages(20, 1)["data"] for qa in article["paragraphs"][0]["qas"]]
    right = sum(json.loads(line)["answer"] == qa["answers"][0]["text"] for line, qa in zip(lines, entries, strict=True))
    assert right / 40 == pytest.approx(metrics["exact_match"])
    said = json.loads(command("predict", learnt, "the", "day cat was kind house cruel").stdout)
    assert said["answer"] in ("kind", "cruel")
    assert command("predict", learnt, "the").code == 2


def test_questions_without_an_answer(train: Any, squad: Path, tmp_path: Path) -> None:
    found = train(tmp_path / "run", data=str(squad / "silent.json"), validation="split", **KEYS)["metrics"]
    assert {"has_answer_f1", "has_answer_exact", "no_answer"} < found.keys()
    assert found["no_answer"] > 0.3
    assert found["squad_f1"] > 0.5


def test_a_model_from_elsewhere_may_be_silent_where_questions_have_no_answer(
    command: Any, learnt: Path, squad: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    model = AutoModelForQuestionAnswering.from_pretrained(learnt)
    tokenizer = AutoTokenizer.from_pretrained(learnt)
    del model.config.question_answering
    with torch.no_grad():
        hidden = model.base_model(**tokenizer("the", "day cat was kind", return_tensors="pt")).last_hidden_state[0]
        model.qa_outputs.weight.copy_(hidden[0] - hidden[1:].mean(0))  # the first token scores best: no answer
    model.save_pretrained(tmp_path / "elsewhere")
    tokenizer.save_pretrained(tmp_path / "elsewhere")
    found = json.loads(command("eval", tmp_path / "elsewhere", "--data", squad / "silent.json", "--json").stdout)
    assert found["no_answer"] > 0
    lines = command("predict", tmp_path / "elsewhere", "--data", squad / "dev.json").stdout.splitlines()
    assert all(json.loads(line)["answer"] for line in lines)  # each has one there


@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in names() if name != "full"],
)
def test_every_method_trains(train: Any, squad: Path, tmp_path: Path, method: str) -> None:
    found = train(tmp_path / "run", data=str(squad), **{**KEYS, "epochs": 1, "method": method})
    assert found["status"] == "finished"
    assert "squad_f1" in found["metrics"]


def test_storage_changes_no_loss(train: Any, squad: Path, tmp_path: Path, steps: Any) -> None:
    losses = []
    for storage in ("exact", "lossless"):
        train(tmp_path / storage, data=str(squad), storage=storage, **KEYS, max_steps=5)
        losses.append([float(row["loss"]) for row in steps(tmp_path / storage)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_plan_has_the_head(command: Any, tiny: Path) -> None:
    words = ["plan", tiny, "--batch-size", 4, "--seq-len", 16, "--budget", "8GiB", "--no-bounds", "--json"]
    heads = [json.loads(command(*words, *more).stdout) for more in ([], ["--head", "question-answering"])]
    assert heads[0]["predicted"]["tensors"] != heads[1]["predicted"]["tensors"]
    refused = command(*words, "--head", "question-answerin")
    assert refused.code == 2
    assert "did you mean 'question-answering'?" in refused.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["stride=31"], "leaves no room for a passage beside a question of 1 tokens and a stride of 31"),
        (["max_length=64"], "max_length=64 is more than the model's 32 positions"),
        (["text=context"], "text='context' names no column of questions"),
        (["image_size=32"], "image_size=32 is nothing for questions"),
        (["metric=accuracy"], "metric 'accuracy' is for classification, but this task is question-answering"),
        (["validation=nowhere.json"], "nowhere.json"),
        (["task=question-answerin"], "question-answerin"),
    ],
)
def test_bad_keys_are_refused(
    command: Any, squad: Path, tiny: Path, tmp_path: Path, changes: list[str], message: str
) -> None:
    keys = [f"{key}={value}" for key, value in {**KEYS, "data": squad, "model": tiny}.items()]
    done = command("train", "--output", tmp_path / "run", *keys, *changes)
    assert done.code == 2
    assert message in done.said
    assert not (tmp_path / "run").exists()


def test_without_any_answer_nothing_can_be_learnt(command: Any, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps(passages(10, 0, silent=1.0)))
    keys = [f"{key}={value}" for key, value in {**KEYS, "data": tmp_path / "train.json", "model": tiny}.items()]
    done = command("train", "--output", tmp_path / "run", *keys)
    assert done.code == 2
    assert "none of its 18 questions has an answer" in done.said


@pytest.fixture(scope="module")
def left(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a tokenizer that pads on the left, as Llama's does."""
    folder = tmp_path_factory.mktemp("left") / "model"
    shutil.copytree(tiny, folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"padding_side": "left"}))
    return folder


def test_a_tokenizer_that_pads_on_the_left_changes_nothing(
    command: Any, train: Any, left: Path, squad: Path, tmp_path: Path
) -> None:
    keys = {**KEYS, "data": str(squad), "max_steps": 3}
    same = train(tmp_path / "right", **keys)
    other = train(tmp_path / "left", model=str(left), **keys)
    assert other["metrics"] == same["metrics"]
    for size in (1, 8):
        done = command("eval", tmp_path / "left", "--batch-size", size, "--json")
        assert json.loads(done.stdout)["squad_f1"] == pytest.approx(same["metrics"]["squad_f1"])


def test_predict_refuses_empty_questions_and_passages(command: Any, learnt: Path) -> None:
    for words in (("the", ""), (" ", "a b")):
        done = command("predict", learnt, *words)
        assert done.code == 2
        assert "a question or a passage is empty" in done.said
