"""Texts to tokens, cut at the length asked for, and counted when cut."""

from __future__ import annotations

from typing import Any

import datasets

from frostline.errors import ConfigError
from frostline.models import Classifier, longest_text
from frostline.tasks.text import TextData


def tokenize(data: TextData, loaded: Classifier, max_length: int) -> tuple[datasets.Dataset, datasets.Dataset, int]:
    """Return the encoded training and validation data, and how many texts were longer than `max_length` tokens.

    Raises:
        ConfigError: the model has fewer positions than that.
    """
    limit = longest_text(loaded.model)
    if limit is not None and max_length > limit:
        raise ConfigError(
            f"max_length={max_length} is more than the model's {limit} positions; say max_length={limit} or less."
        )
    pair = "text_pair" in data.train.column_names

    def encode(batch: dict[str, list[Any]]) -> dict[str, Any]:
        texts = (batch["text"], batch["text_pair"]) if pair else (batch["text"],)
        encoded = loaded.tokenizer(*texts, truncation=True, max_length=max_length)
        whole = loaded.tokenizer(*texts, verbose=False)["input_ids"]
        cut = [len(ids) > max_length for ids in whole]
        return {**encoded, "labels": batch["label"], "cut": cut}

    encoded = [
        split.map(encode, batched=True, remove_columns=split.column_names) for split in (data.train, data.validation)
    ]
    cut = sum(sum(split["cut"]) for split in encoded)
    train, validation = (split.remove_columns("cut") for split in encoded)
    return train, validation, cut
