"""Examples to evaluate and predict on, and the embedded task."""

from __future__ import annotations

import hashlib
import sys
import types
from collections import Counter

import pytest

from frostline.errors import DataError
from frostline.tasks.text import load, read_examples
from text_files import TABLE, Write, rows


def test_labels_of_examples_map_through_the_models_classes(write: Write) -> None:
    path = write("t.csv", "text,label\na,good\nb,bad\n")
    examples, sha256 = read_examples(str(path), label_names=("good", "bad"))
    assert rows(examples) == [{"text": "a", "label": 0}, {"text": "b", "label": 1}]
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_examples_without_labels_are_read(write: Write) -> None:
    examples, _ = read_examples(str(write("t.csv", "text\na\nb\n")), label_names=("good", "bad"))
    assert rows(examples) == [{"text": "a"}, {"text": "b"}]


def test_labels_are_left_out_where_no_classes_are_given(write: Write) -> None:
    examples, _ = read_examples(str(write("t.jsonl", '{"text": "a", "label": null}\n')), label_names=None)
    assert rows(examples) == [{"text": "a"}]


def test_examples_of_a_folder_are_its_evaluation_split(write: Write) -> None:
    write("train.csv", TABLE)
    folder = write("dev.csv", "text,label\nd,bad\n").parent
    examples, _ = read_examples(str(folder), label_names=("bad", "good"))
    assert rows(examples) == [{"text": "d", "label": 0}]


def test_unknown_label_of_an_example_is_named_with_its_row_and_the_known_ones(write: Write) -> None:
    path = write("t.csv", "text,label\na,good\nb,ugly\n")
    with pytest.raises(DataError, match=r"t\.csv, line 3: label 'ugly' does not occur .* labels are 'good', 'bad'"):
        read_examples(str(path), label_names=("good", "bad"))


def test_folder_without_evaluation_file_is_refused(write: Write) -> None:
    folder = write("train.csv", TABLE).parent
    with pytest.raises(DataError, match=r"no validation\.\*, dev\.\* or test\.\* in this folder, .* train\.csv"):
        read_examples(str(folder), label_names=None)


# The embedded task


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Stand in for the generator; return the list of its calls."""
    calls: list[tuple[str, int, int]] = []

    def generate(split: str, size: int, seed: int = 0) -> list[types.SimpleNamespace]:
        calls.append((split, size, seed))
        return [types.SimpleNamespace(text=f"{split} {i}", label=i % 2) for i in range(size)]

    module = types.ModuleType("frostline.tasks.acceptability")
    module.__dict__["generate"] = generate
    monkeypatch.setitem(sys.modules, "frostline.tasks.acceptability", module)
    return calls


def test_embedded_task_is_the_same_for_every_seed(generator: list[tuple[str, int, int]]) -> None:
    data = load("acceptability", max_train=100, seed=3)
    assert generator == [("train", 7040, 0), ("test", 1000, 0)]
    assert (len(data.train), len(data.validation)) == (100, 1000)
    assert (data.label_names, data.metric, data.name) == (
        ("unacceptable", "acceptable"),
        "accuracy",
        "acceptability",
    )
    assert data.sha256 == load("acceptability", seed=4).sha256
    assert rows(read_examples("acceptability", label_names=data.label_names)[0]) == rows(data.validation)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"text": "sentence"}, "no columns to name"), ({"validation": "dev.csv"}, "brings its own")],
)
def test_embedded_task_takes_no_columns_and_no_file(
    generator: list[tuple[str, int, int]], arguments: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load("acceptability", **arguments)


def test_embedded_task_comes_from_the_generator() -> None:
    data = load("acceptability")
    assert (len(data.train), len(data.validation)) == (7040, 1000)
    assert not set(data.train["text"]) & set(data.validation["text"])
    # Minimal pairs: as many sentences of either class.
    assert Counter(data.train["label"]) == {0: 3520, 1: 3520}
