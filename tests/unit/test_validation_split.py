"""`validation: split` leaves the source's own validation data alone and splits some rows off train."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from frostline.errors import DataError
from frostline.tasks.sources import hub
from frostline.tasks.text import load

ROWS = "".join(f"row {i}\t{i % 2}\n" for i in range(40))


@pytest.fixture
def glue(tmp_path: Path) -> Path:
    """Return a folder in SST-2's layout whose dev.tsv cannot be read."""
    folder = tmp_path / "sst"
    folder.mkdir()
    (folder / "train.tsv").write_text("sentence\tlabel\n" + ROWS)
    (folder / "dev.tsv").write_bytes(b"\xff")
    return folder


def test_folder_keeps_its_own_validation_file_unread(glue: Path) -> None:
    data = load(str(glue), validation="split", validation_share=0.25)
    assert (data.name, len(data.train), len(data.validation)) == ("SST-2", 30, 10)
    assert Counter(data.validation["label"]) == {0: 5, 1: 5}
    assert not set(data.train["text"]) & set(data.validation["text"])
    assert data.sha256 == hashlib.sha256((glue / "train.tsv").read_bytes()).hexdigest()
    with pytest.raises(DataError, match=r"dev\.tsv"):
        load(str(glue))


def test_split_is_that_of_the_training_file_alone(glue: Path) -> None:
    split, alone = load(str(glue), validation="split", seed=3), load(str(glue / "train.tsv"), seed=3)
    assert list(split.validation) == list(alone.validation)
    assert list(load(str(glue / "train.tsv"), validation="split", seed=3).train) == list(alone.train)


def test_embedded_data_are_split() -> None:
    own, split = load("acceptability"), load("acceptability", validation="split")
    assert (len(split.train), len(split.validation)) == (6336, 704)
    assert set(split.validation["text"]) < set(own.train["text"])
    assert not set(split.validation["text"]) & set(own.validation["text"])


def test_hub_split_for_validation_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset

    train = Dataset.from_dict({"text": [f"row {i}" for i in range(20)], "label": [0, 1] * 10})
    unclear = Dataset.from_dict({"other": ["a"]})
    monkeypatch.setattr("datasets.load_dataset", lambda path, config: {"train": train, "validation": unclear})
    monkeypatch.setattr(hub, "_answers", lambda seconds: True)
    data = load("someone/reviews", validation="split")
    assert (len(data.train), len(data.validation)) == (18, 2)
    with pytest.raises(DataError, match="columns are 'other'"):
        load("someone/reviews")


@pytest.mark.parametrize(
    ("source", "validation", "message"),
    [
        ("acceptability", "dev.csv", "'acceptability' brings its own; .* validation=split splits some rows off train"),
        ("train.tsv", "spilt", "there is no file 'spilt'; check the path, or say 'split' to split some rows off"),
        ("train.tsv", "train.tsv", "the same file as training, .* say validation=split"),
    ],
)
def test_messages_name_it(
    glue: Path, monkeypatch: pytest.MonkeyPatch, source: str, validation: str, message: str
) -> None:
    monkeypatch.chdir(glue)
    with pytest.raises(DataError, match=message):
        load(source, validation=validation)


def test_file_of_that_name_is_reached_by_its_path(glue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(glue)
    (glue / "split").mkdir()
    held: Any = glue / "split" / "held.tsv"
    held.write_text("sentence\tlabel\nheld\t1\n")
    assert len(load("train.tsv", validation="./split/held.tsv").validation) == 1
    with pytest.raises(DataError, match=r"there is no file '\./split'"):
        load("train.tsv", validation="./split")
