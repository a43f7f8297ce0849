"""Text regression data: labels that are scores, and when they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frostline.errors import DataError
from frostline.tasks.sources import hub
from frostline.tasks.text import load, read_examples

Write = Callable[[str, str], Path]
STS_B = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
SCORES = [round(0.3 * i % 5, 2) for i in range(40)]
TABLE = "text,label\n" + "".join(f"row {i},{score}\n" for i, score in enumerate(SCORES))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a file under `tmp_path`."""

    def write_file(name: str, content: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    return write_file


def sts_b(*scores: str) -> str:
    return STS_B + "".join(
        f'{i}\tg\tf\t2012\t{i:04}\tnone\tnone\tA "man {i}.\tHe.\t{score}\n' for i, score in enumerate(scores)
    )


# Which tasks are regression


def test_sts_b_is_recognised_by_its_header(write: Write) -> None:
    write("some/train.tsv", sts_b("5.000", "3.800", "0.000"))
    data = load(str(write("some/dev.tsv", sts_b("4.750")).parent))
    assert (data.name, data.kind, data.label_names, data.metric) == ("STS-B", "regression", (), "pearson")
    assert data.train[:2] == {"text": ['A "man 0.', 'A "man 1.'], "text_pair": ["He.", "He."], "label": [5.0, 3.8]}
    assert data.validation["label"][:] == [4.75]


def test_sts_b_is_regression_even_where_its_scores_are_whole(write: Write) -> None:
    path = write("train.tsv", sts_b("5.000", "3.000", "0.000"))
    assert load(str(path), validation_share=0.4).kind == "regression"


def test_sts_b_without_scores_is_read_to_predict(write: Write) -> None:
    path = write("test.tsv", STS_B.replace("\tscore", "") + '0\tg\tf\ty\t1\tn\tn\tA "man.\tHe.\n')
    examples, _ = read_examples(str(path), label_names=())
    assert list(examples) == [{"text": 'A "man.', "text_pair": "He."}]


def _parquet(path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"text": [f"row {i}" for i in range(len(SCORES))], "label": SCORES}).to_parquet(path)


def _decimals(path: Path) -> None:
    from decimal import Decimal

    import pyarrow as pa
    import pyarrow.parquet

    columns = {"text": [f"row {i}" for i in range(len(SCORES))], "label": [Decimal(str(score)) for score in SCORES]}
    pyarrow.parquet.write_table(pa.table(columns), path)


def _json_lines(path: Path) -> None:
    path.write_text("\n".join(json.dumps({"text": f"row {i}", "label": score}) for i, score in enumerate(SCORES)))


TABLES: dict[str, Callable[[Path], object]] = {
    "a.csv": lambda path: path.write_text(TABLE),
    "a.tsv": lambda path: path.write_text(TABLE.replace(",", "\t")),
    "a.jsonl": _json_lines,
    "a.parquet": _parquet,
    "decimals.parquet": _decimals,
}


@pytest.mark.parametrize("name", TABLES)
def test_labels_with_fractions_are_scores_in_every_format(tmp_path: Path, name: str) -> None:
    TABLES[name](tmp_path / name)
    data = load(str(tmp_path / name), validation_share=0.25)
    assert (data.kind, data.label_names, data.metric) == ("regression", (), "pearson")
    assert (len(data.train), len(data.validation)) == (30, 10)
    found = {row["text"]: row["label"] for split in (data.train, data.validation) for row in split}
    assert found == {f"row {i}": score for i, score in enumerate(SCORES)}


@pytest.mark.parametrize(
    ("labels", "asked", "kind"),
    [
        (["0", "1"], "auto", "classification"),
        (["0.0", "1.0"], "auto", "classification"),  # pandas writes whole numbers so
        (["0.0", "1.0"], "regression", "regression"),
        (["1", "2.5"], "auto", "regression"),
        (["1", "2.5"], "classification", "classification"),
        (["1e-05", "2"], "auto", "regression"),
        (["-.5", "+1."], "auto", "regression"),
        (["inf", "x"], "auto", "classification"),
    ],
)
def test_labels_tell_the_kind_unless_it_is_asked_for(write: Write, labels: list[str], asked: Any, kind: str) -> None:
    path = write("t.csv", "text,label\n" + "".join(f"a,{label}\n" for label in labels * 10))
    data = load(str(path), task=asked)
    assert data.kind == kind
    if kind == "regression":
        assert set(data.train["label"]) == {float(label) for label in labels}


def test_classes_that_look_like_scores_are_sorted_by_value(write: Write) -> None:
    path = write("t.csv", "text,label\n" + "".join(f"a,{label}\n" * 5 for label in ("10", "2.5", "1", "-1.5")))
    assert load(str(path), task="classification", validation_share=0.3).label_names == ("-1.5", "1", "2.5", "10")


def test_class_names_of_the_source_settle_the_kind(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["1.5", "2.5"])})
    table = Dataset.from_dict({"text": list("abcdefgh"), "label": [0, 1] * 4}, features=features)
    table.to_parquet(str(tmp_path / "t.parquet"))
    assert load(str(tmp_path / "t.parquet"), validation_share=0.25).label_names == ("1.5", "2.5")


def test_metric_of_a_source_goes_with_its_own_kind_of_task(write: Write) -> None:
    lines = "".join(f"gj04\t{i % 2}\t\tHe left {i}.\n" for i in range(20))
    path = write("train.tsv", lines)
    assert (load(str(path)).metric, load(str(path)).kind) == ("matthews", "classification")
    with pytest.raises(DataError, match="label 'unacceptable' is no finite number"):
        load(str(path), task="regression")
    scored = write("sts.tsv", sts_b(*["1.0", "2.0"] * 9))
    assert load(str(scored), task="classification").metric == "accuracy"


