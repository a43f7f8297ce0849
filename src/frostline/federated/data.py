"""The data of a federation: a task's rows as its model takes them, and which of them each device has."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frostline.config import TrainConfig, make_config
from frostline.errors import ConfigError, DataError
from frostline.federated.config import FederateConfig
from frostline.federated.fleet import Device
from frostline.federated.network import model_of, settings_of
from frostline.heads import LANGUAGE_MODELING
from frostline.models import Loaded, in_evaluation
from frostline.tasks import task_of
from frostline.tasks.base import Encoded, Task, TaskData
from frostline.tasks.language import tokens_of
from frostline.tasks.next_tokens import Blocks, token_scores

_EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Examples:
    """What all devices together learn from, and what the server scores on.

    Attributes:
        task: whose rows they are.
        config: under which they were read.
        rows: as the task reads them.
        encoded: as the model takes them.
        processor: of the model; saved beside it.
        labels: of each training row its class, or of a language's block its document, as numbers from 0.
    """

    task: Task
    config: TrainConfig
    rows: TaskData
    encoded: Encoded
    processor: Any
    labels: list[int]

    @property
    def label_names(self) -> tuple[str, ...]:
        """The classes."""
        return self.rows.label_names

    def fingerprint(self) -> str:
        """Return the SHA-256 of what makes texts or images the network's inputs: the tokenizer, or the processor."""
        if (backend := getattr(self.processor, "backend_tokenizer", None)) is not None:
            told = json.loads(backend.to_str())
            agreed = {
                key: value for key, value in told.items() if key not in ("truncation", "padding")
            }  # of the last call
        elif hasattr(self.processor, "get_vocab"):
            agreed = self.processor.get_vocab()
        else:
            agreed = settings_of(self.processor)
        return hashlib.sha256(json.dumps(agreed, sort_keys=True).encode()).hexdigest()

    def begin_epoch(self, number: int) -> None:
        """Draw what is random in a row anew, such as the augmentation of an image."""
        if self.encoded.begin_epoch is not None:
            self.encoded.begin_epoch(number)

    def batches(self, order: Sequence[int], size: int) -> Iterator[dict[str, Tensor]]:
        """Return training rows in that order, padded batch by batch, with labels."""
        for start in range(0, len(order), size):
            yield dict(self.encoded.collate([self.encoded.train[index] for index in order[start : start + size]]))

    @property
    def classes(self) -> int | None:
        """How many classes there are; None of a language."""
        return len(self.label_names) or None

    def accuracy(self, model: Any, own: Sequence[int]) -> float:
        """Return the share of some training rows to which a model gives their class, or of their next tokens."""
        asked, right = 0, 0
        for batch in self.batches(own, _EVALUATION_BATCH):
            labels = batch.pop("labels")
            with torch.inference_mode():
                model = in_evaluation(model)
                logits = model(**{name: value.to(model.device) for name, value in batch.items()}).logits.cpu()
            if labels.dim() == 1:
                asked, right = asked + len(labels), right + int((logits.argmax(-1) == labels).sum())
            else:
                _, hits, count = token_scores(logits, labels).sum(0).tolist()
                asked, right = asked + int(count), right + int(hits)
        return right / asked if asked else math.nan

    def scores(self, model: Any) -> dict[str, float]:
        """Return the task's metric of a model on the validation rows, by name."""
        loaded, rows = Loaded(model, self.processor, ""), self.rows.validation
        outputs = self.task.outputs(loaded, rows, _EVALUATION_BATCH, self.config.max_length)
        found = self.task.scorer(self.rows.metric, self.label_names)(outputs, self.task.labels(rows))
        return {name: float(value) for name, value in found.items()}


def examples(config: FederateConfig) -> Examples:
    """Return the data of a federation; DataError if they cannot be read, ConfigError if their labels are scores."""
    return _examples(_asked(config, config.data), None)


def own_examples(config: FederateConfig, place: str, label_names: Sequence[str]) -> Examples:
    """Return the data of one device, all of them to train on.

    Args:
        config: of the federation.
        place: where they are: a file, or a folder of images.
        label_names: the classes of the federation, in its order; the device need not have all.

    Raises:
        DataError: they cannot be read, or have a class that the federation has not.
    """
    return _examples(_asked(config, place), tuple(label_names))


def _asked(config: FederateConfig, place: str) -> str:
    keys = ("task", "validation", "max_length", "max_train", "image_size", "augmentation", "seed")
    asked = {key: getattr(config, key) for key in keys if getattr(config, key) is not None}
    asked |= {"model": model_of(config.model, config.depths[-1]), "data": place, "output": "-"}
    return make_config(asked).model_dump_json(exclude_unset=True)


