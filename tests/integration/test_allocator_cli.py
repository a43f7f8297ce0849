"""The allocator of a run: put in place where the process starts, said in the record, and no number changes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from frostline.allocator import environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")


@pytest.mark.slow
def test_runs_differ_in_the_allocator_alone(process: Any, flags: list[str], record: Any, tmp_path: Path) -> None:
    names = ["default", "compact", "jemalloc"]
    said = {}
    for name in names:
        child = process("train", *flags, "max_steps=2", f"output={tmp_path / name}", "--no-report", f"allocator={name}")
        said[name], errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors
    found = {name: record(tmp_path / name)["allocator"] for name in names}
    assert [found[name]["asked"] for name in names] == names
    assert found["default"]["in_force"] == "default"
    assert found["compact"]["in_force"] == "compact"
    there = bool(environment("jemalloc"))
    assert found["jemalloc"]["in_force"] == ("jemalloc" if there else "default")
    assert ("allocator=jemalloc does nothing here" in said["jemalloc"]) is not there
    assert "does nothing" not in said["default"] + said["compact"]
    assert len({(tmp_path / name / "model.safetensors").read_bytes() for name in names}) == 1
