"""Bad input: each message names the file, the place, the value and the way out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frostline.errors import DataError
from frostline.tasks.text import load, read_examples
from text_files import TABLE, Write


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", r"t\.csv: the file is empty"),
        ("t.csv", "text,label\n", r"t\.csv: there are no rows, only a header"),
        ("t.jsonl", "\n \n", r"t\.jsonl: the file is empty"),
        ("t.json", "[]", r"t\.json: there are no rows"),
        (
            "t.csv",
            "text;label\na;x\n",
            r"only one column .*comma ','; a semicolon ';' would split it into 2: give delimiter=';'",
        ),
        ("t.csv", 'text;label\n"a";"x"\n', "a semicolon ';' would split it into 2"),
        ("t.tsv", "text,label\na,x\n", r"tab '\\t'; a comma ',' would split it into 2"),
        ("t.csv", "text\na\n", "columns are 'text'; none is known as the label"),
        ("t.csv", "body,label\na,x\n", "columns are 'body', 'label'; none is known as the text: name it with `text`"),
        ("t.csv", "text,question,label\na,b,x\n", "several could be the text"),
        ("t.csv", "text,label,class\na,x,y\n", "several could be the label"),
        ("t.csv", "text,text,label\na,b,x\n", "column 'text' occurs 2 times"),
        ("t.csv", "text,label\na,x\n,y\nb,y\n  ,x\n", r"t\.csv, lines 3, 5: the text is missing; fill in or delete"),
        ("t.csv", "text,label\na,x\nb,\n", r"t\.csv, line 3: the label is missing"),
        ("t.csv", "text,label\na,1\nb,nan\nc,NaN\n", r"t\.csv, lines 3, 4: the label is missing"),
        ("t.csv", "text,label\n" + "a,\n" * 7, r"lines 2, 3, 4, 5, 6 and 2 more: the label is missing"),
        ("t.csv", "sentence1,sentence2,label\na,b,x\nc,,y\n", r"t\.csv, line 3: the second text is missing"),
        ("t.jsonl", '{"text": "a", "label": NaN}\n', r"t\.jsonl, line 1: the label is missing"),
        ("t.jsonl", '{"text": "a", "label": 1}\n\n{"label": 1}\n', r"t\.jsonl, line 3: the text is missing"),
        ("t.jsonl", '{"text": 5, "label": 1}\n', r"t\.jsonl, line 1: the text is 5 \(int\)"),
        ("t.jsonl", '{"text": "a", "label": [1, 2]}\n', r"line 1: label \[1, 2\]: .* give every row one label"),
        ("t.jsonl", '{"text": "a", "label": 1}\n{"text": \n', r"t\.jsonl, line 2, column \d+: "),
        ("t.jsonl", "[1]\n", r"t\.jsonl, line 1: found a list where an object is needed"),
        ("t.json", '{"data": []}', r"t\.json: the JSON holds an object; write a list of objects"),
        (
            "t.csv",
            TABLE + "so,0.5\n",
            r"t\.csv, line 22: label '0\.5' is a score among classes; .* task=regression .* task=class",
        ),
        ("t.csv", "text,label\na,x\nb,x\n", r"t\.csv: every label is 'x'; to learn, two classes are needed"),
        ("t.csv", "text,label\n" + "a,x\nb,y\n" * 9 + "c,z\n", r"t\.csv: class 'z' has just one example"),
        ("t.csv", "text,label\na,x\nb,y\n", r"t\.csv: 2 classes \('x', 'y'\) have just one example"),
        ("t.csv", "text,label\na,x\nb,y\nc,x\nd,y\n", r"4 rows of 2 classes cannot be split .*validation_share=0\.1"),
        ("t.csv", "text,label\na,x\nb,c,y\n", r"t\.csv, line 3: 3 fields where the header has 2"),
        ("t.csv", 'text,label\na,x\n"b" c,y\n', r"t\.csv, line 3: .*write a quotation mark .* twice"),
        ("t.csv", 'text,label\na,x\n"b,y\nc,x\n', r"t\.csv, line 3: unexpected end of data"),
        ("t.parquet", "no parquet", r"t\.parquet: this is no readable Parquet file"),
        ("t.docx", "text", r"t\.docx: files ending in '\.docx' are not understood; use \.csv"),
    ],
)
def test_bad_file_is_refused(write: Write, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(str(write(name, content)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "txet"}, r"t\.csv: there is no column 'txet' \(text\); did you mean 'text'\?"),
        ({"label": "labl"}, r"there is no column 'labl' \(label\); did you mean 'label'\?"),
        ({"text": "text", "text_pair": "pear"}, r"there is no column 'pear' \(text_pair\)"),
        ({"text_pair": "text"}, "text_pair is 'text' but text is not given"),
        ({"text": "label"}, "column 'label' is asked for twice"),
        ({"delimiter": "::"}, "delimiter '::' cannot separate fields"),
        ({"validation_share": 0.0}, "validation_share is 0.0; give a share between 0 and 1"),
        ({"validation_share": 1}, "validation_share is 1; give a share between 0 and 1"),
        ({"max_train": 0}, "max_train is 0; give at least 1"),
        ({"validation": "nowhere.csv"}, "validation: there is no file 'nowhere.csv'"),
    ],
)
def test_bad_argument_is_refused(write: Write, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(str(write("t.csv", TABLE)), **arguments)


def test_validation_that_takes_all_of_a_class_is_refused(write: Write) -> None:
    path = write("t.csv", "text,label\n" + "a,x\n" * 30 + "b,y\n" * 30 + "c,z\n" * 2)
    with pytest.raises(DataError, match=r"validation_share=0\.9 no example of class 'z' is left"):
        load(str(path), validation_share=0.9)


def test_undecodable_bytes_name_the_line_and_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("text,label\na,x\ncafé,y\n".encode("latin-1"))
    with pytest.raises(
        DataError, match=r"t\.csv, line 3: byte 0xe9 cannot be decoded as UTF-8; convert the file.*iconv"
    ):
        load(str(path))


@pytest.mark.parametrize("command", [load, lambda source: read_examples(source, label_names=None)])
def test_missing_file_names_the_nearest_and_the_layouts(write: Write, command: Callable[[str], object]) -> None:
    path = write("reviews.csv", TABLE)
    with pytest.raises(DataError, match=r"no such file or folder; did you mean 'reviews\.csv'\? Understood are"):
        command(str(path.with_name("reviws.csv")))


@pytest.mark.parametrize(
    "source", ["", "acceptabilty", "../nowhere", pytest.param("x" * 300, id="too long"), "src/../nowhere.csv"]
)
def test_what_is_no_source_at_all_is_refused(source: str) -> None:
    with pytest.raises(DataError, match="Understood are"):
        load(source)


def test_path_into_an_existing_folder_is_not_looked_for_on_the_hub(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write("data/t.csv", TABLE).parents[1])
    with pytest.raises(DataError, match="no such file or folder"):
        load("data/reviews")


def test_folder_of_something_else_lists_what_it_holds(write: Write) -> None:
    folder = write("notes.md", "#").parent
    with pytest.raises(DataError, match=r"no train\.\* in this folder, which holds notes\.md\. Understood are"):
        load(str(folder))


def test_two_files_for_one_split_are_refused(write: Write) -> None:
    write("train.csv", TABLE)
    folder = write("train.jsonl", "{}").parent
    with pytest.raises(DataError, match=r"train\.csv and train\.jsonl could each be the split"):
        load(str(folder))


def test_validation_is_not_the_training_file_nor_a_copy(write: Write) -> None:
    path = write("train.csv", TABLE)
    with pytest.raises(DataError, match="validation is the same file as training"):
        load(str(path), validation=str(path))
    write("dev.csv", TABLE)
    with pytest.raises(DataError, match="or a copy of it"):
        load(str(path.parent))


def test_validation_label_unseen_in_training_is_named(write: Write) -> None:
    write("train.csv", TABLE)
    folder = write("dev.csv", "text,label\na,good\nb,ugly\n").parent
    with pytest.raises(
        DataError, match=r"dev\.csv, line 3: label 'ugly' does not occur in .*train\.csv.*'bad', 'good'"
    ):
        load(str(folder))


def test_validation_label_with_a_name_but_no_example_in_training_is_refused(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["a", "b", "c"])})
    for split, labels in {"train": [0, 1, 0, 1], "test": [0, 2]}.items():
        texts = [f"{split} {i}" for i in range(len(labels))]
        Dataset.from_dict({"text": texts, "label": labels}, features=features).to_parquet(
            str(tmp_path / f"{split}.parquet")
        )
    with pytest.raises(DataError, match=r"test\.parquet, row 2: label 'c' has no example in .*train\.parquet"):
        load(str(tmp_path))


def test_validation_without_labels_or_pairs_is_refused(write: Write) -> None:
    path = str(write("train.csv", TABLE))
    unlabelled = str(write("unlabelled.csv", "text\na\n"))
    with pytest.raises(DataError, match=r"unlabelled\.csv: validation needs labels"):
        load(path, validation=unlabelled)
    pairs = str(write("pairs.csv", "sentence1,sentence2,label\na,b,good\n"))
    with pytest.raises(DataError, match=r"pairs\.csv holds pairs of texts and .*train\.csv single texts"):
        load(path, validation=pairs)


def test_columns_are_refused_where_there_are_none(write: Write) -> None:
    with pytest.raises(DataError, match="'label text' lines and no columns"):
        load(str(write("t.txt", "0 a\n1 b\n")), text="sentence")
    with pytest.raises(DataError, match="this has no delimiter"):
        load(str(write("t.jsonl", "{}")), delimiter=";")


def test_importing_is_cheap() -> None:
    program = (
        "import sys, frostline.tasks.text, frostline.tasks.metrics\n"
        "print([name for name in ('datasets', 'pandas', 'sklearn', 'pyarrow', 'torch') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