@lru_cache(maxsize=2)
def _examples(asked: str, label_names: tuple[str, ...] | None) -> Examples:
    config = TrainConfig.model_validate_json(asked)
    task = task_of(config)
    rows = task.read(config) if label_names is None else _own_rows(task, config, label_names)
    language = task.head == LANGUAGE_MODELING
    if not language and not rows.label_names:
        raise ConfigError(f"data {config.data!r} has scores for labels; a federation learns classes.")
    loaded = task.load(config.model, rows.label_names, config)
    encoded = task.encode(rows, loaded, config)
    if language:
        encoded, documents = _by_document(rows, encoded, loaded, config)
        return Examples(task, config, rows, encoded, loaded.processor, documents)
    return Examples(task, config, rows, encoded, loaded.processor, [int(label) for label in rows.train["label"]])


def _by_document(rows: TaskData, encoded: Encoded, loaded: Loaded, config: TrainConfig) -> tuple[Encoded, list[int]]:
    """Return the training documents as blocks none of which lies in two of them, and the document of each.

    What a document has beyond its last whole block is left out, and so is one that is shorter.
    """
    tokens = [tokens_of(loaded, text)[0] for text in rows.train["text"]]
    parts = [Blocks(ids, config.max_length, overlap=False) for ids in tokens if len(ids) >= config.max_length]
    documents = [number for number, part in enumerate(parts) for _ in range(len(part))]
    blocks: torch.utils.data.Dataset[Any] = torch.utils.data.ConcatDataset(parts)
    if config.max_train is not None and config.max_train < len(documents):  # evenly, of all documents
        chosen = [place * len(documents) // config.max_train for place in range(config.max_train)]
        blocks, documents = torch.utils.data.Subset(blocks, chosen), [documents[place] for place in chosen]
    return replace(encoded, train=blocks), documents


def _own_rows(task: Task, config: TrainConfig, label_names: tuple[str, ...]) -> TaskData:
    """Return all rows as training rows; validation rows there must be, and the first is one."""
    rows = task.read_examples(config.data, label_names or None, {})
    if label_names and "label" not in rows.column_names:
        raise DataError(f"data {config.data!r} have no labels; a device learns from rows with classes.")
    return TaskData(rows, rows.select([0]), label_names, "accuracy", "", "")


def divide(labels: Sequence[int], devices: Sequence[Device], config: FederateConfig) -> list[list[int]]:
    """Return the examples of each device: no example twice, and to each its share of an equal part.

    `natural` gives each device a document, or several in turn where there are more. `dirichlet` draws each device's mix
    of classes, or of documents, around the whole's, as in Hsu et al. (arXiv 1909.06335), and takes its examples by it
    as long as there are any left. Of flwr-datasets, whose partitioners need a version of datasets before this one's,
    none gives devices less than an equal part.

    Raises:
        DataError: there are fewer examples or documents than devices.
    """
    part = len(labels) // len(devices)
    if part < 1:
        raise DataError(
            f"{config.data!r} has {len(labels):,} training examples for {len(devices):,} devices: some would have "
            "none. Take fewer devices or more data."
        )
    chance = np.random.default_rng([config.seed, 1])
    order = chance.permutation(len(labels)).tolist()
    sizes = [max(1, round(part * device.data)) for device in devices]
    if config.partition == "natural":
        return _dealt(labels, devices)
    if config.partition != "dirichlet":
        return [order[place * part : place * part + size] for place, size in enumerate(sizes)]
    pools: dict[int, list[int]] = {}
    for index in order:
        pools.setdefault(labels[index], []).append(index)
    classes = sorted(pools)
    whole = np.array([len(pools[name]) / len(labels) for name in classes])
    found = []
    for size in sizes:
        mix = chance.dirichlet(np.maximum(config.alpha * whole * len(classes), 1e-3))
        found.append(_take(size, mix, [pools[name] for name in classes], chance))
    return found


def _dealt(documents: Sequence[int], devices: Sequence[Device]) -> list[list[int]]:
    """Return the examples of each device's documents, the first part of them where it has only a share."""
    count = len(set(documents))
    if count < len(devices):
        raise DataError(f"there are {count:,} documents for {len(devices):,} devices; take fewer devices.")
    found: list[list[int]] = [[] for _ in devices]
    for index, document in enumerate(documents):
        found[document % len(devices)].append(index)
    return [own[: max(1, round(len(own) * device.data))] for own, device in zip(found, devices, strict=True)]


def _take(size: int, mix: Any, pools: list[list[int]], chance: np.random.Generator) -> list[int]:
    """Take `size` examples from the classes' pools by a mix; where a pool runs out, the others give the rest."""
    taken: list[int] = []
    while len(taken) < size:
        weights = np.where([len(pool) > 0 for pool in pools], mix + 1e-12, 0.0)
        counts = chance.multinomial(size - len(taken), weights / weights.sum())
        for pool, count in zip(pools, counts.tolist(), strict=True):
            taken += [pool.pop() for _ in range(min(count, len(pool)))]
    return taken
