"""Files of "label text" lines, as TREC's question classification is written.

Li and Roth, "Learning Question Classifiers", COLING 2002.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from frostline.errors import DataError
from frostline.tasks.sources.content import read_text
from frostline.tasks.sources.rows import Rows


def read(path: Path) -> Rows:
    """Read a file of "label text" lines.

    Args:
        path: the file, in Latin-1; of a label such as `DESC:manner` the coarse class before the colon counts.

    Returns:
        Its rows, numbered by line.

    Raises:
        DataError: the first words are no labels, being almost all different.
    """
    numbers: list[int] = []
    texts: list[str] = []
    labels: list[str | None] = []
    for number, line in enumerate(read_text(path, "latin-1").split("\n"), start=1):
        label, _, text = line.strip().partition(" ")
        if label:
            numbers.append(number)
            labels.append(label.partition(":")[0] or None)
            texts.append(text)
    _refuse_prose(path, labels)
    return Rows(
        origin=str(path),
        name=path.stem,
        texts=texts,
        pairs=None,
        labels=labels,
        numbers=numbers,
        unit="line",
        path=path,
    )


def _refuse_prose(path: Path, labels: list[str | None]) -> None:
    # Any text has a first word on each line; labels come back, the first words of prose mostly do not.
    counts = Counter(labels)
    single = [label for label, count in counts.items() if count == 1]
    if len(counts) > 2 and len(single) > len(counts) / 2:
        raise DataError(
            f"{path}: a .txt file is read as 'label text' lines, but most of its {len(counts)} first words occur once "
            f"({', '.join(map(repr, single[:3]))}, ...); write the label first on each line, or use CSV with a header"
        )