def test_column_score_is_the_label_where_no_other_is(write: Write) -> None:
    content = "sentence1,sentence2,score\n" + "a,b,1.5\nc,d,2.5\n" * 10
    assert load(str(write("t.csv", content))).train.column_names == ["text", "text_pair", "label"]
    predicted = "text,label,score\n" + "a,x,0.5\nb,y,0.75\n" * 10
    assert load(str(write("p.csv", predicted))).label_names == ("x", "y")


def test_hub_scores_are_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset, Features, Value

    features = Features(
        {"sentence1": Value("string"), "sentence2": Value("string"), "label": Value("float32"), "idx": Value("int32")}
    )

    def split(*labels: float) -> Any:
        texts = [f"text {i}" for i in range(len(labels))]
        columns = {"sentence1": texts, "sentence2": texts, "label": labels, "idx": range(len(labels))}
        return Dataset.from_dict(columns, features=features)

    splits = {"train": split(5.0, 3.8, 0.2), "validation": split(4.75), "test": split(-1.0)}
    monkeypatch.setattr("datasets.load_dataset", lambda path, config: splits)
    monkeypatch.setattr(hub, "_answers", lambda seconds: True)
    data = load("glue/stsb")
    assert (data.kind, data.metric) == ("regression", "pearson")
    assert data.train["label"][:] == pytest.approx([5.0, 3.8, 0.2])
    assert data.validation["label"][:] == [4.75]


# Splits and subsets


def test_split_and_subset_go_by_the_seed_alone(write: Write) -> None:
    path = str(write("t.csv", TABLE))
    first, again, other = load(path, seed=1), load(path, seed=1), load(path, seed=2)
    assert (len(first.train), len(first.validation)) == (36, 4)
    assert list(first.validation) == list(again.validation) != list(other.validation)
    small, smaller = load(path, max_train=20), load(path, max_train=10)
    assert (len(small.train), len(smaller.train)) == (20, 10)
    assert set(smaller.train["text"]) < set(small.train["text"])
    assert list(small.validation) == list(load(path).validation)


# Examples


def test_labels_of_examples_are_numbers_for_a_model_of_scores(write: Write) -> None:
    path = str(write("t.csv", "text,label\na,1\nb,2.50\n"))
    assert read_examples(path, label_names=())[0]["label"][:] == [1.0, 2.5]
    assert read_examples(path, label_names=None)[0].column_names == ["text"]
    with pytest.raises(DataError, match=r"t\.csv, line 3: label '2\.50' does not occur"):
        read_examples(path, label_names=("0", "1"))


# Bad labels


@pytest.mark.parametrize("label", ["high", "inf", "-Infinity", "1e999", "3,8", "1_0", "0x1", "True"])
def test_label_that_is_no_number_is_named_with_its_row(write: Write, label: str) -> None:
    path = write("t.csv", TABLE + f'so,"{label}"\n')
    with pytest.raises(DataError, match=rf"t\.csv, line 42: label '{label}' is no finite number, .*classification"):
        load(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\na,1.5\nb,\n", r"t\.csv, line 3: the label is missing"),
        ("text,label\na,1.5\nb,nan\n", r"t\.csv, line 3: the label is missing"),
        ("text,label\na,1.5\nb,1.50\n", r"t\.csv: every label is 1\.5; to learn, scores that differ are needed"),
        ("text,label\na,1.5\n", r"t\.csv: every label is 1\.5"),
        ("text,label\na,1.5\nb,2.5\n", r"^$"),
    ],
)
def test_scores_that_cannot_be_learnt_from_are_refused(write: Write, content: str, message: str) -> None:
    path = str(write("t.csv", content))
    if message == "^$":
        assert len(load(path, validation_share=0.5).train) == 1
        return
    with pytest.raises(DataError, match=message):
        load(path)


def test_rows_too_few_for_the_share_are_refused(write: Write) -> None:
    with pytest.raises(DataError, match=r"t\.csv: 2 rows cannot be split with validation_share=0\.9"):
        load(str(write("t.csv", "text,label\na,1.5\nb,2.5\n")), validation_share=0.9)


def test_few_scores_among_classes_are_taken_for_slips(write: Write) -> None:
    path = str(write("t.csv", "text,label\n" + "a,0\nb,1\n" * 10 + "c,0.5\n" * 2))
    with pytest.raises(DataError, match=r"line 22: label '0\.5' is a score among classes; .*task=regress"):
        load(path)
    assert load(path, task="regression").kind == "regression"
    assert load(path, task="classification").label_names == ("0", "0.5", "1")


def test_score_in_a_glue_file_of_classes_is_a_slip(write: Write) -> None:
    write("train.tsv", "sentence\tlabel\nfine\t1\nbad\t0\nso so\t0.5\n")
    folder = write("dev.tsv", "sentence\tlabel\nfine\t1\n").parent
    with pytest.raises(DataError, match=r"train\.tsv, line 4: label '0\.5' is a score"):
        load(str(folder))


def test_validation_labels_must_be_numbers_too(write: Write) -> None:
    path = str(write("t.csv", TABLE))
    with pytest.raises(DataError, match=r"held\.csv, line 2: label 'high' is no finite number"):
        load(path, validation=str(write("held.csv", "text,label\na,high\n")))
    assert load(path, validation=str(write("whole.csv", "text,label\na,3\n"))).validation["label"][:] == [3.0]
