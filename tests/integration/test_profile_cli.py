"""`frostline profile`, read by a person and by a program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def test_as_a_table_and_as_json(command: Any, tiny: Path) -> None:
    done = command("profile", tiny, "--batch-size", 2, "--seq-len", 8, "--json")
    assert done.code == 0, done.stderr
    values = json.loads(done.stdout)
    assert sum(level["flops"] for level in values["levels"]) > 0
    assert values["batch"]["input_ids"] == [2, 8]
    drawn = command("profile", tiny, "--batch-size", 2, "--seq-len", 8, "--storage", "compact")
    assert "forward GFLOP" in drawn.stdout
    refused = command("profile", tiny, "--storage", "tiny")
    assert refused.code == 2
