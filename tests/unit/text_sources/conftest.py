"""Files under a temporary folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from text_files import Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a file under `tmp_path`."""

    def write_file(name: str, content: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
        return path

    return write_file
