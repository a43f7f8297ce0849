"""A checkpoint is whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from frostline.training.checkpoints import MANIFEST, discard_partial, first_not_finite, is_whole, latest


def make(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    (path / "state.json").write_bytes(b"{}")
    files = {"model.safetensors": 7, "state.json": 2}
    (path / MANIFEST).write_text(json.dumps({"step": step, "files": files}))
    return path


def test_newest_is_by_step_not_by_name_or_time(tmp_path: Path) -> None:
    for step in (1000, 20, 3):
        make(tmp_path, step)
    assert latest(tmp_path) == tmp_path / "checkpoint-1000"


def test_no_folder_and_no_checkpoint_give_none(tmp_path: Path) -> None:
    assert latest(tmp_path) is None
    assert latest(tmp_path / "no") is None
    discard_partial(tmp_path / "no")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / MANIFEST).unlink(),
        lambda path: (path / MANIFEST).write_text(""),
        lambda path: (path / MANIFEST).write_text('{"step": 2, "fil'),
        lambda path: (path / MANIFEST).write_text("[]"),
        lambda path: (path / MANIFEST).write_text('{"files": 3}'),
        lambda path: (path / MANIFEST).write_bytes(b"\xff\xff"),
        lambda path: (path / "model.safetensors").unlink(),
        lambda path: (path / "model.safetensors").write_bytes(b"weight"),
        lambda path: (path / "model.safetensors").write_bytes(b"weights and more"),
    ],
    ids=["no manifest", "empty", "cut", "list", "number", "bytes", "file missing", "file short", "file long"],
)
def test_damaged_checkpoint_is_passed_over_and_discarded(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    good, bad = make(tmp_path, 1), make(tmp_path, 2)
    assert latest(tmp_path) == bad
    damage(bad)
    assert not is_whole(bad)
    assert latest(tmp_path) == good
    (tmp_path / "other").mkdir()
    discard_partial(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1", "other"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_first_broken_parameter_is_named(value: float) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert first_not_finite(model) is None
    with torch.no_grad():
        model[1].bias[1] = value
    assert first_not_finite(model) == "1.bias"
