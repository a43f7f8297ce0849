"""Text data: what each layout gives, and what each kind of bad input says."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frostline.errors import DataError
from frostline.tasks.sources import hub
from frostline.tasks.text import load, read_examples

Write = Callable[[str, str], Path]
TABLE = "text,label\n" + "".join(f"{word} {i},{word}\n" for i in range(10) for word in ("good", "bad"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a file under `tmp_path`."""

    def write_file(name: str, content: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
        return path

    return write_file


def rows(data: Any) -> list[dict[str, Any]]:
    return list(data)


# GLUE

GLUE = {
    "SST-2": ("sentence\tlabel\n", ['a "quote\t0\n', "fine \t1\n"], ("0", "1"), "accuracy", False),
    "WNLI": ("index\tsentence1\tsentence2\tlabel\n", ["0\ta\tb\t1\n", "1\tc\td\t0\n"], ("0", "1"), "accuracy", True),
    "RTE": (
        "index\tsentence1\tsentence2\tlabel\n",
        ['0\t"a\tb\tnot_entailment\n', "1\tc\td\tentailment\n"],
        ("entailment", "not_entailment"),
        "accuracy",
        True,
    ),
    "QNLI": (
        "index\tquestion\tsentence\tlabel\n",
        ["0\tWho?\tHe.\tentailment\n", "1\tWhy?\tSo.\tnot_entailment\n"],
        ("entailment", "not_entailment"),
        "accuracy",
        True,
    ),
    "MRPC": (
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n",
        ["1\t7\t8\ta\tb\n", '0\t9\t10\t"c\td\n'],
        ("not_equivalent", "equivalent"),
        "f1",
        True,
    ),
    "QQP": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n",
        ["0\t1\t2\ta?\tb?\t0\n", "1\t3\t4\tc?\td?\t1\n"],
        ("not_duplicate", "duplicate"),
        "f1",
        True,
    ),
}


@pytest.mark.parametrize("name", GLUE)
def test_glue_folder_is_recognised_by_its_header(write: Write, name: str) -> None:
    header, lines, label_names, metric, pairs = GLUE[name]
    write("some/train.tsv", header + "".join(lines))
    folder = write("some/dev.tsv", header + lines[0]).parent
    data = load(str(folder))
    assert (data.name, data.label_names, data.metric) == (name, label_names, metric)
    assert (len(data.train), len(data.validation)) == (2, 1)
    assert ("text_pair" in data.train.column_names) is pairs
    assert data.validation[0] == data.train[0]


def test_glue_quotation_marks_stand_as_they_are(write: Write) -> None:
    header, lines, *_ = GLUE["SST-2"]
    write("train.tsv", header + '"open\t0\n' + lines[1])
    folder = write("dev.tsv", header + lines[1]).parent
    assert load(str(folder)).train["text"][:] == ['"open', "fine "]


def test_cola_has_no_header_and_names_its_classes(write: Write) -> None:
    write("train.tsv", "gj04\t1\t\tShe left.\nbc01\t0\t*\tShe leave.\n")
    folder = write("dev.tsv", "gj04\t1\t\tHe left.\n").parent
    data = load(str(folder))
    assert (data.name, data.metric) == ("CoLA", "matthews")
    assert data.label_names == ("unacceptable", "acceptable")
    assert rows(data.train) == [{"text": "She left.", "label": 1}, {"text": "She leave.", "label": 0}]


def test_mnli_is_validated_on_the_matched_split(write: Write) -> None:
    # The two files differ in their columns, as MNLI's do.
    write(
        "train.tsv",
        "index\tsentence1\tsentence2\tlabel1\tgold_label\n" + "0\ta\tb\tx\tneutral\n1\tc\td\tx\tentailment\n",
    )
    header = "index\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label\n"
    write("dev_mismatched.tsv", header + "0\twrong\tb\tx\ty\tneutral\n")
    folder = write("dev_matched.tsv", header + "0\tright\tb\tx\ty\tneutral\n").parent
    data = load(str(folder))
    assert data.name == "MNLI"
    assert data.validation["text"][:] == ["right"]
    assert data.label_names == ("entailment", "neutral")


def test_mrpc_is_read_under_the_names_microsoft_gave_it(write: Write) -> None:
    header, lines, *_ = GLUE["MRPC"]
    write("msr_paraphrase_train.txt", header + "".join(lines))
    folder = write("msr_paraphrase_test.txt", header + lines[1]).parent
    assert load(str(folder)).name == "MRPC"


def test_qqp_skips_short_rows_and_counts_them(write: Write) -> None:
    header, lines, *_ = GLUE["QQP"]
    write("train.tsv", header + "".join(lines) + "2\t5\t6\tcut\n3\tcut\n")
    folder = write("dev.tsv", header + lines[0]).parent
    with pytest.warns(UserWarning, match="2 of 4 rows were skipped"):
        assert len(load(str(folder)).train) == 2


def test_other_glue_tasks_refuse_short_rows(write: Write) -> None:
    header, lines, *_ = GLUE["RTE"]
    write("train.tsv", header + "".join(lines) + "2\tcut\n")
    folder = write("dev.tsv", header + lines[0]).parent
    with pytest.raises(DataError, match=r"train\.tsv, line 4: 2 fields where RTE has 4"):
        load(str(folder))


def test_glue_test_file_without_labels_is_read_to_predict(write: Write) -> None:
    path = write("test.tsv", 'index\tsentence\n0\t"An open mark\n1\t"a" and "b"\n')
    examples, _ = read_examples(str(path), label_names=("0", "1"))
    assert rows(examples) == [{"text": '"An open mark'}, {"text": '"a" and "b"'}]


# TREC


