"""Writes the tables of the README files from the committed results: `make tables`.

    python benchmarks/tables.py            # write
    python benchmarks/tables.py --check    # say which are stale, exit 1

A table stands between `<!-- table: FOLDER/NAME -->` and `<!-- end of table -->`: NAME is one of `TABLES` in FOLDER's
`summaries.py`, or, where FOLDER holds a comparison, one of those in `comparisons.py`.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
START = "<!-- table: "
PLACES = re.compile(rf"({START}(?P<name>\S+) -->\n)(?:(?!{START}).)*?(<!-- end of table -->)", re.DOTALL)

if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # the folders here import each other from there


def table(name: str) -> str:
    """Return a table by its name, FOLDER/NAME; KeyError if there is none."""
    folder, _, which = name.rpartition("/")
    found = {}
    if (HERE / folder / "results" / "comparison.json").is_file():
        found = {
            key: partial(make, HERE / folder) for key, make in importlib.import_module("comparisons").TABLES.items()
        }
    if folder and (HERE / folder / "summaries.py").is_file():
        found |= importlib.import_module(f"{folder.replace('/', '.')}.summaries").TABLES
    if which not in found:
        raise KeyError(f"there is no table {name!r}; {folder or 'benchmarks'} has {', '.join(found) or 'none'}.")
    return str(found[which]())


def pages() -> list[Path]:
    """Return the Markdown files that may hold tables."""
    return sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *HERE.rglob("*.md")])


def filled(text: str) -> str:
    """Return the text with every table made anew; KeyError for an unknown name, ValueError for a table without end."""
    if text.count(START) != len(PLACES.findall(text)):
        raise ValueError("a table has no end: `<!-- end of table -->` is missing before the next or the last line.")
    return PLACES.sub(lambda found: f"{found[1]}\n{table(found['name'])}\n\n{found[3]}", text)


def main() -> None:
    """Write the tables, or say which are stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    stale = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        now = filled(text)
        if now != text:
            stale.append(str(page.relative_to(ROOT)))
            if not arguments.check:
                page.write_text(now, encoding="utf-8")
    if stale:
        print(("stale: " if arguments.check else "written: ") + ", ".join(stale))
    sys.exit(bool(stale) and arguments.check)


if __name__ == "__main__":
    main()
