"""What was rehearsed once is not rehearsed again, unless something that it depends on is another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from frostline.federated import remembered as module
from frostline.federated.remembered import remembered


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    monkeypatch.setattr(module, "user_cache_path", lambda name: tmp_path / name)
    return []


def test_equal_keys_are_made_once(made: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(**key: Any) -> int:
        def make() -> dict[str, int]:
            made.append(1)
            return {"value": len(made)}

        return int(remembered(key, make)["value"])

    assert [ask(batch=1), ask(batch=1), ask(batch=2), ask(batch=1)] == [1, 1, 2, 1]
    monkeypatch.setattr(module, "versions", lambda: {"torch": "another"})
    assert ask(batch=1) == 3
    monkeypatch.setattr(module, "_code", lambda: "another")
    assert ask(batch=1) == 4


def test_what_cannot_be_read_or_written_is_made_anew(made: list[int], tmp_path: Path) -> None:
    remembered({"a": 1}, lambda: {"value": 1})
    (file,) = (tmp_path / "frostline" / "costs").iterdir()
    file.write_text("{", encoding="utf-8")
    assert remembered({"a": 1}, lambda: {"value": 2}) == {"value": 2}
    file.unlink()
    file.mkdir()
    assert remembered({"a": 1}, lambda: {"value": 3}) == {"value": 3}
