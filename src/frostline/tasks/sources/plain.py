"""Plain texts to learn a language from: one file, or a folder of them; each file is a document."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frostline.errors import DataError
from frostline.tasks.sources.content import read_text
from frostline.tasks.sources.reading import SPLIT

SUFFIX = ".txt"
_VALIDATION = ("validation", "valid", "val", "dev", "test")
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
_WANTED = f"give a {SUFFIX} file, a folder of them, or a folder with train{SUFFIX} and validation{SUFFIX}"


@dataclass(frozen=True)
class Documents:
    """Texts as they stand in their files."""

    name: str
    texts: tuple[str, ...]
    paths: tuple[Path, ...]
    """Their files, in the same order."""


def read_train(source: str, validation: str | None) -> tuple[Documents, Documents | None]:
    """Read texts to train on, and those to validate on where there are any.

    Args:
        source: a file, or a folder: with train.txt, or whose files are all documents, in the order of their names.
        validation: a file or folder to validate on; `split` for none; None for the own file of a folder with train.txt:
            validation.txt, valid.txt, val.txt, dev.txt or test.txt.

    Returns:
        The training texts; and the validation texts, None where the end of the training text is to be split off.

    Raises:
        DataError: there is no such file, it is no text, or both sides are the same file.
    """
    path = _existing(source, "data")
    found = _train_files(path)
    train = _read(found, _name(path))
    if validation is None and path.is_dir() and found[0].stem == "train":
        own = next((path / f"{stem}{SUFFIX}" for stem in _VALIDATION if (path / f"{stem}{SUFFIX}").is_file()), None)
        validation = None if own is None else str(own)
    if validation in (None, SPLIT):
        return train, None
    held = _read(_files(_existing(str(validation), "validation")), _name(Path(str(validation))))
    same = set(train.texts) & set(held.texts)
    if same:
        place = held.paths[held.texts.index(next(iter(same)))]
        raise DataError(
            f"{place}: validation is the same text as one of training's, so its score would say nothing; name another, "
            f"or say validation={SPLIT} for the end of the training text."
        )
    return train, held


def read_evaluation(source: str) -> Documents:
    """Read a file, a folder's own validation file, or else all of a folder's files; raises as `read_train`."""
    path = _existing(source, "data")
    if path.is_dir():
        for stem in _VALIDATION:
            if (path / f"{stem}{SUFFIX}").is_file():
                path = path / f"{stem}{SUFFIX}"
                break
    return _read(_files(path), _name(path))


def digest(parts: Sequence[Documents]) -> str:
    """Return the SHA-256, in hexadecimal, of the bytes of the files, each once, in the order given."""
    sha = hashlib.sha256()
    for path in dict.fromkeys(path for part in parts for path in part.paths):
        sha.update(path.read_bytes())
    return sha.hexdigest()


def divide(train: Documents, share: float) -> tuple[Documents, Documents]:
    """Return the documents without their last share of characters, in (0, 1), and that: it may begin within a document.

    Raises:
        DataError: one side has no text.
    """
    left = int(sum(map(len, train.texts)) * (1 - share))
    kept: list[tuple[str, Path]] = []
    split: list[tuple[str, Path]] = []
    for text, path in zip(train.texts, train.paths, strict=True):
        for part, side in ((text[:left], kept), (text[left:], split)):
            if part:
                side.append((part, path))
        left = max(0, left - len(text))
    if not kept or not split:
        raise DataError(f"{train.name}: validation_share={share} leaves one side without text; give more text.")
    return _documents(train.name, kept), _documents(train.name, split)


def _documents(name: str, found: Sequence[tuple[str, Path]]) -> Documents:
    return Documents(name, tuple(text for text, _ in found), tuple(path for _, path in found))


def _read(paths: Sequence[Path], name: str) -> Documents:
    return Documents(name, tuple(read_text(path) for path in paths), tuple(paths))


def _train_files(path: Path) -> list[Path]:
    own = path / f"train{SUFFIX}"
    return [own] if own.is_file() else _files(path)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() == SUFFIX and file.is_file())
        if not found:
            raise DataError(f"{path}: there is no {SUFFIX} file in this folder; {_WANTED}.")
        return found
    if path.suffix.lower() in _TABLES:
        raise DataError(f"{path}: a language is learnt from plain text, not from a table; {_WANTED}.")
    return [path]


def _existing(source: str, key: str) -> Path:
    path = Path(source).expanduser()
    if not source.strip() or not path.exists():
        raise DataError(f"{key}={source!r}: there is no such file or folder; {_WANTED}.")
    return path


def _name(path: Path) -> str:
    return path.resolve().name if path.is_dir() else path.stem
