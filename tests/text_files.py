"""What the tests of text sources share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Write = Callable[[str, str], Path]
TABLE = "text,label\n" + "".join(f"{word} {i},{word}\n" for i in range(10) for word in ("good", "bad"))


def rows(data: Any) -> list[dict[str, Any]]:
    """Return the rows of a data set."""
    return list(data)
