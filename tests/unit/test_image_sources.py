"""Images with classes are read from folders, Parquet and the Hub; what cannot be learnt from is refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from frostline.config import make_config
from frostline.errors import ConfigError, DataError
from frostline.tasks.base import TaskData
from frostline.tasks.image_classification import ImageClassification
from frostline.tasks.sources import hub

TASK = ImageClassification()
COLOURS = {"cat": "red", "dog 10": "blue", "dog 2": "green"}


def picture(colour: str, index: int = 0) -> Image.Image:
    image = Image.new("RGB", (6, 5), colour)
    image.putpixel((index % 6, index // 6 % 5), (index, index, index))
    return image


def fill(folder: Path, per_class: int = 4, colours: dict[str, str] = COLOURS) -> Path:
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            picture(colour, index).save(folder / name / f"{index}.png")
    return folder


def table(path: Path, rows: int = 6, label: str = "fine_label", **more: Any) -> Path:
    columns = {"img": [picture("red", index) for index in range(rows)], label: [index % 2 for index in range(rows)]}
    kinds = {"img": ImageFeature(), label: ClassLabel(names=["low", "high"])}
    for name, (kind, values) in more.items():
        columns[name], kinds[name] = values, kind
    Dataset.from_dict(columns, features=Features(kinds)).to_parquet(path)
    return path


def read(data: Path | str, **keys: Any) -> TaskData:
    return TASK.read(make_config({"data": str(data), "output": "-", "validation_share": 0.3, **keys}))


@pytest.mark.parametrize("name", ["validation", "val", "test"])
def test_folder_with_its_own_validation(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "pets" / "train")
    fill(tmp_path / "pets" / name, 2)
    (tmp_path / "pets" / "train" / "cat" / ".hidden").touch()
    (tmp_path / "pets" / "train" / "Thumbs.db").touch()
    (tmp_path / "pets" / "train" / "cat" / ".checkpoints").mkdir()
    picture("white").save(tmp_path / "pets" / "train" / "cat" / ".checkpoints" / "0.png")
    data = read(tmp_path / "pets")
    assert (len(data.train), len(data.validation)) == (12, 6)
    assert data.label_names == ("cat", "dog 2", "dog 10")
    assert data.train["label"][:] == [0] * 4 + [2] * 4 + [1] * 4
    assert data.metric == "accuracy"
    examples = TASK.read_examples(str(tmp_path / "pets"), data.label_names, {})
    assert examples["label"][:] == data.validation["label"][:]


def test_folder_of_classes_is_split_class_by_class(tmp_path: Path) -> None:
    data = read(fill(tmp_path / "pets", 8), validation_share=0.25)
    assert sorted(data.validation["label"]) == [0, 0, 1, 1, 2, 2]
    assert not set(data.train["place"]) & set(data.validation["place"])
    small = read(tmp_path / "pets", validation_share=0.25, max_train=6)
    assert sorted(small.train["label"]) == [0, 0, 1, 1, 2, 2]
    held = fill(tmp_path / "held", 1)
    assert len(read(tmp_path / "pets", validation=str(held)).validation) == 3


def test_sha256_is_of_the_images(tmp_path: Path) -> None:
    first, again = read(fill(tmp_path / "a")), read(fill(tmp_path / "b"))
    assert first.sha256 == again.sha256
    picture("white").save(tmp_path / "b" / "cat" / "0.png")
    assert read(tmp_path / "b").sha256 != first.sha256
    assert TASK.origin(make_config({"data": str(tmp_path / "a"), "output": "-"})).sha256 == first.sha256


def test_images_alone_are_read_without_labels(tmp_path: Path) -> None:
    picture("red").save(tmp_path / "one.png")
    assert TASK.read_examples(str(tmp_path), ("a", "b"), {}).column_names == ["image", "place"]
    with pytest.raises(DataError, match="there are no labels"):
        read(tmp_path)


def test_parquet_keeps_its_classes(tmp_path: Path) -> None:
    path = table(tmp_path / "t.parquet")
    data = read(path, validation_share=0.4)
    assert data.label_names == ("low", "high")
    assert data.train["image"][0]["bytes"].startswith(b"\x89PNG")
    assert data.train["place"][0].startswith(f"{path}, row ")
    assert TASK.read_examples(str(path), None, {}).column_names == ["image", "place"]


def test_columns_of_parquet_that_are_not_clear(tmp_path: Path) -> None:
    two = (ImageFeature(), [picture("blue") for _ in range(6)])
    path = table(tmp_path / "two.parquet", other=two)
    with pytest.raises(DataError, match="columns are 'img', 'fine_label', 'other'; several could be the image"):
        read(path)
    assert len(read(path, image="other", validation_share=0.4).train) == 3
    coarse = (ClassLabel(names=["x", "y"]), [0, 1, 1, 0, 0, 1])
    path = table(tmp_path / "coarse.parquet", coarse_label=coarse)
    with pytest.raises(DataError, match="several could be the label"):
        read(path)
    assert read(path, label="coarse_label", validation_share=0.4).label_names == ("x", "y")
    with pytest.raises(DataError, match="there is no column 'imgs'"):
        read(path, image="imgs")
    with pytest.raises(DataError, match="column 'fine_label' holds no images"):
        read(path, image="fine_label", label="coarse_label")
    texts = tmp_path / "texts.parquet"
    Dataset.from_dict({"text": ["a"]}, features=Features({"text": Value("string")})).to_parquet(texts)
    with pytest.raises(DataError, match="columns are 'text'; none is known as the image"):
        read(texts)


def test_hub_splits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    train, test = (Dataset.from_parquet(str(table(tmp_path / f"{n}.parquet", n, "label"))) for n in (6, 4))
    monkeypatch.setattr(hub, "splits_of", lambda source: {"train": train, "test": test})
    data = read("someone/pictures")
    assert (len(data.train), len(data.validation)) == (6, 4)
    assert len(read("someone/pictures", validation="split", validation_share=0.4).validation) == 3
    assert len(TASK.read_examples("someone/pictures", None, {})) == 4


def test_broken_images_are_named_before_training(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    broken = fill(tmp_path / "pets") / "cat" / "9.jpg"
    Image.fromarray(noise).save(broken)
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(DataError, match=r"cat/9\.jpg: the image cannot be decoded"):
        read(tmp_path / "pets", validation_share=0.3)


def test_folders_that_cannot_be_learnt_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="every label is 'cat'; to learn, two classes are needed"):
        read(fill(tmp_path / "one", colours={"cat": "red"}))
    (fill(tmp_path / "gap") / "empty").mkdir()
    with pytest.raises(DataError, match="empty: the folder of this class holds no image"):
        read(tmp_path / "gap")
    (fill(tmp_path / "odd") / "cat" / "x.heic").touch()
    with pytest.raises(DataError, match=r"x\.heic: by its name this is no image that is understood"):
        read(tmp_path / "odd")
    picture("red").save(fill(tmp_path / "mixed") / "stray.png")
    with pytest.raises(DataError, match=r"stray\.png lies beside the folders of classes \(cat, \.\.\.\)"):
        read(tmp_path / "mixed")
    (fill(tmp_path / "links") / "cat" / "y.png").symlink_to(tmp_path / "fetched" / "y.png")
    with pytest.raises(DataError, match=r"cat/y\.png: this link leads to nothing"):
        read(tmp_path / "links")
    (fill(tmp_path / "classes") / "fox").symlink_to(tmp_path / "fetched" / "fox")
    with pytest.raises(DataError, match="fox: this link leads to nothing"):
        read(tmp_path / "classes")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="there are no images in this folder"):
        read(tmp_path / "none")
    fill(tmp_path / "unseen" / "train", colours={"cat": "red", "dog": "blue"})
    fill(tmp_path / "unseen" / "test", 1, {"cow": "white"})
    with pytest.raises(DataError, match="label 'cow' does not occur in"):
        read(tmp_path / "unseen")


@pytest.mark.parametrize("whole", [True, False])
def test_images_that_other_libraries_wrote(tmp_path: Path, whole: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = [(fill(tmp_path / "pets") / "cat" / f"{index}.png").read_bytes() for index in range(1)] * 8
    column = content if whole else [{"bytes": bytes, "path": None} for bytes in content]
    pq.write_table(pa.table({"image": column, "label": ["low", "high"] * 4}), tmp_path / "t.parquet")
    data = read(tmp_path / "t.parquet")
    assert len(data.train) + len(data.validation) == 8
    assert data.train["image"][0]["bytes"] == content[0]


def test_sources_and_keys_that_cannot_be(tmp_path: Path) -> None:
    for source in ("acceptability", str(tmp_path / "gone"), "gone.parquet"):
        with pytest.raises(DataError, match="there is no such file or folder of images"):
            read(source)
    (tmp_path / "t.csv").write_text("image,label\n")
    with pytest.raises(DataError, match=r"a file of images ends in \.parquet"):
        read(tmp_path / "t.csv")
    pets = fill(tmp_path / "pets")
    with pytest.raises(DataError, match="a folder of images has no columns; leave image='x' out"):
        read(pets, image="x")
    with pytest.raises(DataError, match="text='x' names no column of images"):
        read(pets, text="x")
    with pytest.raises(DataError, match="validation is what is trained on"):
        read(pets, validation=str(pets))
    shutil.copytree(pets, tmp_path / "copy")
    with pytest.raises(DataError, match="copy: validation is what is trained on, or a copy"):
        read(pets, validation=str(tmp_path / "copy"))
    with pytest.raises(DataError, match="there is no file or folder 'gone'"):
        read(pets, validation="gone")
    with pytest.raises(ConfigError, match="task=regression is for texts"):
        read(pets, task="regression")
