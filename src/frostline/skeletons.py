"""A model from its config alone, without weights, and a made-up batch of a chosen shape for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from frostline.anatomy.batches import example_batch
from frostline.errors import ConfigError
from frostline.heads import CLASSIFICATION, factory_of
from frostline.model_configs import config_of, first_line, set_image_size
from frostline.models import longest_text

SEQUENCE_LENGTH = 128
"""Tokens of a text where the user says nothing."""


def skeleton(
    name: str,
    *,
    head: str = CLASSIFICATION,
    image_size: int | None = None,
    depth: int | None = None,
    labels: int | None = None,
    device: str = "meta",
) -> Any:
    """Return a model with the structure of another, none of its weights, and a head.

    Args:
        name: `minilm`, a model folder, a config.json, or a Hub name, of which only the config is loaded; that of a
            well-known model (`frostline.known_models`) is at hand without a network.
        head: what it answers, one of `frostline.heads.HEADS`: classes of texts or images unless said.
        image_size: pixels in height and width, for a model of images; the config's if None.
        depth: keep the first so many blocks; all if None.
        labels: classes of the head; the config's if None.
        device: where it lies; on `meta` it takes no memory, elsewhere its weights are random.

    Raises:
        ConfigError: there is no such model, its config cannot be used, or the image size or the depth does not fit it.
        UnsupportedModel: transformers has no such model with that head.
    """
    config = config_of(name)
    if image_size is not None:
        set_image_size(name, config, image_size)
    if depth is not None:
        _set_depth(name, config, depth)
    if labels is not None:
        config.num_labels = labels
    if config.num_labels > 1:  # as a model is loaded to be trained; else some look at the labels' values for it
        config.problem_type = "single_label_classification"
    if getattr(config, "pad_token_id", 0) is None:
        config.pad_token_id = 0  # else decoders refuse a batch of more than one
    config.dtype = torch.float32  # as a model is loaded to be trained, whatever its checkpoint is written in
    config.architectures = []  # what the checkpoint was made for, not what it is to learn
    factory = factory_of(name, config, head)
    try:
        with torch.device(device):
            return factory.from_config(config)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a config can be wrong in a dozen ways; each error says how
        raise ConfigError(f"model {name!r} cannot be built from its config: {first_line(error)}") from error


def shaped_batch(
    model: Any,
    batch_size: int,
    sequence_length: int | None = None,
    image_size: int | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Return a batch with labels, on the CPU: every token is attended to.

    Args:
        model: as `skeleton` makes it, for that image size.
        batch_size: examples.
        sequence_length: tokens of each text; 128 if None, or as many as the model has positions for.
        image_size: only to be refused for a model of texts.
        generator: draws the values; without one all are the same.

    Raises:
        ConfigError: a size is not positive, is more than the model can read, or is for the other kind of model.
    """
    name = type(model).__name__
    if model.main_input_name != "input_ids":
        return example_batch(model, batch_size, sequence_length, labels=True, generator=generator)
    if image_size is not None:
        raise ConfigError(f"{name} reads texts: it has a sequence length (--seq-len), and no image size.")
    limit = longest_text(model)
    limit = limit if limit is None or limit > 0 else None  # some write -1 for: no limit
    if sequence_length is None:
        sequence_length = SEQUENCE_LENGTH if limit is None else min(SEQUENCE_LENGTH, limit)
    if limit is not None and sequence_length > limit:
        raise ConfigError(
            f"a sequence length of {sequence_length} is more than the {limit} positions of {name}; "
            f"say --seq-len {limit} or less."
        )
    return example_batch(model, batch_size, sequence_length, labels=True, generator=generator)


def _set_depth(name: str, config: Any, depth: int) -> None:
    whole = getattr(config, "num_hidden_layers", None)
    if not isinstance(whole, int):
        raise ConfigError(f"model {name!r} ({config.model_type}) does not say how many blocks it has; leave depth out.")
    if not 1 <= depth <= whole:
        raise ConfigError(f"a depth of {depth} is refused: model {name!r} has {whole} blocks; give 1 to {whole}.")
    config.num_hidden_layers = depth
