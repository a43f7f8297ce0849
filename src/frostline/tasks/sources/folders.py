"""Which file of a folder is which split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from frostline.errors import DataError


def find_split(folder: Path, stems: Sequence[str], suffixes: Sequence[str]) -> Path | None:
    """Return the folder's file with the first of these stems that there is, and one of these suffixes.

    Raises:
        DataError: two files have that stem.
    """
    for stem in stems:
        found = sorted(path for path in folder.iterdir() if path.stem == stem and path.suffix.lower() in suffixes)
        if len(found) > 1:
            names = " and ".join(path.name for path in found)
            raise DataError(f"{folder}: {names} could each be the split; keep one, or name the file itself")
        if found:
            return found[0]
    return None
