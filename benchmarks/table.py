"""A table of results, and how it is written in Markdown."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Table:
    """What a benchmark says in rows.

    Attributes:
        head: of each column its title.
        rows: cells as they are printed.
        caption: above the table; nothing if empty.
        words: the columns that are set to the left; figures are set to the right.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    words: Collection[int] = (0,)

    def __str__(self) -> str:
        rules = ["---" if place in self.words else "---:" for place in range(len(self.head))]
        lines = [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
            for line in (self.head, rules, *self.rows)
        ]
        return "\n".join([self.caption, "", *lines] if self.caption else lines)


def results(folder: Path, name: str) -> dict[str, Any]:
    """Return the content of `results/NAME.json` of a benchmark's folder."""
    content: dict[str, Any] = json.loads((folder / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return content
