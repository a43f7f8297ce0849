"""Files of separated values: CSV, TSV and their kin, parsed by the standard library's csv."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from frostline.errors import DataError
from frostline.tasks.sources.columns import Asked, choose
from frostline.tasks.sources.content import read_text
from frostline.tasks.sources.rows import Rows, label_cells

DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "vertical bar"}
_BY_SUFFIX = {".csv": ",", ".tsv": "\t"}
_FIELD_CHARACTERS = 2**31 - 1
_QUOTED = re.compile(r'"([^"]|"")*"')

Records = list[tuple[int, list[str]]]


def read(path: Path, asked: Asked, *, label_needed: bool) -> Rows:
    """Read a file of separated values whose first line names the columns.

    Args:
        path: the file; `.csv` is read with commas and `.tsv` with tabs unless `asked` says otherwise.
        asked: columns and delimiter the caller named.
        label_needed: whether a missing label column is an error.

    Returns:
        Its rows, numbered by line.

    Raises:
        DataError: the file cannot be parsed, or its columns are not clear.
    """
    delimiter = _delimiter(path, asked)
    content = read_text(path)
    _refuse_if_another_delimiter_splits(path, content.lstrip().partition("\n")[0].rstrip(), delimiter)
    lines = parse(path, content, delimiter, quoted=_has_quoting(path, content, delimiter))
    header = lines[0][1]
    hint = f"; if the first line is data, add a line of column names above it (delimiter: {_spoken(delimiter)})"
    chosen = choose(header, asked, str(path), label_needed=label_needed, hint=hint)
    for number, fields in lines[1:]:
        if len(fields) != len(header):
            raise DataError(
                f"{path}, line {number}: {len(fields)} fields where the header has {len(header)} "
                f"(delimiter: {_spoken(delimiter)}); quote fields that hold the delimiter, or mend the line"
            )
    numbers = [number for number, _ in lines[1:]]

    def column(name: str) -> list[str]:
        position = header.index(name)
        return [fields[position] for _, fields in lines[1:]]

    return Rows(
        origin=str(path),
        name=path.stem,
        texts=column(chosen.text),
        pairs=column(chosen.text_pair) if chosen.text_pair else None,
        labels=label_cells(column(chosen.label), str(path), numbers, "line") if chosen.label else None,
        numbers=numbers,
        unit="line",
        path=path,
    )


def parse(path: Path, content: str, delimiter: str, *, quoted: bool) -> Records:
    """Split content into records.

    Args:
        path: the file, for messages.
        content: its text.
        delimiter: one character.
        quoted: False takes every quotation mark as it stands.

    Returns:
        (line the record starts on, from 1; its fields), blank lines left out.

    Raises:
        DataError: the quoting is broken.
    """
    # A long document may pass csv's limit of 128 KiB a field, which is the module's own global setting.
    limit = csv.field_size_limit(_FIELD_CHARACTERS)
    reader = csv.reader(
        io.StringIO(content, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    records: Records = []
    start = 1
    try:
        for fields in reader:
            if fields:
                records.append((start, fields))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}, line {start}: {error}; write a quotation mark inside a quoted field twice, "
            f'as in "say ""no"" twice" (delimiter: {_spoken(delimiter)})'
        ) from error
    finally:
        csv.field_size_limit(limit)
    return records


def _delimiter(path: Path, asked: Asked) -> str:
    # A shell passes a tab as the two characters backslash and t more easily than as itself.
    delimiter = _BY_SUFFIX.get(path.suffix.lower(), ",") if asked.delimiter is None else asked.delimiter
    delimiter = "\t" if delimiter == r"\t" else delimiter
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise DataError(f"delimiter {delimiter!r} cannot separate fields; give one character, such as ',' or '\\t'")
    return delimiter


def _has_quoting(path: Path, content: str, delimiter: str) -> bool:
    # Tab-separated files come both ways. Read as quoting, a quotation mark that merely opens a sentence would
    # swallow the lines up to the next one; so marks stand as they are where the lines fit together without quoting
    # and some field opens with a mark but is no well-formed quoted field.
    if delimiter != "\t" or '"' not in content:
        return True
    records = parse(path, content, delimiter, quoted=False)
    if len({len(fields) for _, fields in records}) > 1:
        return True
    opened = (field for _, fields in records for field in fields if field.startswith('"'))
    return all(_QUOTED.fullmatch(field) for field in opened)


def _refuse_if_another_delimiter_splits(path: Path, header: str, delimiter: str) -> None:
    splits = [other for other in DELIMITERS if other in header]
    # Before parsing: with the wrong delimiter, quoted fields would fail first, with a message about their quoting.
    if splits and delimiter not in header:
        best = max(splits, key=header.count)
        raise DataError(
            f"{path}: only one column was found, {header[:80]!r}, with the delimiter {_spoken(delimiter)}; "
            f"a {_spoken(best)} would split it into {header.count(best) + 1}: give delimiter={best!r}"
        )


def _spoken(delimiter: str) -> str:
    name = DELIMITERS.get(delimiter)
    return f"{name} {delimiter!r}" if name else repr(delimiter)
