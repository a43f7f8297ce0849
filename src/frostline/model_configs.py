"""A model's config without its weights: where it is found, what such a model reads, and images of another size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
)

from frostline.errors import ConfigError, nearest
from frostline.known_models import known_config, known_names
from frostline.models import EMBEDDED, locate


def config_of(name: str) -> Any:
    """Return the config of a model.

    Args:
        name: `minilm`, a model folder, a config.json, a Hub name, or that of a well-known model
            (`frostline.known_models`), which is at hand without a network.

    Raises:
        ConfigError: there is no such model, or its config cannot be loaded.
    """
    source = locate(name)
    path = Path(source).expanduser()
    looks_local = name == EMBEDDED or name.startswith((".", "/", "~")) or path.exists() or name.endswith(".json")
    if looks_local:
        source = str(path)
        if not path.exists():
            raise ConfigError(f"model {name!r}: there is no such file or folder.")
        if path.is_dir() and not (path / "config.json").is_file():
            raise ConfigError(f"model {name!r} is no Hugging Face model folder: it has no config.json.")
    elif (known := known_config(name)) is not None:
        return known
    try:
        return AutoConfig.from_pretrained(source)
    except Exception as error:  # from_pretrained raises a dozen types; each says what was wrong
        raise ConfigError(
            f"model {name!r}: its config cannot be loaded: {first_line(error)} "
            f"Give a Hugging Face folder, a config.json, or a model that needs no network"
            f"{nearest(name, [EMBEDDED, *(known for known in known_names() if '/' not in known)])}"
        ) from error


def reads_texts(config: Any) -> bool:
    """Tell whether transformers can classify texts with such a model."""
    return type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING


def reads_images(config: Any) -> bool:
    """Tell whether transformers can classify images with such a model, and not texts."""
    return type(config) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING and not reads_texts(config)


def of_images(config: Any) -> Any:
    """Return the part of a config that speaks of images: of a model of texts and images (CLIP) a config of its own."""
    return getattr(config, "vision_config", config)


def set_image_size(name: str, config: Any, image_size: int) -> None:
    """Change the height and width of the images that a model with this config reads.

    Args:
        name: of the model, for messages.
        config: is changed.
        image_size: pixels.

    Raises:
        ConfigError: the model reads no images, or the size is no multiple of its patches'.
    """
    config = of_images(config)
    if not hasattr(config, "image_size"):
        why = "reads images of any size" if reads_images(config) else "reads texts"
        raise ConfigError(f"model {name!r} ({config.model_type}) {why}: it has no image size; leave it out.")
    patch = getattr(config, "patch_size", 1)
    patches = tuple(patch) if isinstance(patch, (list, tuple)) else (patch,)
    if image_size < 1 or any(image_size % side for side in patches):
        raise ConfigError(
            f"an image size of {image_size} is refused for model {name!r}: give a multiple of its patches' "
            f"{max(patches)} pixels."
        )
    config.image_size = image_size


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, its type if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
