"""Models that know nothing yet: a config from keys that are checked by name, and a folder with random weights."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig

from frostline.errors import ConfigError, nearest
from frostline.heads import CLASSIFICATION, LANGUAGE_MODELING, factory_of
from frostline.model_configs import first_line, reads_images

OF_DATA = frozenset({"vocab_size", "pad_token_id", "bos_token_id", "eos_token_id"})
"""Keys whose values follow from the data."""
EXAMPLE = "model: {type: gpt2, n_layer: 6, n_embd: 128, n_head: 4}"


def fresh_config(keys: Mapping[str, Any]) -> Any:
    """Return the config of a model of transformers.

    Args:
        keys: `type`, a model type of transformers (`gpt2`, `llama`, `vit`), and keys of its config.

    Raises:
        ConfigError: there is no such type or key, the value is refused, or it follows from the data.
    """
    if "type" not in keys:
        raise ConfigError(f"model={dict(keys)!r} has no type; write for instance {EXAMPLE}")
    kind, types = str(keys["type"]), list(CONFIG_MAPPING)
    if kind not in types:
        raise ConfigError(f"transformers has no model type {kind!r}{nearest(kind, types)}")
    factory: Any = CONFIG_MAPPING[kind]
    general = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    known = {field.name for field in dataclasses.fields(factory)} - general | set(factory.attribute_map)
    values = {key: value for key, value in keys.items() if key != "type"}
    for key in values:
        if key in OF_DATA:
            raise ConfigError(f"the key {key!r} of a model to pretrain follows from the data; leave it out.")
        if key not in known:
            raise ConfigError(f"unknown key {key!r} of the model type {kind!r}{nearest(key, known - OF_DATA)}")
    try:
        return factory(**values)
    except Exception as error:  # a value can be wrong in a dozen ways; each error says how
        raise ConfigError(f"model={dict(keys)!r} is refused: {' '.join(str(error).split())}") from error


def head_to_pretrain(config: Any) -> str:
    """Return the head with which such a model learns from nothing: classes of images, or the next token.

    Raises:
        ConfigError: it is neither a model of images nor one of language.
    """
    if reads_images(config):
        return CLASSIFICATION
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return LANGUAGE_MODELING
    raise ConfigError(
        f"the model type {config.model_type!r} can be pretrained neither on images nor on next tokens; give for "
        "instance vit or gpt2."
    )


def at_depth(config: Any, depth: int | None) -> Any:
    """Return a copy of a config with so many blocks, as many as it has if None; ConfigError if it does not say."""
    changed = copy.deepcopy(config)
    key = type(config).attribute_map.get("num_hidden_layers", "num_hidden_layers")
    if key not in {field.name for field in dataclasses.fields(config)}:
        raise ConfigError(
            f"the model type {config.model_type!r} does not say by one number how many blocks it has; give another."
        )
    if depth is None:
        return changed
    if hasattr(config, "stage_names"):  # a backbone's names of its blocks follow from the depth
        own = ("stage_names", "out_features", "out_indices", "_out_features", "_out_indices")
        values = {name: value for name, value in changed.to_dict().items() if name not in own}
        return type(config).from_dict({**values, key: depth})
    setattr(changed, key, depth)
    return changed


def write_fresh(config: Any, head: str, processor: Any, folder: Path, seed: int) -> None:
    """Write a model folder with random weights, as the model's own initialisation draws them.

    Args:
        config: of the model.
        head: one of `frostline.heads.HEADS`.
        processor: its tokenizer or image processor.
        folder: to be made, or filled.
        seed: of the weights.

    Raises:
        ConfigError: such a model cannot be built.
    """
    name = f"a {config.model_type} from scratch"
    torch.manual_seed(seed)
    config.architectures = config.architectures or []  # transformers looks through them where it has two classes (DeiT)
    try:
        model = factory_of(name, config, head).from_config(config)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    except OSError:
        raise
    except Exception as error:
        raise ConfigError(f"{name} cannot be built from its config: {first_line(error)}") from error


def with_labels(config: Any, label_names: Sequence[str]) -> Any:
    """Return a copy of a config for these classes."""
    changed = copy.deepcopy(config)
    changed.id2label = dict(enumerate(label_names))
    changed.label2id = {name: index for index, name in enumerate(label_names)}
    return changed
