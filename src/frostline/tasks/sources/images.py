"""Images with classes: a folder for each class, a Parquet file with a column of images, or a data set of the Hub."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.errors import DataError, nearest
from frostline.tasks.sources import hub
from frostline.tasks.sources.columns import LABELS
from frostline.tasks.sources.image_folders import read_folder, split_folder
from frostline.tasks.sources.reading import SPLIT
from frostline.tasks.sources.rows import Rows
from frostline.tasks.sources.tables import label_column, parquet_table

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

LAYOUTS = (
    "Understood are: a folder with a folder of images for each class, or with train/ and validation/ (val, dev, test) "
    "of such; a Parquet file with a column of images; a Hub name such as 'uoft-cs/cifar10'."
)
_TRAIN = ("train", "training")
_EVALUATION = ("validation", "val", "valid", "dev", "test")


@dataclass(frozen=True)
class AskedImages:
    """What the caller said about a table of images; None leaves it to be found."""

    image: str | None = None
    label: str | None = None


def read_train(source: str, asked: AskedImages, validation: str | None) -> tuple[Rows, Rows | None]:
    """Read training rows, and validation rows where there are any to be read, which must not be the same.

    Args:
        source: a folder, a Parquet file, or a Hub name.
        asked: columns the caller named.
        validation: a folder or file to validate on, `split` for none, None for the source's own.

    Returns:
        Rows whose `texts` are images, each {"bytes", "path"}; validation rows are None where some are to be split off.

    Raises:
        DataError: the source is not recognised or cannot be read, or validation is what is trained on, or a copy.
    """
    train, held = _sides(source, asked, validation)
    if held is not None and len(held.texts) == len(train.texts) and digest([held]) == digest([train]):
        raise DataError(
            f"{held.origin}: validation is what is trained on, or a copy, so its score would say nothing; name another."
        )
    return train, held


def _sides(source: str, asked: AskedImages, validation: str | None) -> tuple[Rows, Rows | None]:
    path = _existing(source)
    if path is None:
        splits = hub.splits_of(source)
        if "train" not in splits:
            raise DataError(f"{source}: there is no split 'train'{nearest('train', splits)}; name another data set")
        name = next((name for name in hub.VALIDATION if name in splits), None)
        own = None if name is None or validation is not None else _split(source, name, splits[name], asked)
        return _split(source, "train", splits["train"], asked), own or _held(validation, asked)
    inner = split_folder(path, _TRAIN) if path.is_dir() else None
    if inner is not None and validation is None:
        found = split_folder(path, _EVALUATION)
        return _read(inner, asked), None if found is None else _read(found, asked)
    return _read(inner or path, asked), _held(validation, asked)


def digest(parts: Sequence[Rows]) -> str:
    """Return the SHA-256 of what was read, in hexadecimal: of a file's bytes, else of each image's and its label."""
    sha = hashlib.sha256()
    for rows in parts:
        if rows.path is not None:
            sha.update(rows.path.read_bytes())
            continue
        for index, picture in enumerate(rows.texts):
            assert isinstance(picture, dict)
            content = picture["bytes"]
            sha.update(hashlib.sha256(Path(picture["path"]).read_bytes() if content is None else content).digest())
            sha.update(repr(rows.labels[index] if rows.labels else None).encode())
    return sha.hexdigest()


def read_evaluation(source: str, asked: AskedImages) -> Rows:
    """Read rows to evaluate or predict on: one folder or file, or the evaluation split; raises as `read_train`."""
    path = _existing(source)
    if path is not None:
        return _read((split_folder(path, _EVALUATION) or path) if path.is_dir() else path, asked)
    splits = hub.splits_of(source)
    name = next((name for name in hub.VALIDATION if name in splits), None)
    if name is None:
        raise DataError(f"{source}: its splits are {', '.join(splits)}; none of {', '.join(hub.VALIDATION)}")
    return _split(source, name, splits[name], asked)


def _existing(source: str) -> Path | None:
    path = Path(source).expanduser()
    if source.strip() and os.path.exists(path):
        return path
    if hub.is_name(source) and not path.suffix and not os.path.isdir(path.parts[0]):
        return None
    raise DataError(f"{source!r}: there is no such file or folder of images. {LAYOUTS}")


def _held(validation: str | None, asked: AskedImages) -> Rows | None:
    if validation in (None, SPLIT):
        return None
    assert validation is not None
    path = Path(validation).expanduser()
    if not path.exists():
        raise DataError(
            f"validation: there is no file or folder {validation!r}; check the path, or say {SPLIT!r} to split some "
            "images off train"
        )
    return _read(path, asked)


def _read(path: Path, asked: AskedImages) -> Rows:
    if path.is_dir():
        for key, value in (("image", asked.image), ("label", asked.label)):
            if value is not None:
                raise DataError(f"{path}: a folder of images has no columns; leave {key}={value!r} out.")
        return read_folder(path)
    if path.suffix.lower() != ".parquet":
        raise DataError(f"{path}: a file of images ends in .parquet. {LAYOUTS}")
    table, features = parquet_table(path)
    return _from_table(table, features, str(path), path.stem, asked, path)


def _split(source: str, name: str, data: datasets.Dataset, asked: AskedImages) -> Rows:
    table = data.with_format("arrow")[:]
    return _from_table(table, data.features, f"{source} ({name})", source, asked, None)


def _from_table(
    table: pa.Table, features: datasets.Features, origin: str, name: str, asked: AskedImages, path: Path | None
) -> Rows:
    import datasets

    names: Sequence[str] = table.column_names
    images = [name for name in names if _is_picture(features[name])]
    classes = [name for name in names if isinstance(features[name], datasets.ClassLabel)]
    image = _chosen("image", asked.image, images, names, origin)
    usual = [name for name in names if name.lower() in LABELS] or classes
    label = None if asked.label is None and not usual else _chosen("label", asked.label, usual, names, origin)
    if image not in images:
        raise DataError(
            f"{origin}: column {image!r} holds no images, which are the bytes of files; name another: `image`"
        )
    labels, fixed = label_column(table, features, label, origin)
    return Rows(
        origin=origin,
        name=name,
        texts=[
            {"bytes": picture, "path": None} if isinstance(picture, bytes) else picture
            for picture in table.column(image).to_pylist()
        ],
        pairs=None,
        labels=labels,
        numbers=range(1, table.num_rows + 1),
        classes=fixed,
        path=path,
    )


def _is_picture(feature: Any) -> bool:
    """Tell whether a column holds images: as `datasets` writes them, noted as such or not, or a file's bytes alone."""
    import datasets

    binary = ("binary", "large_binary")
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"} and getattr(feature["bytes"], "dtype", None) in binary
    return isinstance(feature, datasets.Image) or getattr(feature, "dtype", None) in binary


def _chosen(key: str, asked: str | None, found: Sequence[str], names: Sequence[str], origin: str) -> str:
    listed = ", ".join(map(repr, names))
    if asked is not None:
        if asked not in names:
            raise DataError(
                f"{origin}: there is no column {asked!r} ({key}){nearest(asked, names)} (columns: {listed})"
            )
        return asked
    if len(found) != 1:
        several = "several could be" if found else "none is known as"
        raise DataError(f"{origin}: columns are {listed}; {several} the {key}: name it with `{key}`")
    return found[0]
