"""The folder of a run: refused, made, cut back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from frostline.errors import CheckpointError
from frostline.training.run_folder import STEP_COLUMNS, RunFolder, write_json

RECORD = {"status": "running", "config": {}, "plan": {}, "data": {}}


def steps_csv(*steps: int) -> str:
    rows = [f"{step},0.5,0.001,2,10,20,0.1,{'a b' if step == 1 else ''}" for step in steps]
    return "\n".join([",".join(STEP_COLUMNS), *rows, ""])


def test_json_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"name": "🎉 שלום", "path": Path("x")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "🎉 שלום", "path": "x"}

    def no_space(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"name": "new"})
    assert json.loads(path.read_text(encoding="utf-8"))["name"] == "🎉 שלום"


def test_record_is_none_where_there_is_none(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).record() is None
    assert RunFolder(tmp_path / "no").record() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"status": "finished"}', "\x00"])
def test_record_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"run\.json"):
        RunFolder(tmp_path).record()


def test_new_folder_may_be_absent_or_empty(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "a" / "b"):
        RunFolder(path).require_new(overwrite=False)
    assert not (tmp_path / "a").exists()


def test_taken_folder_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    folder = RunFolder(tmp_path)
    with pytest.raises(CheckpointError, match="--resume goes on with it, --overwrite starts anew"):
        folder.require_new(overwrite=False)
    with pytest.raises(CheckpointError, match="is no run folder"):
        folder.require_new(overwrite=True)
    write_json(folder.run, RECORD)
    folder.require_new(overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    folder.create()
    assert list(tmp_path.iterdir()) == []


def test_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(CheckpointError, match="is a file; name a folder"):
        RunFolder(tmp_path / "a").require_new(overwrite=True)
    with pytest.raises(CheckpointError, match="cannot be made"):
        RunFolder(tmp_path / "a" / "b").create()


def test_link_to_a_folder_is_refused_not_crashed_on(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(CheckpointError, match="cannot be made"):
        RunFolder(tmp_path / "link").create()
    assert (tmp_path / "real").is_dir()


def test_steps_are_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.steps.write_text(steps_csv(1, 2, 3, 4))
    assert [row["step"] for row in folder.start_steps(2)] == ["1", "2"]
    assert folder.steps.read_text() == steps_csv(1, 2)
    assert folder.start_steps(0) == []
    assert folder.read_steps() == []


def test_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    whole = steps_csv(1, 2, 3)
    for length in range(len(steps_csv(1, 2)), len(whole) - 6):
        folder.steps.write_text(whole[:length])
        assert [row["step"] for row in folder.read_steps()] == ["1", "2"], whole[:length]
        assert [row["step"] for row in folder.start_steps(2)] == ["1", "2"], whole[:length]
