"""GLUE and TREC folders: what each layout gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.errors import DataError
from frostline.tasks.text import load, read_examples
from text_files import Write, rows

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
