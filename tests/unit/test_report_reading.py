"""Reading a folder for a report: whole, damaged, foreign, still going, or none at all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from frostline.errors import ReportError
from frostline.report.reading import read
from frostline.report.values import Report, number
from report_folders import change, comparison, record, run_folder, write

METHODS = ("full", "layers2", "slimfit90")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return comparison(tmp_path / "c", tasks=("cola", "rte"), methods=METHODS, seeds=(0, 1), steps=20)


def reasons(report: Report) -> dict[str, str]:
    return {file.name: file.reason for file in report.left_out}


def test_whole_folder_is_read_whole(folder: Path) -> None:
    report = read(folder)
    assert (report.tasks, report.methods, report.seeds) == (("cola", "rte"), METHODS, (0, 1))
    assert (report.reference, report.single, report.left_out, report.absent) == ("full", False, (), ())
    assert len(report.cells) == len(report.steps) == 12
    assert all(len(steps.losses) == 20 for steps in report.steps.values())
    cell = report.one("cell", "cola", "slimfit90")
    assert cell is not None
    assert cell.metric == "matthews"
    assert cell.score == pytest.approx(0.515, abs=0.05)


def test_folder_without_its_plan_is_read_from_the_records(folder: Path) -> None:
    (folder / "comparison.json").unlink()
    report = read(folder)
    assert set(report.methods) == set(METHODS)
    assert (report.tasks, report.seeds, report.reference) == (("cola", "rte"), (0, 1), "full")
    assert reasons(report) == {"comparison.json": "it is not there; the plan is taken from the records"}
    assert report.expected == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "frostline-comparison/9"}', "\x00"])
def test_damaged_plan_is_named_and_done_without(folder: Path, text: str) -> None:
    (folder / "comparison.json").write_text(text)
    report = read(folder)
    assert "comparison.json" in reasons(report)
    assert len(report.cells) == 12


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is no JSON: line 1, column 1"),
        (b'{"format": "frostline-cell/1", "na', "it is no JSON: line 1"),
        (b"\xff\xfe{}", "it is no UTF-8 text (byte 0)"),
        (b"[1, 2]", "it holds list"),
        (b"{}", "its format is None"),
        (b'{"format": "frostline-cell/2"}', "its format is 'frostline-cell/2'"),
        (b"[" * 100_000, "it is no usable JSON"),
    ],
)
def test_damaged_record_is_named_and_left_out(folder: Path, content: bytes, reason: str) -> None:
    (folder / "cola.full.seed0.json").write_bytes(content)
    report = read(folder)
    assert reason in reasons(report)["cola.full.seed0.json"]
    assert report.absent == (), "it is there, though it cannot be used"
    assert len(report.cells) == 11


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "cola.full.seed1"}, "not the name of the file"),
        ({"kind": "soup"}, "its kind is 'soup'"),
        ({"kind": ["cell"]}, "its kind is"),
        ({"status": "running"}, "its status is 'running'"),
        ({"task": None}, "it names no task"),
        ({"method": ""}, "it names no method"),
    ],
)
def test_foreign_record_is_named_and_left_out(folder: Path, changes: dict[str, object], reason: str) -> None:
    change(folder / "cola.full.seed0.json", **changes)
    assert reason in reasons(read(folder))["cola.full.seed0.json"]


@pytest.mark.parametrize(("value", "expected"), [(1e-4, 1e-4), ("1e-4", 1e-4), ("fast", None), (None, None)])
def test_learning_rate_may_be_text(folder: Path, value: object, expected: float | None) -> None:
    change(folder / "cola.full.seed0.json", config={"learning_rate": value})
    found = next(cell for cell in read(folder).cells if cell.name == "cola.full.seed0")
    assert found.learning_rate == expected


def test_second_record_of_the_same_cell_is_left_out(folder: Path) -> None:
    values = json.loads((folder / "cola.full.seed0.json").read_text())
    write(folder / "copy.json", values | {"name": "copy"})
    assert reasons(read(folder)) == {"copy.json": "it is the same cell as cola.full.seed0"}


def test_cell_outside_the_plan_is_shown_after_the_others(folder: Path) -> None:
    write(folder / "cola.mine.seed0.json", record("cell", "cola.mine.seed0", "cola", "mine"))
    report = read(folder)
    assert report.methods == (*METHODS, "mine")
    assert reasons(report) == {"steps/cola.mine.seed0.csv": "it is not there"}


@pytest.mark.parametrize("kind", ["run_info", "train_info", "meta_info", "config"])
def test_records_with_odd_content_are_read(folder: Path, kind: str) -> None:
    for value in (None, 3, "x", [], {"memory": None, "metrics": [], "data": "x", "versions": 3}):
        change(folder / "cola.full.seed0.json", **{kind: value})
        found = next(cell for cell in read(folder).cells if cell.name == "cola.full.seed0")
        assert found.score is None or kind != "train_info"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "0.9", True, [0.9], 10**400])
def test_what_is_no_finite_number_is_none(value: object) -> None:
    assert number(value) is None


def test_text_that_no_page_can_hold_is_replaced(folder: Path) -> None:
    path = folder / "cola.full.seed0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "failed", "reason": "a\ud800b\x00c\n"}))
    found = next(cell for cell in read(folder).cells if not cell.finished)
    assert found.reason == "a\ufffdb\ufffdc\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it has no column active, loss, seconds, step"),
        ("a,b\n1,2\n", "it has no column"),
        ("step,loss,seconds,active\n1,0.5,0.1,a\nsoup\n3,0.5,0.1,\n", "line 3 is not that of a step"),
    ],
)
def test_unreadable_steps_are_named_and_left_out(folder: Path, text: str, reason: str) -> None:
    (folder / "steps" / "cola.full.seed0.csv").write_text(text)
    report = read(folder)
    assert reason in reasons(report)["steps/cola.full.seed0.csv"]
    assert len(report.steps) == 11


def test_steps_of_bytes_are_named_and_left_out(folder: Path) -> None:
    (folder / "steps" / "cola.full.seed0.csv").write_bytes(b"step,loss,seconds,active\n\xff\xfe,1,2,3\n")
    assert "it is no table of steps" in reasons(read(folder))["steps/cola.full.seed0.csv"]


def test_last_line_cut_short_and_losses_that_are_not_finite_are_tolerated(folder: Path) -> None:
    text = "step,loss,seconds,active\n1,nan,0.1,a b\n2,0.5,0.1,\n3,inf,0.1,a\n4,0.2"
    (folder / "steps" / "cola.full.seed0.csv").write_text(text)
    steps = read(folder).steps["cola.full.seed0"]
    assert steps.losses == (None, 0.5, None)
    assert steps.changes == ((0, ("a", "b")), (2, ("a",)))


def test_run_folder_is_a_report_with_one_cell(tmp_path: Path) -> None:
    report = read(run_folder(tmp_path / "r"))
    (cell,) = report.cells
    assert (report.single, cell.task, cell.method, cell.seed, cell.metric) == (True, "cola", "slimfit", 0, "matthews")
    assert cell.memory("process_peak") == 915 * 2**20
    assert cell.command == "frostline train method=slimfit output=r"
    assert len(report.steps[cell.name].losses) == 60


def test_run_folder_of_an_older_form_has_its_peak_as_well(tmp_path: Path) -> None:
    (cell,) = read(run_folder(tmp_path / "r", memory=None)).cells
    assert cell.memory("process_peak") == 915 * 2**20


def test_run_without_steps_says_so(tmp_path: Path) -> None:
    (run_folder(tmp_path / "r") / "steps.csv").unlink()
    assert reasons(read(tmp_path / "r")) == {"steps.csv": "it is not there"}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"status": "finished"}'])
def test_run_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ReportError, match=r"run\.json"):
        read(tmp_path)


def test_folder_that_is_neither_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"there is no folder .*/no'; name a run folder or a comparison folder"):
        read(tmp_path / "no")
    with pytest.raises(ReportError, match=r"is neither a run folder .* name the `output` of a `frostline train`"):
        read(tmp_path)
    write(tmp_path / "package.json", {"name": "else"})
    with pytest.raises(ReportError, match="is neither"):
        read(tmp_path)
    with pytest.raises(ReportError, match="there is no folder"):
        read(tmp_path / "package.json")


def test_a_cell_of_the_plan_is_read_before_a_copy_of_it(folder: Path) -> None:
    copy = json.loads((folder / "cola.full.seed0.json").read_text(encoding="utf-8")) | {"name": "cola copy"}
    write(folder / "cola copy.json", copy)
    report = read(folder)
    assert "it is the same cell as cola.full.seed0" in reasons(report)["cola copy.json"]
    assert len(report.cells) == 12


def test_names_that_no_page_can_hold_are_cleaned(folder: Path) -> None:
    (folder / "ctrl\x01\x1b[31m.json").write_text("{")
    (folder / "bad\udcff.json").write_text("{")
    assert {"ctrl\ufffd\ufffd[31m.json", "bad\ufffd.json"} <= reasons(read(folder)).keys()


@pytest.mark.parametrize(
    "changes", [{"seeds": 3}, {"seeds": None, "tasks": 3}, {"expected": []}, {"expected": {"cell": 3}}, {"methods": 1}]
)
def test_a_plan_with_a_wrong_type_is_done_without_that_part(folder: Path, changes: dict[str, object]) -> None:
    change(folder / "comparison.json", **changes)
    assert len(read(folder).cells) == 12


def test_a_cell_that_says_it_is_inference_is_left_out(folder: Path) -> None:
    change(folder / "cola.full.seed0.json", method="inference")
    assert "forward passes alone" in reasons(read(folder))["cola.full.seed0.json"]
