"""Classes of images: the model's own image processor, positions for any size, the usual augmentations."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frostline.errors import ConfigError, DataError
from frostline.model_configs import of_images
from frostline.tasks.augmentation import Augmentation, augment
from frostline.tasks.base import Encoded, Inputs, Origin, TaskData
from frostline.tasks.classes import ClassTask
from frostline.tasks.metrics import DEFAULT
from frostline.tasks.pictures import open_picture
from frostline.tasks.sources.images import AskedImages, digest, read_evaluation, read_train
from frostline.tasks.sources.labels import label_names_of
from frostline.tasks.sources.rows import Rows, check_labels
from frostline.tasks.sources.targets import divide, refuse_constant, refuse_unseen, take, targets_of

if TYPE_CHECKING:
    import datasets
    import torch

    from frostline.config import TrainConfig
    from frostline.models import Loaded

AUGMENTATION: Augmentation = "crop"
"""Where the user says nothing."""


class ImageClassification(ClassTask):
    """Images, each with a class."""

    pipeline = "image-classification"
    reads = "images"
    columns = ("image", "label")
    keys = ("image_size", "augmentation")

    def read(self, config: TrainConfig) -> TaskData:
        """Return the data of a run; every image has been decoded once."""
        self.refuse_keys(config)
        if config.task == "regression":
            raise ConfigError("task=regression is for texts; images are classified: leave task out.")
        train, held = read_train(config.data, AskedImages(config.image, config.label), config.validation)
        check_labels(train)
        label_names = label_names_of(train)
        targets = targets_of(train, label_names, "the task")
        refuse_constant(train, targets, label_names)
        kept: Sequence[int] = range(len(targets))
        if held is None:
            kept, split = divide(targets, label_names, config.validation_share, config.seed, train.origin)
            validation = _rows(train, targets, label_names, split)
        else:
            check_labels(held)
            validation = _rows(held, targets_of(held, label_names, train.origin), label_names)
            refuse_unseen(train, targets, held, label_names)
        if config.max_train is not None and config.max_train < len(kept):
            kept = take(kept, targets, label_names, config.max_train, config.seed)
        return TaskData(
            train=_rows(train, targets, label_names, kept),
            validation=validation,
            label_names=label_names,
            metric=DEFAULT["classification"],
            name=train.name,
            sha256=digest([train] if held is None else [train, held]),
        )

    def origin(self, config: TrainConfig) -> Origin:
        """Return where the rows come from."""
        train, held = read_train(config.data, AskedImages(config.image, config.label), config.validation)
        return Origin(held is not None, digest([train] if held is None else [train, held]))

    def read_examples(
        self, source: str, label_names: tuple[str, ...] | None, columns: Mapping[str, str]
    ) -> datasets.Dataset:
        """Return rows to evaluate or predict on."""
        rows = read_evaluation(source, AskedImages(**columns))
        if label_names is None or rows.labels is None or all(name is None for name in rows.labels):
            return _rows(rows, None, ())
        check_labels(rows)
        return _rows(rows, targets_of(rows, label_names, "the model's training data"), label_names)

    def examples(self, words: Sequence[str]) -> datasets.Dataset:
        """Return a row for each path of an image."""
        pictures = [{"bytes": None, "path": word} for word in words]
        return _rows(Rows("", "", pictures, None, None, range(1, len(words) + 1)), None, ())

    def load(self, name: str, label_names: Sequence[str] | None = None, config: TrainConfig | None = None) -> Loaded:
        """Load a classifier of images with its image processor, at `image_size` if the config of a run has one.

        A head for another number of classes is replaced by a new one.
        """
        from transformers import AutoModelForImageClassification

        from frostline.image_size import fitted
        from frostline.models import load_pretrained

        loaded = load_pretrained(
            name,
            AutoModelForImageClassification,
            _image_processor,
            label_names,
            "classification of images",
        )
        return fitted(name, loaded, config.image_size if config is not None else None)

    def encode(self, data: TaskData, loaded: Loaded, config: TrainConfig) -> Encoded:
        """Return the images as pixels, decoded and augmented when they are asked for."""
        from transformers import default_data_collator

        how = config.augmentation or AUGMENTATION
        train = Pictures(data.train, loaded.processor, how, config.seed)
        validation = Pictures(data.validation, loaded.processor)
        return Encoded(train, validation, default_data_collator, None, begin_epoch=train.begin_epoch)

    def inputs(self, loaded: Loaded, rows: dict[str, list[Any]], max_length: int | None) -> Inputs:
        """Return the pixels of a batch."""
        images = [open_picture(*row) for row in zip(rows["image"], rows["place"], strict=True)]
        return dict(loaded.processor(images, return_tensors="pt"))

    def shown(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the path of the image, or where else it stands."""
        return {"image": row["place"]}

    def step_sizes(self, config: TrainConfig) -> dict[str, int | None]:
        """Return the height and width of an image."""
        return {"image_size": config.image_size}

    def tokens(self, inputs: Inputs, model: Any) -> int:
        """Return how many patches a batch holds; images, where the model makes none of one size."""
        pixels = inputs["pixel_values"]
        patch = getattr(of_images(model.config), "patch_size", pixels.shape[-2:])
        height, width = patch if isinstance(patch, (list, tuple)) else (patch, patch)
        return int(pixels.shape[0] * (pixels.shape[2] // height) * (pixels.shape[3] // width))


class Pictures:
    """Images as a Trainer takes them: a row is {"pixel_values", "labels"}, made when it is asked for.

    What augmentation draws depends on the seed, the epoch and the row alone, so a run that is resumed within an epoch
    meets the pictures that it would have met.

    Args:
        rows: as `TaskData` has them.
        processor: of the model.
        how: to augment; see `augment`.
        seed: of the augmentation.
    """

    def __init__(self, rows: datasets.Dataset, processor: Any, how: Augmentation = "none", seed: int = 0) -> None:
        self._rows, self._processor, self._how, self._seed = rows, processor, how, seed
        self._epoch = 0

    def begin_epoch(self, epoch: int) -> None:
        """Draw anew from now on."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | int]:
        """Return an image's pixels, shape (channels, height, width), and its class."""
        row = self._rows[index]
        image = open_picture(row["image"], row["place"])
        if self._how != "none":
            image = augment(image, self._how, random.Random(f"{self._seed} {self._epoch} {index}"))
        pixels = self._processor(image, return_tensors="pt")["pixel_values"][0]
        return {"pixel_values": pixels, "labels": row["label"]}


def _image_processor(source: str) -> Any:
    from transformers import AutoImageProcessor

    # Always Pillow's, whether torchvision is installed or not: the two resize a little differently.
    factory: Any = AutoImageProcessor  # which carries no types
    return factory.from_pretrained(source, backend="pil")


def _rows(
    rows: Rows, targets: Sequence[float] | None, label_names: Sequence[str], kept: Sequence[int] | None = None
) -> datasets.Dataset:
    """Return rows with the columns `image`, `place` and, with targets, `label`; DataError names a broken image."""
    from datasets import ClassLabel, Dataset, Features, Image, Value

    order = range(len(rows.texts)) if kept is None else kept
    if not order:
        raise DataError(f"{rows.origin}: there are no images; add some, or name another source.")
    columns: dict[str, list[Any]] = {"image": [rows.texts[index] or {} for index in order]}
    columns["place"] = [
        rows.place(index) if picture.get("bytes") is not None or not picture.get("path") else picture["path"]
        for index, picture in zip(order, columns["image"], strict=True)
    ]
    for picture, place in zip(columns["image"], columns["place"], strict=True):
        open_picture(picture, place)
    features = {"image": Image(decode=False), "place": Value("string")}
    if targets is not None:
        columns["label"] = [targets[index] for index in order]
        features["label"] = ClassLabel(names=list(label_names))
    return Dataset.from_dict(columns, features=Features(features))
