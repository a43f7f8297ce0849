"""Sentences in columns, as the CoNLL tasks write them: a word a line, its tag in the last column, blank lines between.

Tjong Kim Sang and De Meulder, "Introduction to the CoNLL-2003 Shared Task", CoNLL 2003, section 2.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frostline.errors import DataError
from frostline.tasks.sources.content import read_text
from frostline.tasks.sources.folders import find_split
from frostline.tasks.sources.reading import SPLIT

SUFFIXES = (".conll", ".txt", ".bio", ".iob", ".iob2", ".tsv")
_TRAIN = ("train",)
_VALIDATION = ("validation", "valid", "val", "dev", "test")
_DOCUMENT = "-DOCSTART-"
_WANTED = "give a file of words and tags in columns, or a folder with train.txt and valid.txt"


@dataclass(frozen=True)
class Sentences:
    """A file's sentences; `words`, `tags` and `lines` run in parallel."""

    name: str
    path: Path
    words: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[str, ...], ...]
    """`O`, `B-TYPE`, `I-TYPE`; empty where the file has words alone."""
    lines: tuple[int, ...]
    """Of each sentence's first word."""

    def refuse_unknown(self, known: Sequence[str], whose: str) -> None:
        """Raise DataError for a tag that is none of those known."""
        for tags, line in zip(self.tags, self.lines, strict=True):
            for index, tag in enumerate(tags):
                if tag not in known:
                    raise DataError(
                        f"{self.path}, line {line + index}: the tag {tag!r} is none of {whose}: {', '.join(known)}."
                    )


def read_train(source: str, validation: str | None) -> tuple[Sentences, Sentences | None]:
    """Read sentences to train on, and those to validate on where there are any.

    Args:
        source: a file; or a folder with train.txt and perhaps validation.txt, valid.txt, val.txt, dev.txt or test.txt
            (`SUFFIXES` are known).
        validation: a file to validate on; `split` for none; None for the folder's own.

    Raises:
        DataError: there is no such file, or a line or tag is not as it must be; names it.
    """
    path = _existing(source, "data")
    train, held = path, None
    if path.is_dir():
        found = find_split(path, _TRAIN, SUFFIXES)
        if found is None:
            raise DataError(f"{path}: there is no train file in this folder; {_WANTED}.")
        train, held = found, find_split(path, _VALIDATION, SUFFIXES)
    if validation is not None:
        held = None if validation == SPLIT else _existing(validation, "validation")
    sentences = read(train, path.resolve().name if path.is_dir() else train.stem, tags_needed=True)
    if held is None:
        return sentences, None
    if held.read_bytes() == train.read_bytes():
        raise DataError(f"{held}: validation is the same file as training, or a copy, so its score would say nothing.")
    return sentences, read(held, held.stem, tags_needed=True)


def read_evaluation(source: str, *, tags_needed: bool) -> Sentences:
    """Read a file, or a folder's validation file; raises as `read_train`."""
    path = _existing(source, "data")
    if path.is_dir():
        found = find_split(path, _VALIDATION, SUFFIXES)
        if found is None:
            raise DataError(f"{path}: there is no validation, valid, val, dev or test file in this folder.")
        path = found
    return read(path, path.stem, tags_needed=tags_needed)


def read(path: Path, name: str, *, tags_needed: bool) -> Sentences:
    """Read a file; without `tags_needed` its lines may be words alone, and tags are left out."""
    sentences: list[list[tuple[int, list[str]]]] = [[]]
    width: int | None = None
    if path.suffix.lower() in (".csv", ".json", ".jsonl", ".parquet"):
        raise DataError(f"{path}: words with tags are not read from such a file; {_WANTED}.")
    for number, line in enumerate(re.split("\r\n|\r|\n", read_text(path)), 1):
        cells = _cells(line)
        if not cells or cells[0] == _DOCUMENT:
            sentences.append([])
            continue
        if width is None:
            width = len(cells)
            if tags_needed and width < 2:
                raise DataError(f"{path}, line {number}: {line!r} is a word without a tag; {_WANTED}.")
        if not cells[0]:
            raise DataError(f"{path}, line {number}: {line!r} has no word; mend it.")
        if len(cells) != width:
            raise DataError(f"{path}, line {number}: {len(cells)} columns where the lines above have {width}; mend it.")
        sentences[-1].append((number, cells))
    found = [sentence for sentence in sentences if sentence]
    if not found:
        raise DataError(f"{path}: there is no sentence in this file; {_WANTED}.")
    lines = tuple(sentence[0][0] for sentence in found)
    tags = _checked([[cells[-1] for _, cells in sentence] for sentence in found], lines, path) if tags_needed else []
    return Sentences(
        name,
        path,
        tuple(tuple(cells[0] for _, cells in sentence) for sentence in found),
        tuple(map(tuple, tags)),
        lines,
    )


def _cells(line: str) -> list[str]:
    """Return a line's columns, between tabs where there are any, which a word with a blank in it needs, else blanks."""
    if not line.strip(" \t"):
        return []
    line = line.strip(" ")
    return [cell.strip(" ") for cell in line.split("\t")] if "\t" in line else re.split(" +", line)


def digest(parts: Sequence[Sentences]) -> str:
    """Return the SHA-256, in hexadecimal, of the files' bytes, in the order given."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.path.read_bytes())
    return sha.hexdigest()


def _checked(sentences: list[list[str]], lines: Sequence[int], path: Path) -> list[list[str]]:
    """Return tags in which every entity begins with B-; DataError names the first that is not as it must be.

    A file whose B- stand only between neighbours of one type is in the older writing, in which entities begin with I-
    (IOB1, CoNLL-2003's own), and is rewritten.
    """
    broken: tuple[int, str, str] | None = None
    needless = False
    for tags, line in zip(sentences, lines, strict=True):
        for index, (before, tag) in enumerate(zip(["O", *tags], tags, strict=False)):
            if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) < 3):
                raise DataError(
                    f"{path}, line {line + index}: the tag {tag!r} is none of O, B-TYPE and I-TYPE; mend it."
                )
            follows = before[2:] == tag[2:] and before != "O"
            needless = needless or (tag[:2] == "B-" and not follows)
            if tag[:2] == "I-" and not follows and broken is None:
                broken = line + index, before, tag
    if broken is None:
        return sentences
    if needless:
        number, before, tag = broken
        raise DataError(
            f"{path}, line {number}: {tag!r} follows {before!r}, so it goes on with nothing; an entity "
            f"begins with B-{tag[2:]}."
        )
    return [
        [
            f"B-{tag[2:]}" if tag[:2] == "I-" and (before == "O" or before[2:] != tag[2:]) else tag
            for before, tag in zip(["O", *tags], tags, strict=False)
        ]
        for tags in sentences
    ]


def _existing(source: str, key: str) -> Path:
    path = Path(source).expanduser()
    if not source.strip() or not path.exists():
        raise DataError(f"{key}={source!r}: there is no such file or folder; {_WANTED}.")
    return path