def test_trec_takes_the_coarse_class_and_latin_1(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes("DESC:manner How ?\nHUM:ind Who is Zoë ?\nDESC:def What ?\n".encode("latin-1"))
    (tmp_path / "test.txt").write_bytes(b"HUM:gr Who ?\n")
    data = load(str(tmp_path))
    assert data.label_names == ("DESC", "HUM")
    assert data.train[1] == {"text": "Who is Zoë ?", "label": 1}
    assert rows(data.validation) == [{"text": "Who ?", "label": 1}]
    assert (data.metric, data.name) == ("accuracy", tmp_path.name)


def test_trec_file_alone_is_split(write: Write) -> None:
    path = write("questions.txt", "1 What ?\n0 Who ?\n" * 10)
    data = load(str(path), validation_share=0.2)
    assert (len(data.train), len(data.validation), data.label_names) == (16, 4, ("0", "1"))


def test_line_break_characters_other_than_newline_do_not_cut_a_line(tmp_path: Path) -> None:
    # 0x85 is "next line" to str.splitlines, and an ellipsis in the files people call Latin-1.
    (tmp_path / "train.txt").write_bytes(b"0 a \x85 b\n1 c\n0 d\n1 e\n")
    (tmp_path / "test.txt").write_bytes(b"0 x\n")
    assert len(load(str(tmp_path)).train) == 4


def test_prose_is_not_taken_for_labels(write: Write) -> None:
    path = write("story.txt", "Once there was\na king who\nlived in a\nhouse of glass\n")
    with pytest.raises(DataError, match="first words occur once"):
        load(str(path))


def test_trec_line_without_text_is_named(write: Write) -> None:
    path = write("questions.txt", "1 What ?\n0 Who ?\n1\n0 Why ?\n")
    with pytest.raises(DataError, match=r"questions\.txt, line 3: the text is missing"):
        load(str(path))


# Tables

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


# Examples to evaluate and predict on


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
        load("acceptability", **arguments)  # type: ignore[arg-type]


def test_embedded_task_comes_from_the_generator() -> None:
    data = load("acceptability")
    assert (len(data.train), len(data.validation)) == (7040, 1000)
    assert not set(data.train["text"]) & set(data.validation["text"])
    # Minimal pairs: as many sentences of either class.
    assert Counter(data.train["label"]) == {0: 3520, 1: 3520}


# The Hub


@pytest.fixture
def on_the_hub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, str | None]]]:
    """Return a function that puts splits on a Hub of one data set and gives the list of requests for it."""
    from datasets import ClassLabel, Dataset, Features, Value

    def put(**splits: list[int]) -> list[tuple[str, str | None]]:
        asked: list[tuple[str, str | None]] = []
        features = Features({"sentence": Value("string"), "label": ClassLabel(names=["no", "yes"])})

        def load_dataset(path: str, config: str | None) -> dict[str, Any]:
            asked.append((path, config))
            return {
                split: Dataset.from_dict(
                    {"sentence": [f"{split} {i}" for i in range(len(labels))], "label": labels}, features=features
                )
                for split, labels in splits.items()
            }

        monkeypatch.setattr("datasets.load_dataset", load_dataset)
        monkeypatch.setattr(hub, "_answers", lambda seconds: True)
        return asked

    return put


@pytest.mark.parametrize(
    ("name", "asked", "metric"),
    [
        ("glue/cola", ("nyu-mll/glue", "cola"), "matthews"),
        ("glue/sst2", ("nyu-mll/glue", "sst2"), "accuracy"),
        ("someone/reviews", ("someone/reviews", None), "accuracy"),
        ("someone/reviews/short", ("someone/reviews", "short"), "accuracy"),
    ],
)
def test_hub_name_becomes_path_and_config(
    on_the_hub: Callable[..., list[tuple[str, str | None]]], name: str, asked: tuple[str, str | None], metric: str
) -> None:
    requests = on_the_hub(train=[0, 1, 1], validation=[1], test=[-1])
    data = load(name)
    assert requests == [asked]
    assert (data.label_names, data.metric, data.name) == (("no", "yes"), metric, name)
    assert rows(data.validation) == [{"text": "validation 0", "label": 1}]
    assert len(data.sha256) == 64
    assert rows(read_examples(name, label_names=("no", "yes"))[0]) == rows(data.validation)


def test_hub_split_without_labels_does_not_validate(
    on_the_hub: Callable[..., list[tuple[str, str | None]]],
) -> None:
    on_the_hub(train=[0, 1] * 10, test=[-1, -1])
    data = load("someone/reviews")
    assert (len(data.train), len(data.validation)) == (18, 2)
    assert all(text.startswith("train") for text in data.validation["text"])


def test_hub_failure_names_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(path: str, config: str | None) -> None:
        raise ValueError("BuilderConfig 'colla' not found")

    monkeypatch.setattr(hub, "_answers", lambda seconds: True)
    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(DataError, match=r"'nyu-mll/glue' \(config 'colla'\) cannot be read: BuilderConfig"):
        load("glue/colla")


def test_hub_in_offline_mode_says_so_at_once() -> None:
    # A process of its own, because the mode is read when the Hub's client is imported.
    program = (
        "from frostline.errors import DataError\n"
        "from frostline.tasks.text import load\n"
        "try:\n    load('glue/cola')\nexcept DataError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert "cannot be reached" in done.stdout
    assert "Offline, name a file, a folder, or 'acceptability'" in done.stdout
    assert time.perf_counter() - start < 30


def test_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def head(self, url: str, timeout: float) -> None:
            threading.Event().wait(30)

    monkeypatch.setattr("huggingface_hub.get_session", Silent)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.1)
    start = time.perf_counter()
    with pytest.raises(DataError, match="does not answer"):
        load("someone/reviews")
    assert time.perf_counter() - start < 10


# Bad input: each message names the file, the place, the value and the way out


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
