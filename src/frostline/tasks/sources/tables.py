"""Tables with typed cells: JSON Lines, JSON and Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.errors import DataError
from frostline.tasks.sources.columns import Asked, choose
from frostline.tasks.sources.content import read_bytes, read_text
from frostline.tasks.sources.rows import Rows, label_cells

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa


def read_json_lines(path: Path, asked: Asked, *, label_needed: bool) -> Rows:
    """Read a file of one JSON object a line.

    Args:
        path: the file, in UTF-8.
        asked: columns the caller named.
        label_needed: whether a missing label column is an error.

    Returns:
        Its rows, numbered by line.

    Raises:
        DataError: a line is no JSON object, or the columns are not clear.
    """
    numbers: list[int] = []
    records: list[object] = []
    # JSON allows U+2028 inside a string, where splitlines would cut.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            records.append(_decode(path, line, number))
            numbers.append(number)
    return _from_objects(path, records, numbers, "line", asked, label_needed=label_needed)


def read_json(path: Path, asked: Asked, *, label_needed: bool) -> Rows:
    """Read a JSON file that holds one list of objects.

    Args:
        path: the file, in UTF-8.
        asked: columns the caller named.
        label_needed: whether a missing label column is an error.

    Returns:
        Its rows, numbered from 1.

    Raises:
        DataError: the file is no list of objects, or the columns are not clear.
    """
    records = _decode(path, read_text(path), 1)
    if not isinstance(records, list):
        raise DataError(
            f"{path}: the JSON holds {_kind(records)}; write a list of objects, or one object a line in a .jsonl file"
        )
    return _from_objects(path, records, range(1, len(records) + 1), "row", asked, label_needed=label_needed)


def read_parquet(path: Path, asked: Asked, *, label_needed: bool) -> Rows:
    """Read a Parquet file, keeping the class names `datasets` may have written into it.

    Args:
        path: the file.
        asked: columns the caller named.
        label_needed: whether a missing label column is an error.

    Returns:
        Its rows, numbered from 1.

    Raises:
        DataError: the file is no Parquet, or the columns are not clear.
    """
    table, features = parquet_table(path)
    return from_arrow(table, features, str(path), path.stem, asked, label_needed=label_needed, path=path)


def parquet_table(path: Path) -> tuple[pa.Table, datasets.Features]:
    """Return what a Parquet file holds, with the types `datasets` may have written into it; DataError if it is none."""
    import pyarrow as pa
    import pyarrow.parquet
    from datasets import Features

    raw = read_bytes(path)
    try:
        table = pyarrow.parquet.read_table(pa.BufferReader(raw))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: this is no readable Parquet file ({error}); write it again") from error
    return table, Features.from_arrow_schema(table.schema)


def from_arrow(
    table: pa.Table,
    features: datasets.Features,
    origin: str,
    name: str,
    asked: Asked,
    *,
    label_needed: bool,
    path: Path | None = None,
) -> Rows:
    """Take rows from an Arrow table.

    Args:
        table: the table.
        features: its columns' types; a ClassLabel's names become the class names.
        origin: what messages call it.
        name: the task's name.
        asked: columns the caller named.
        label_needed: whether a missing label column is an error.
        path: the file, where there is one.

    Returns:
        Its rows, numbered from 1.

    Raises:
        DataError: the columns are not clear.
    """
    _no_delimiter(asked, origin)
    chosen = choose(table.column_names, asked, origin, label_needed=label_needed)
    numbers = range(1, table.num_rows + 1)
    labels, classes = label_column(table, features, chosen.label, origin)
    return Rows(
        origin=origin,
        name=name,
        texts=table.column(chosen.text).to_pylist(),
        pairs=table.column(chosen.text_pair).to_pylist() if chosen.text_pair else None,
        labels=labels,
        numbers=numbers,
        classes=classes,
        path=path,
    )


def label_column(
    table: pa.Table, features: datasets.Features, name: str | None, origin: str
) -> tuple[list[str | None] | None, tuple[str, ...] | None]:
    """Return the labels of a table and, where its types fix them, the class names; nothing without a column."""
    from datasets import ClassLabel

    if name is None:
        return None, None
    cells: list[Any] = table.column(name).to_pylist()
    feature, classes = features[name], None
    if isinstance(feature, ClassLabel) and feature.names:
        classes = tuple(feature.names)
        # The Hub's unlabelled test splits write -1.
        cells = [classes[cell] if cell is not None and 0 <= cell < len(classes) else None for cell in cells]
    return label_cells(cells, origin, range(1, table.num_rows + 1), "row"), classes


def _from_objects(
    path: Path, records: Sequence[object], numbers: Sequence[int], unit: str, asked: Asked, *, label_needed: bool
) -> Rows:
    _no_delimiter(asked, str(path))
    objects: list[dict[str, object]] = []
    for number, record in zip(numbers, records, strict=True):
        if not isinstance(record, dict):
            raise DataError(f"{path}, {unit} {number}: found {_kind(record)} where an object is needed")
        objects.append(record)
    if not objects:
        raise DataError(f"{path}: there are no rows; add rows or name another file")
    # Any row may leave out a key, so the columns are those of all rows, in the order they first occur.
    names = list(dict.fromkeys(key for record in objects for key in record))
    chosen = choose(names, asked, str(path), label_needed=label_needed)

    def column(name: str) -> list[object]:
        return [record.get(name) for record in objects]

    return Rows(
        origin=str(path),
        name=path.stem,
        texts=column(chosen.text),
        pairs=column(chosen.text_pair) if chosen.text_pair else None,
        labels=label_cells(column(chosen.label), str(path), numbers, unit) if chosen.label else None,
        numbers=numbers,
        unit=unit,
        path=path,
    )


def _decode(path: Path, text: str, first_line: int) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise DataError(f"{path}, line {line}, column {error.colno}: {error.msg}; mend the JSON there") from error
    except RecursionError as error:
        raise DataError(f"{path}, line {first_line}: the JSON is nested too deeply; write flat objects") from error


def _kind(value: object) -> str:
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"


def _no_delimiter(asked: Asked, origin: str) -> None:
    if asked.delimiter is not None:
        raise DataError(f"{origin}: this has no delimiter; leave delimiter={asked.delimiter!r} out")
