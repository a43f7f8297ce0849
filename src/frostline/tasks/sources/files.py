"""Which reader a file needs, and which files of a folder are its splits."""

from __future__ import annotations

from pathlib import Path

from frostline.errors import DataError
from frostline.tasks.sources import glue, separated, tables, trec
from frostline.tasks.sources.columns import Asked, refuse_columns
from frostline.tasks.sources.content import read_text
from frostline.tasks.sources.folders import find_split
from frostline.tasks.sources.rows import Rows

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt")
LAYOUTS = (
    "Understood are: a folder of GLUE's (train.tsv and dev.tsv), a folder with train.txt and test.txt of 'label text' "
    "lines, a folder with train.* and validation.*, dev.* or test.* in CSV, TSV, JSONL, JSON or Parquet, "
    "one such file, 'acceptability' (embedded), or a Hub name such as 'glue/cola'"
)
_TRAIN = ("train", "msr_paraphrase_train")
_EVALUATION = ("validation", "dev", "dev_matched", "msr_paraphrase_test", "test")
_SHOWN = 10


def read(path: Path, asked: Asked, *, label_needed: bool) -> Rows:
    """Read one file by what its name ends with and, for `.tsv` and `.txt`, by what its first lines hold.

    Args:
        path: the file.
        asked: columns and delimiter the caller named; naming any rules out the layouts that need none.
        label_needed: whether missing labels are an error.

    Returns:
        Its rows.

    Raises:
        DataError: the file cannot be read; the message says why.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return tables.read_parquet(path, asked, label_needed=label_needed)
    if suffix == ".jsonl":
        return tables.read_json_lines(path, asked, label_needed=label_needed)
    if suffix == ".json":
        return tables.read_json(path, asked, label_needed=label_needed)
    if suffix == ".tsv" and not asked.anything:
        rows = glue.read(path, read_text(path))
        return rows or separated.read(path, asked, label_needed=label_needed)
    if suffix == ".txt" and asked.delimiter is None:
        refuse_columns(asked, str(path), "a .txt file without a delimiter has 'label text' lines and no columns")
        # MRPC as Microsoft gives it ends in .txt; Latin-1 decodes any bytes, which is enough to see the header.
        is_mrpc = "\t#1 ID\t" in read_text(path, "latin-1").partition("\n")[0]
        rows = glue.read(path, read_text(path)) if is_mrpc else None
        return rows or trec.read(path)
    if suffix in SUFFIXES or asked.delimiter is not None:
        return separated.read(path, asked, label_needed=label_needed)
    raise DataError(f"{path}: files ending in {suffix or 'nothing'!r} are not understood; use {', '.join(SUFFIXES)}")


def find_train(folder: Path) -> Path:
    """Return the folder's training file; DataError where there is none, or more than one."""
    return find_split(folder, _TRAIN, SUFFIXES) or _nothing_found(folder, "train.*")


def find_evaluation(folder: Path) -> Path | None:
    """Return the folder's validation, dev or test file, the first there is; DataError where one name has two files."""
    return find_split(folder, _EVALUATION, SUFFIXES)


def require_evaluation(folder: Path) -> Path:
    """Return the folder's validation, dev or test file; DataError where there is none."""
    return find_evaluation(folder) or _nothing_found(folder, "validation.*, dev.* or test.*")


def _nothing_found(folder: Path, wanted: str) -> Path:
    names = sorted(path.name for path in folder.iterdir())
    found = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    raise DataError(f"{folder}: no {wanted} in this folder, which holds {found or 'nothing'}. {LAYOUTS}")
