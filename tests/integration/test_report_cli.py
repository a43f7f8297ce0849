"""`frostline report`, and the report at the end of `frostline train`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import frostline.report
from report_folders import comparison, run_folder


def test_report_prints_the_path_of_the_page(command: Any, tmp_path: Path) -> None:
    folder = comparison(tmp_path / "c", tasks=("cola",), methods=("full", "head"), seeds=(0,), steps=5)
    done = command("report", folder)
    assert (done.code, done.stdout.split()) == (0, [str(folder / "report.html")])
    assert {path.name for path in folder.iterdir()} >= {"report.html", "report.md", "cells.csv"}
    done = command("report", folder, "--output", tmp_path / "elsewhere")
    assert done.stdout.split() == [str(tmp_path / "elsewhere" / "report.html")]


def test_folder_that_is_neither_ends_with_two(command: Any, tmp_path: Path) -> None:
    done = command("report", tmp_path)
    assert done.code == 2
    assert str(tmp_path) in done.said
    assert "frostline compare" in done.said


def test_report_loads_no_torch(tmp_path: Path) -> None:
    folder = comparison(tmp_path / "c", tasks=("cola",), methods=("full", "lisa1"), seeds=(0,), steps=30)
    code = (
        "import sys, frostline.report; from pathlib import Path\n"
        "frostline.report.write(Path(sys.argv[1]))\n"
        "print([name for name in ('torch', 'transformers', 'matplotlib.pyplot', 'tkinter') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]"]
    assert done.stderr == ""


def test_training_ends_with_a_report(command: Any, flags: list[str], tmp_path: Path) -> None:
    done = command("train", *flags, f"output={tmp_path / 'run'}")
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "run" / "report.html")
    assert "How to run it again" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")


def test_training_without_a_report(command: Any, flags: list[str], tmp_path: Path) -> None:
    done = command("train", *flags, f"output={tmp_path / 'run'}", "--no-report")
    assert done.code == 0, done.stderr
    assert not list((tmp_path / "run").glob("report*"))


def test_run_does_not_fail_for_want_of_a_report(
    command: Any, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path, output: Path | None = None) -> Path:
        raise RuntimeError("no ink")

    monkeypatch.setattr(frostline.report, "write", fail)
    done = command("train", *flags, f"output={tmp_path / 'run'}", "--json")
    assert done.code == 0
    assert done.stderr.strip().splitlines()[-1] == "warning: no report was drawn: RuntimeError: no ink"
    assert done.stdout.splitlines()[-1].startswith("{")


def test_unfinished_run_has_a_report(command: Any, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "r", status="running")
    assert command("report", folder).code == 0
    assert "still going" in (folder / "report.md").read_text(encoding="utf-8")
