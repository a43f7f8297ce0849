"""Folders of images: a folder for each class, or images alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from frostline.errors import DataError
from frostline.tasks.sources.rows import Rows

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_OF_FILE_MANAGERS = ("thumbs.db", "desktop.ini")


def split_folder(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first folder in `folder` of one of these names, None if there is none."""
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def read_folder(folder: Path) -> Rows:
    """Read a folder of images.

    Args:
        folder: holds a folder of images for each class, whose name is the class's; or images alone, without labels.

    Returns:
        Rows in the order of their paths; `texts` are {"bytes": None, "path"}.

    Raises:
        DataError: there are images both beside and in folders, a folder is empty, or a file is no image by its name.
    """
    beside, folders = _files(folder, deep=False), _folders(folder)
    if beside and folders:
        raise DataError(
            f"{folder}: {beside[0].name} lies beside the folders of classes ({folders[0].name}, ...); put it into one."
        )
    found: list[tuple[Path, str | None]] = [(path, None) for path in beside]
    for inner in folders:
        images = _files(inner, deep=True)
        if not images:
            raise DataError(f"{inner}: the folder of this class holds no image; add some, or take it away.")
        found += [(path, inner.name) for path in images]
    if not found:
        raise DataError(f"{folder}: there are no images in this folder, and no folders of classes.")
    return Rows(
        origin=str(folder),
        name=folder.resolve().name,
        texts=[{"bytes": None, "path": str(path)} for path, _ in found],
        pairs=None,
        labels=[label for _, label in found] if folders else None,
        numbers=range(1, len(found) + 1),
        unit="image",
    )


def _require_target(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path}: this link leads to nothing; fetch what it is to lead to, or take it away.")


def _folders(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in found:
        _require_target(path)
    return [path for path in found if path.is_dir()]


def _files(folder: Path, *, deep: bool) -> list[Path]:
    paths = folder.rglob("*") if deep else folder.iterdir()
    there = sorted(p for p in paths if not any(part.startswith(".") for part in p.relative_to(folder).parts))
    for path in there:
        _require_target(path)
    found = [path for path in there if path.is_file() and path.name.lower() not in _OF_FILE_MANAGERS]
    for path in found:
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(
                f"{path}: by its name this is no image that is understood ({', '.join(SUFFIXES)}); convert it, or take "
                "it away."
            )
    return found
