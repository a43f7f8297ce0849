"""The report as HTML, Markdown and CSV: what is in it, what is escaped, and how it is written."""

from __future__ import annotations

import csv
import html
import io
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import pytest

from frostline.errors import ReportError
from frostline.report import write as write_report
from frostline.report.descriptions import describe
from frostline.report.markdown import escape
from report_folders import change, comparison, record, results, run_folder, write

METHODS = ("full", "layers2", "slimfit90")
NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }} {% raw %}",
    "🎉 שלום עולם مرحبا",
    "a|b `c` **d** [e](javascript:alert(1)) \\",
    "one\ntwo\r\n# three",
    "\u202ereversed",
    "x" * 300,
    "$\\alpha$ & &amp; ${x}",
)
_VOID = {"meta", "link", "br", "img", "hr", "input"}


class Elements(HTMLParser):
    """Collects elements; unclosed or wrongly nested ones are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return comparison(tmp_path / "c", tasks=("cola", "rte"), methods=METHODS, seeds=(0, 1), steps=20)


def require_even_tables(text: str) -> int:
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    for lines in tables:
        assert len({line.count("|") for line in lines}) == 1, lines
    return len(tables)


def headings(page: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(r"<h2[^>]*>(.*?)</h2>", page)]


def test_whole_report_has_every_section_and_no_address(folder: Path) -> None:
    page = write_report(folder).read_text(encoding="utf-8")
    assert headings(page) == [
        "Scores and memory",
        "What the memory holds",
        "Time of a step",
        "What trained when",
        "Loss",
        "Settings",
        "Scores seed by seed",
        "Learning rates tried",
        "How to run it again",
        "Made with",
    ]
    found = Elements(page)
    ids = [str(attributes["id"]) for _, attributes in found.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in found.found:
        for key in ("src", "href", "xlink:href", "action"):
            assert str(attributes.get(key) or "#").startswith(("#", "data:"))
        for name in str(attributes.get("aria-labelledby") or "").split():
            assert name in ids
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_every_figure_is_described(folder: Path) -> None:
    page = write_report(folder).read_text(encoding="utf-8")
    pictures = Elements(page).all("svg")
    assert len(pictures) >= 2 + 2 + 2 + 2 + 2 + 6
    assert all(one["role"] == "img" for one in pictures)
    assert len(re.findall(r"<title id=", page)) == len(re.findall(r"<desc id=", page)) == len(pictures)
    assert "On the front, from the least memory:" in page


def test_headings_go_down_one_level_at_a_time(folder: Path) -> None:
    levels = [int(level) for level in re.findall(r"<h(\d)", write_report(folder).read_text(encoding="utf-8"))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("text", NASTY)
def test_users_strings_are_text_everywhere(folder: Path, text: str) -> None:
    plan = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    changes = {"caption": text, "name": text, "tasks": [text], "methods": [*plan["methods"], text], "seeds": [0]}
    write(folder / "comparison.json", plan | changes)
    made = results("cola", 0.5, 900, "full", 20)
    versions = {text: text}
    data = {"name": text, "sha256": text, "label_names": [text]}
    values = record("cell", "odd", text, text, train_info=made | {"metric": text, "metrics": {text: 0.5}})
    values["config"] |= {"method": text, "settings": {text: text}, text: text}
    values["run_info"]["command"] = f"frostline train {text}"
    write(folder / "odd.json", values | {"meta_info": {"data": data, "versions": versions, "hardware": {text: text}}})
    write(folder / "broken.json", record("cell", "broken", text, "full", status="failed", reason=text))
    trial = record("trial", "t", text, text, train_info=made)
    write(folder / "t.json", trial)
    steps = f'step,loss,seconds,active\n1,0.5,0.1,"{text.replace(chr(34), "")}"\n2,0.4,0.1,b\n'
    (folder / "steps" / "odd.csv").write_text(steps, encoding="utf-8")

    page = write_report(folder)
    content = page.read_text(encoding="utf-8")
    found = Elements(content)
    assert len(found.all("script")) == 1
    assert found.all("img") == []
    assert not any(key.startswith("on") for _, attributes in found.found for key in attributes)
    assert "49 " not in re.sub(r"<[^>]*>", "", content.split("<style>")[0])
    shown = page.with_name("report.md").read_text(encoding="utf-8")
    told = re.sub(r"^```sh\n.*?^```$", "", shown, flags=re.DOTALL | re.MULTILINE)
    assert "<script" not in told
    assert "<img" not in told
    assert "\u202e" not in shown
    require_even_tables(shown)
    rows = list(csv.DictReader(io.StringIO(page.with_name("cells.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 14


def test_markdown_tables_have_as_many_cells_in_every_row(folder: Path) -> None:
    change(folder / "cola.full.seed0.json", status="failed", reason="a | b\n| c |", train_info={})
    text = write_report(folder).with_name("report.md").read_text(encoding="utf-8")
    assert require_even_tables(text) >= 8


def test_markdown_shows_text_as_it_is() -> None:
    assert escape("<b> | `x` *y*\n# z & [a](b)") == "&lt;b&gt; &#124; \\`x\\` \\*y\\* \\# z &amp; \\[a\\]\\(b\\)"
    assert escape("\u202ea\u2067b") == "ab"


def test_cells_csv_has_a_row_a_cell(folder: Path) -> None:
    change(folder / "rte.layers2.seed1.json", status="out_of_memory", reason="=1+1", train_info={}, meta_info={})
    text = write_report(folder).with_name("cells.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["task"], row["method"], row["seed"]) for row in rows] == [
        (task, method, seed) for task in ("cola", "rte") for method in METHODS for seed in ("0", "1")
    ]
    row = rows[2]
    assert (row["metric"], row["status"], row["time_ratio"]) == ("matthews", "finished", "0.5")
    assert int(row["process_peak"]) > 0
    assert int(row["tensor_peak"]) > int(row["saved_activations"]) > 0
    assert row["cuda_allocated"] == ""
    assert (rows[-3]["score"], rows[-3]["reason"], rows[-3]["status"]) == ("", "'=1+1", "out_of_memory")


def test_failed_cells_are_named_with_their_reason(folder: Path) -> None:
    change(folder / "cola.layers2.seed1.json", status="out_of_memory", reason="killed at 3,900 MiB", train_info={})
    page = write_report(folder).read_text(encoding="utf-8")
    assert "Without a result" in headings(page)
    assert "killed at 3,900 MiB" in page
    assert "11 of 12 cells finished, 1 out of memory" in page


def test_files_left_out_are_named_and_counted(folder: Path) -> None:
    (folder / "cola.full.seed0.json").write_text("{")
    (folder / "steps" / "rte.full.seed0.csv").write_text("soup")
    page = write_report(folder).read_text(encoding="utf-8")
    assert "2 files that could not be used." in page
    assert "cola.full.seed0.json" in page
    assert "not made yet, or removed" not in page
    assert "2 files could not be used; “Files left out” says which, and why." in page
    assert "11 of 12 cells finished" in page
    assert "still to come" not in page


def test_comparison_that_still_goes_says_how_far_it_is(folder: Path) -> None:
    for path in folder.glob("rte.*.json"):
        path.unlink()
    page = write_report(folder).read_text(encoding="utf-8")
    assert "6 of 12 cells finished. The rest is still to come; this report shows what is there." in page
    assert "Scores and memory" in headings(page)


def test_comparison_without_a_finished_cell_says_so(folder: Path) -> None:
    for path in folder.glob("*.*.json"):
        path.unlink()
    page = write_report(folder).read_text(encoding="utf-8")
    assert "No cell has finished yet: there is nothing to compare." in page
    assert "Files left out" in headings(page)
    assert Elements(page).all("svg") == []


def test_trials_have_data_of_their_own_and_that_is_no_warning(folder: Path) -> None:
    assert list(folder.glob("*.lr*.json"))
    assert "were not made on the same data" not in write_report(folder).read_text(encoding="utf-8")
    path = next(folder.glob("*.lr*.json"))
    meta = json.loads(path.read_text())["meta_info"]
    change(path, meta_info=meta | {"data": meta["data"] | {"sha256": "0" * 64}})
    assert "were not made on the same data" in write_report(folder).read_text(encoding="utf-8")


def test_records_from_other_data_or_versions_are_a_warning(folder: Path) -> None:
    values = json.loads((folder / "cola.full.seed0.json").read_text())
    meta = values["meta_info"]
    meta = meta | {"data": meta["data"] | {"sha256": "0" * 64}, "versions": meta["versions"] | {"torch": "1.0"}}
    change(folder / "cola.full.seed0.json", meta_info=meta | {"model_sha256": "1" * 64})
    page = write_report(folder).read_text(encoding="utf-8")
    assert "were not made on the same data" in page
    assert "Not all records started from the same model" in page
    assert "1 record made with other versions: <bdi>torch 1.0</bdi>." in page


def test_run_has_the_parts_that_make_sense(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "r")
    page = write_report(run, tmp_path / "out" / "deep")
    assert page == tmp_path / "out" / "deep" / "report.html"
    assert not page.with_name("cells.csv").exists()
    assert headings(page.read_text(encoding="utf-8")) == [
        "Scores and memory",
        "What trained when",
        "Loss",
        "Settings",
        "How to run it again",
        "Made with",
    ]
    assert not list(run.glob("report*"))


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_run_without_results_is_shown_as_far_as_it_got(tmp_path: Path, status: str) -> None:
    run = run_folder(tmp_path / "r", status=status)
    values = json.loads((run / "run.json").read_text())
    for key in ("metrics", "memory", "peak_bytes", "steps", "step_seconds", "active_share", "train_seconds"):
        del values[key]
    write(run / "run.json", values)
    assert "Loss" in headings(write_report(run).read_text(encoding="utf-8"))
    (run / "steps.csv").unlink()
    assert "Loss" not in headings(write_report(run).read_text(encoding="utf-8"))


def test_same_folder_gives_the_same_bytes(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in write_report(folder).parent.glob("report.*")}
    assert before.keys() == {"report.html", "report.md"}
    matplotlib.rcParams["font.size"] = 30
    try:
        write_report(folder)
    finally:
        matplotlib.rcParams["font.size"] = matplotlib.rcParamsDefault["font.size"]
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_drawing_leaves_the_users_settings_and_backend_alone(folder: Path) -> None:
    before = dict(matplotlib.rcParams)
    write_report(folder)
    assert dict(matplotlib.rcParams) == before


def test_report_that_cannot_be_written_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match=r"cannot be written to .*file.*--output FOLDER"):
        write_report(folder, tmp_path / "file")
    (tmp_path / "taken" / "report.html").mkdir(parents=True)
    with pytest.raises(ReportError, match="cannot be written"):
        write_report(folder, tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["report.html"]


def test_built_in_methods_are_described_from_their_source() -> None:
    from frostline import methods

    for name in methods.BUILT_IN:
        found, method = describe(name), methods.get(name)
        assert found is not None
        assert (found.summary, found.source) == (method.summary, method.source)
        for key, field in method.Settings.model_fields.items():
            assert found.settings.get(key) in (field.description, None)
    assert describe("no such method") is None


def test_a_run_within_a_budget_shows_prediction_measurement_and_the_ways_tried(tmp_path: Path) -> None:
    rungs = [
        {"name": "full, <stock>", "peak": 900 * 2**20, "fits": False, "costs": "nothing"},
        {"name": "auto", "peak": 600 * 2**20, "fits": True, "costs": "some weights"},
    ]
    planned = {"budget": 700 * 2**20, "rungs": rungs, "predicted": {"peak": 600 * 2**20}}
    run = run_folder(tmp_path / "r", planned=planned, prediction={"measured": 606 * 2**20})
    write_report(run)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Budget: 700 MiB" in page
    assert "measured: 606 MiB, 1.01× of it" in page
    assert "full, &lt;stock&gt;" in page
    assert "too much" in page
    write_report(run_folder(tmp_path / "other", planned={"rungs": "none"}))
    assert "Within the budget" not in (tmp_path / "other" / "report.html").read_text(encoding="utf-8")
