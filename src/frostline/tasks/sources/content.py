"""A file's text and the digests of files and rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from frostline.errors import DataError
from frostline.tasks.sources.rows import Rows


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes.

    Args:
        path: the file.

    Returns:
        Its content, never empty.

    Raises:
        DataError: the file is missing, cannot be read, or is empty.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; check the path and its permissions") from error
    if not raw.strip():
        raise DataError(f"{path}: the file is empty; name another, or write it again")
    return raw


def read_text(path: Path, encoding: str = "utf-8-sig") -> str:
    """Return a file's text.

    Args:
        path: the file.
        encoding: "utf-8-sig" reads UTF-8 with or without a byte-order mark.

    Returns:
        Its text, line ends as they are in the file.

    Raises:
        DataError: as `read_bytes`, or the bytes are not in `encoding`.
    """
    raw = read_bytes(path)
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        tried = "UTF-8" if encoding == "utf-8-sig" else encoding
        raise DataError(
            f"{path}, line {line}: byte {raw[error.start]:#04x} cannot be decoded as {tried}; convert the file, e.g. "
            f"`iconv -f latin1 -t utf-8 {path.name} > utf8-{path.name}` if it is Latin-1"
        ) from error


def digest(parts: Sequence[Rows]) -> str:
    """Return the SHA-256, in hexadecimal, of what was read, in the order given.

    Files count by their bytes, so `cat train dev | sha256sum` gives the same; other sources count by their rows.
    """
    sha = hashlib.sha256()
    for rows in parts:
        if rows.path is not None:
            sha.update(rows.path.read_bytes())
            continue
        for index, text in enumerate(rows.texts):
            pair = rows.pairs[index] if rows.pairs else None
            label = rows.labels[index] if rows.labels else None
            sha.update(json.dumps([text, pair, label], default=str).encode() + b"\n")
    return sha.hexdigest()
