"""Tables: CSV, TSV, JSON, Parquet; their columns, labels, splits and subsets."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from frostline.tasks.text import load
from text_files import TABLE, Write, rows

RECORDS = [{"text": f"{word} {i}", "label": word} for i in range(10) for word in ("good", "bad")]


def _parquet(path: Path) -> None:
    import pandas as pd

    pd.DataFrame(RECORDS).to_parquet(path)


TABLES: dict[str, Callable[[Path], object]] = {
    "train.csv": lambda path: path.write_text(TABLE),
    "train.tsv": lambda path: path.write_text(TABLE.replace(",", "\t")),
    "train.jsonl": lambda path: path.write_text("\n".join(map(json.dumps, RECORDS))),
    "train.json": lambda path: path.write_text(json.dumps(RECORDS)),
    "train.parquet": _parquet,
}


@pytest.mark.parametrize("name", TABLES)
def test_table_gives_the_same_rows_in_every_format(tmp_path: Path, name: str) -> None:
    path = tmp_path / "plain" / name
    path.parent.mkdir()
    TABLES[name](path)
    for source, expected_name in ((path, "train"), (path.parent, "plain")):
        data = load(str(source))
        assert (data.label_names, data.metric, data.name) == (("bad", "good"), "accuracy", expected_name)
        found = [*rows(data.train), *rows(data.validation)]
        assert sorted(row["text"] for row in found) == sorted(str(record["text"]) for record in RECORDS)
        assert all(data.label_names[row["label"]] == row["text"].split()[0] for row in found)
        assert data.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("stem", ["validation", "dev", "test"])
def test_folder_brings_its_validation_file(write: Write, stem: str) -> None:
    train = write("train.csv", TABLE)
    held = write(f"{stem}.jsonl", '{"text": "so so", "label": "bad"}\n')
    data = load(str(train.parent))
    assert rows(data.validation) == [{"text": "so so", "label": 0}]
    assert len(data.train) == 20
    assert data.sha256 == hashlib.sha256(train.read_bytes() + held.read_bytes()).hexdigest()


def test_validation_argument_goes_before_the_folders_own_file(write: Write) -> None:
    write("train.csv", TABLE)
    write("dev.csv", "text,label\nown,bad\n")
    other = write("other/held.csv", "text,label\ngiven,good\n")
    data = load(str(other.parents[1]), validation=str(other))
    assert rows(data.validation) == [{"text": "given", "label": 1}]


def test_pair_columns_are_found_and_named_columns_obeyed(write: Write) -> None:
    content = "id,premise,hypothesis,answer\n" + "0,a,b,yes\n1,c,d,no\n" * 10
    path = str(write("pairs.csv", content))
    found = load(path, label="answer")
    assert found.train.column_names == ["text", "text_pair", "label"]
    single = load(path, text="hypothesis", label="answer")
    assert single.train.column_names == ["text", "label"]
    assert set(single.train["text"]) == {"b", "d"}
    swapped = load(path, text="hypothesis", text_pair="premise", label="answer")
    assert set(swapped.train["text_pair"]) == {"a", "c"}


def test_integer_labels_are_sorted_by_value(write: Write) -> None:
    content = "text,label\n" + "".join(f"t,{label}\n" * 2 for label in (10, 9, -1, 0))
    data = load(str(write("t.csv", content)), validation_share=0.5)
    assert data.label_names == ("-1", "0", "9", "10")


def test_text_labels_are_sorted_naturally(write: Write) -> None:
    content = "text,label\n" + "".join(f"t,{label}\n" * 2 for label in ("class10", "class2", "class", "other"))
    data = load(str(write("t.csv", content)), validation_share=0.5)
    assert data.label_names == ("class", "class2", "class10", "other")


def test_whole_numbers_that_pandas_wrote_as_floats_are_classes(write: Write) -> None:
    data = load(str(write("t.csv", "text,label\n" + "a,0.0\nb,1.0\n" * 5)), validation_share=0.2)
    assert data.label_names == ("0", "1")


def test_parquet_keeps_its_class_names_in_their_order(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["zebra", "ant", "unused"])})
    Dataset.from_dict({"text": list("abcdefgh"), "label": [0, 1] * 4}, features=features).to_parquet(
        str(tmp_path / "train.parquet")
    )
    data = load(str(tmp_path), validation_share=0.25)
    assert data.label_names == ("zebra", "ant", "unused")
    assert set(data.train["label"]) == {0, 1}


def test_parquet_categories_are_labels(tmp_path: Path) -> None:
    import pandas as pd

    table = pd.DataFrame({"text": list("abcd"), "label": pd.Categorical(["x", "y"] * 2)})
    table.to_parquet(tmp_path / "t.parquet")
    assert load(str(tmp_path / "t.parquet"), validation_share=0.5).label_names == ("x", "y")


def test_delimiter_may_be_given(write: Write) -> None:
    path = str(write("t.txt", TABLE.replace(",", "|")))
    assert len(load(path, delimiter="|").train) == 18
    tabs = str(write("tabs.csv", TABLE.replace(",", "\t")))
    assert len(load(tabs, delimiter=r"\t").train) == 18


def test_quoted_fields_hold_delimiters_and_line_breaks(write: Write) -> None:
    path = write("t.csv", 'text,label\n"a, ""b""\nand c",x\nd,y\n' + "e,x\nf,y\n")
    held = write("held.csv", "text,label\nf,y\n")
    assert load(str(path), validation=str(held)).train["text"][0] == 'a, "b"\nand c'


def test_tab_separated_files_are_read_with_and_without_quoting(write: Write) -> None:
    held = str(write("held.tsv", "text\tkind\tlabel\nf\tk\ty\n"))
    quoted = write("quoted.tsv", 'text\tkind\tlabel\n"a\tb"\tk\tx\nc\tk\ty\n')
    assert load(str(quoted), validation=held).train["text"][:] == ["a\tb", "c"]
    literal = write("literal.tsv", 'text\tkind\tlabel\n"a\tk\tx\nb"\tk\ty\n"c\tk\ty\n')
    assert load(str(literal), validation=held).train["text"][:] == ['"a', 'b"', '"c']


def test_a_long_field_is_read(write: Write) -> None:
    path = write("t.csv", "text,label\n" + "word " * 40_000 + ",x\nb,y\nc,x\nd,y\n")
    assert len(load(str(path), validation_share=0.5).train) == 2


def test_byte_order_mark_windows_lines_and_blank_lines_are_no_data(write: Write) -> None:
    path = write("t.csv", "\ufeff" + TABLE.replace("\n", "\r\n") + "\r\n\r\n")
    assert len(load(str(path)).train) == 18


def test_duplicate_sentences_are_kept(write: Write) -> None:
    assert len(load(str(write("t.csv", "text,label\n" + "same,x\nsame,y\n" * 10))).train) == 18


# Splits and subsets


def test_split_is_stratified_and_set_by_the_seed(write: Write) -> None:
    path = str(write("t.csv", "text,label\n" + "".join(f"r{i},{int(i % 4 == 0)}\n" for i in range(200))))
    first, again, other = load(path, seed=1), load(path, seed=1), load(path, seed=2)
    assert Counter(first.validation["label"]) == {0: 15, 1: 5}
    assert rows(first.train) == rows(again.train)
    assert rows(first.validation) == rows(again.validation)
    assert rows(first.validation) != rows(other.validation)
    assert not set(first.train["text"]) & set(first.validation["text"])


def test_max_train_keeps_the_classes_shares_and_leaves_validation_alone(write: Write) -> None:
    path = str(write("t.csv", "text,label\n" + "".join(f"r{i},{int(i % 4 == 0)}\n" for i in range(200))))
    whole, small, smaller = load(path), load(path, max_train=40), load(path, max_train=20)
    assert Counter(small.train["label"]) == {0: 30, 1: 10}
    assert rows(small.validation) == rows(whole.validation)
    assert set(smaller.train["text"]) < set(small.train["text"])
    assert rows(load(path, max_train=40).train) == rows(small.train)
    assert set(load(path, max_train=40, seed=1).train["text"]) != set(small.train["text"])
    assert len(load(path, max_train=10_000).train) == len(whole.train)
