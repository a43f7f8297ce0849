"""The data of a federation: a text task as tokens, and which examples each device has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer

from frostline.errors import ConfigError, DataError
from frostline.federated.config import FederateConfig
from frostline.federated.fleet import Device
from frostline.models import locate
from frostline.tasks.base import TaskData
from frostline.tasks.text import load


@dataclass(frozen=True)
class Encoded:
    """A classification task as tokens.

    Attributes:
        train, validation: of each example `input_ids` and what else the tokenizer gives, unpadded.
        train_labels, validation_labels: class indices.
        label_names: the classes.
        metric: the task's own, a name in `frostline.tasks.metrics`.
        tokenizer: pads and is saved beside the model.
    """

    train: list[dict[str, list[int]]]
    train_labels: list[int]
    validation: list[dict[str, list[int]]]
    validation_labels: list[int]
    label_names: tuple[str, ...]
    metric: str
    tokenizer: Any

    def batches(self, split: str, order: Sequence[int], size: int) -> Iterator[dict[str, Tensor]]:
        """Return the examples of `train` or `validation` in that order, padded batch by batch, with labels."""
        rows, labels = getattr(self, split), getattr(self, f"{split}_labels")
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            batch = dict(self.tokenizer.pad([rows[index] for index in chosen], return_tensors="pt"))
            yield {**batch, "labels": torch.tensor([labels[index] for index in chosen])}


def encoded(config: FederateConfig) -> Encoded:
    """Return the task of a federation; DataError if it cannot be read, ConfigError if its labels are scores."""
    return _encoded(config.model, config.data, config.max_length, config.max_train, config.seed)


@lru_cache(maxsize=2)
def _encoded(model: str, data: str, max_length: int, max_train: int | None, seed: int) -> Encoded:
    found: TaskData = load(data, max_train=max_train, seed=seed)
    if not found.label_names:
        raise ConfigError(f"data {data!r} has scores for labels; a federation learns classes.")
    tokenizer: Any = AutoTokenizer.from_pretrained(locate(model))

    def rows(split: Any) -> list[dict[str, list[int]]]:
        texts = [list(split[name]) for name in ("text", "text_pair") if name in split.column_names]
        tokens = tokenizer(*texts, truncation=True, max_length=max_length)
        return [{key: tokens[key][index] for key in tokens} for index in range(len(split))]

    return Encoded(
        rows(found.train),
        [int(label) for label in found.train["label"]],
        rows(found.validation),
        [int(label) for label in found.validation["label"]],
        found.label_names,
        found.metric,
        tokenizer,
    )


def divide(labels: Sequence[int], devices: Sequence[Device], config: FederateConfig) -> list[list[int]]:
    """Return the examples of each device: no example twice, and to each its share of an equal part.

    `dirichlet` draws each device's mix of classes around the whole's, as in Hsu et al. (arXiv 1909.06335), and takes
    its examples by it as long as a class has any left.

    Raises:
        DataError: there are fewer examples than devices.
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
    if config.partition == "iid":
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


def _take(size: int, mix: Any, pools: list[list[int]], chance: np.random.Generator) -> list[int]:
    """Take `size` examples from the classes' pools by a mix; where a pool runs out, the others give the rest."""
    taken: list[int] = []
    while len(taken) < size:
        weights = np.where([len(pool) > 0 for pool in pools], mix + 1e-12, 0.0)
        counts = chance.multinomial(size - len(taken), weights / weights.sum())
        for pool, count in zip(pools, counts.tolist(), strict=True):
            taken += [pool.pop() for _ in range(min(count, len(pool)))]
    return taken
