"""Questions on passages: what is read, and what each kind of bad input says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from frostline.errors import DataError
from frostline.tasks.sources import questions
from frostline.tasks.sources.questions import read_evaluation, read_file, read_train

PASSAGE = "The tower stands in Paris. It was built in 1889, in Paris."


def squad(*entries: tuple[str, list[tuple[str, int]]], context: str = PASSAGE, title: str = "Tower") -> dict[str, Any]:
    asked = [
        {"id": str(i), "question": question, "answers": [{"text": t, "answer_start": s} for t, s in answers]}
        for i, (question, answers) in enumerate(entries)
    ]
    return {"version": "1.1", "data": [{"title": title, "paragraphs": [{"context": context, "qas": asked}]}]}


def said(content: dict[str, Any], *, impossible: bool) -> dict[str, Any]:
    content["data"][0]["paragraphs"][0]["qas"][0]["is_impossible"] = impossible
    return content


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_answers_are_where_they_are_said_to_be_or_at_the_nearest_place(tmp_path: Path) -> None:
    file = write(tmp_path / "q.json", squad(("Where?", [("Paris", 20), ("Paris", 50)]), ("When?", [])))
    where, when = read_file(file).questions
    assert where.answers == ("Paris", "Paris")
    assert where.starts == (20, 52)
    assert where.article == "Tower"
    assert when.answers == when.starts == ()
    behind = squad(("Where?", [("Paris", 20 - len(PASSAGE))]))  # Python counts such a place from the end
    assert read_file(write(tmp_path / "q.json", behind)).questions[0].starts == (20,)


def test_a_folder_brings_its_validation_file(tmp_path: Path) -> None:
    write(tmp_path / "train-v1.json", squad(("Where?", [("Paris", 20)])))
    write(tmp_path / "dev-v1.json", squad(("When?", [("1889", 43)])))
    train, held = read_train(str(tmp_path), None)
    assert train.questions[0].question == "Where?"
    assert held is not None
    assert held.questions[0].question == "When?"
    assert read_train(str(tmp_path), "split")[1] is None
    assert read_evaluation(str(tmp_path)).questions == held.questions


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1: this is no JSON"),
        ("[]", "this is no SQuAD file"),
        ({"data": [{"title": "a", "paragraphs": [{"qas": []}]}]}, "there are no questions"),
        (
            {"data": [{"title": "a", "paragraphs": [{"qas": [{"question": "?"}]}]}]},
            "SQuAD file .KeyError: 'context'",
        ),
        (squad(("Where?", [("London", 3)])), "'Tower', paragraph 1: the answer 'London' to 'Where.' does not stand"),
        (squad(("Where?", [("Paris", "20")])), "'Tower', paragraph 1: answer_start is '20', which is no whole number"),
        (squad(("Where?", [("Paris", 20.0)])), "'Tower', paragraph 1: answer_start is 20.0, which is no whole number"),
        (squad(("Where?", [(None, 20)])), "'Tower', paragraph 1: the text of an answer is None, which is no text"),
        (squad((None, [("Paris", 20)])), "'Tower', paragraph 1: the question is None, which is no text"),
        (squad(("Where?", []), context=None), "'Tower', paragraph 1: the context is None, which is no text"),
        (squad(("Where?", []), context="  "), "the passage of 'Where.' is empty"),
        (squad((" ", [])), "a question is empty"),
        (squad(("Where?", [("", 3)])), "an answer to 'Where.' is empty"),
        ({"data": []}, "there are no questions"),
        ("[" * 100_000, "it is nested too deeply"),
        (squad(("Where \ud83d?", [])), "holds what no UTF-8 can hold"),
        (
            said(squad(("Where?", [("Paris", 20)])), impossible=True),
            "has 1 answers, and is_impossible is True",
        ),
        (said(squad(("Where?", [])), impossible=False), "'Where.' has no answer, and is_impossible is False"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_file(write(tmp_path / "q.json", content))


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "train.json", squad(("Where?", [("Paris", 20)])))
    with pytest.raises(DataError, match="validation is the same as training"):
        read_train(str(file), str(file))
    with pytest.raises(DataError, match="no such file or folder"):
        read_train(str(tmp_path / "nothing.json"), None)
    with pytest.raises(DataError, match=r"no validation.* or dev.* or test.* here, which holds train.json"):
        read_evaluation(str(tmp_path))
    with pytest.raises(DataError, match="questions are not read from a table"):
        read_file(tmp_path / "q.parquet")
    write(tmp_path / "train-2.json", squad(("When?", [])))
    with pytest.raises(DataError, match=r"train-2.json and train.json could each be the split"):
        read_train(str(tmp_path), "split")
    unknown = {"data": [{"title": "a", "paragraphs": [{"context": PASSAGE, "qas": [{"question": "Where?"}]}]}]}
    with pytest.raises(DataError, match="no answers to learn from"):
        read_train(str(write(tmp_path / "asked.json", unknown)), None)


def test_the_hubs_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset

    row = {
        "title": "Tower",
        "context": PASSAGE,
        "question": "Where?",
        "answers": {"text": ["Paris"], "answer_start": [20]},
    }
    splits = {"train": Dataset.from_list([row]), "validation": Dataset.from_list([{**row, "question": "Now?"}])}
    monkeypatch.setattr(questions.hub, "splits_of", lambda source: splits)
    train, held = read_train("rajpurkar/squad", None)
    assert train.questions[0].starts == (20,)
    assert held is not None
    assert held.questions[0].question == "Now?"
    splits["train"] = splits["train"].remove_columns("answers")
    with pytest.raises(DataError, match="there is no column 'answers'"):
        read_train("rajpurkar/squad", None)
