"""A model of images, and what makes its inputs, at another size: positions are interpolated once, and stay."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from frostline.errors import ConfigError
from frostline.model_configs import of_images, set_image_size
from frostline.models import Loaded


@torch.no_grad()
def resized(name: str, model: Any, image_size: int) -> Any:
    """Return the model for images of another size: the same weights, positions interpolated by its own rule.

    So the result is a plain model of that size, as its config says (ViT, arXiv 2010.11929, section 3.2, fine-tunes at
    another resolution in this way).

    Args:
        name: of the model, for messages.
        model: of transformers; with learnt positions, if it has a method `interpolate_pos_encoding` for them.
        image_size: pixels in height and width.

    Raises:
        ConfigError: the size is no multiple of the patches', or weights depend on the size that cannot be interpolated.
    """
    config = copy.deepcopy(model.config)
    set_image_size(name, config, image_size)
    changed = type(model)(config)
    state, wanted = model.state_dict(), changed.state_dict()
    for prefix, module in model.named_modules():
        key = f"{prefix}.position_embeddings"
        if hasattr(module, "interpolate_pos_encoding") and key in state:
            stand_in = torch.empty_like(wanted[key])  # of which the rule reads the number of positions
            state[key] = module.interpolate_pos_encoding(stand_in, image_size, image_size)
    for key, value in wanted.items():
        if key not in state or state[key].shape != value.shape:
            raise ConfigError(
                f"model {name!r} cannot read images of {image_size} pixels: {key!r} is of the shape "
                f"{tuple(state[key].shape) if key in state else ()}, not {tuple(value.shape)}; leave image_size out."
            )
    changed.load_state_dict(state)
    return changed.eval()  # as `from_pretrained` leaves it


def set_processor_size(processor: Any, image_size: int) -> None:
    """Make an image processor give pictures of this height and width; what it cuts off at the edges stays in ratio."""
    square = {"height": image_size, "width": image_size}
    before = dict(processor.size)
    if "height" in before:
        processor.size = square
    elif "shortest_edge" in before:
        crop = getattr(processor, "crop_size", None) if getattr(processor, "do_center_crop", False) else None
        edge = before["shortest_edge"] * image_size / dict(crop)["height"] if crop else image_size
        processor.size = {"shortest_edge": round(edge)}
    if getattr(processor, "crop_size", None) is not None:
        processor.crop_size = square


def fitted(name: str, loaded: Loaded, image_size: int | None) -> Loaded:
    """Return model and image processor at one size: the one asked for, else that which the processor gives.

    Raises:
        ConfigError: as `resized`, or the processor gives pictures that such a model cannot read.
    """
    if image_size is not None:
        set_processor_size(loaded.processor, image_size)
    blank = Image.new("RGB", (40, 30))
    channels, height, width = loaded.processor(blank, return_tensors="pt")["pixel_values"].shape[1:]
    config = of_images(loaded.model.config)
    wanted = getattr(config, "num_channels", 3)
    if channels != wanted or height != width or image_size not in (None, height):
        raise ConfigError(
            f"model {name!r} reads square images of {wanted} channels, and its image processor gives {channels} "
            f"channels of {height} x {width} pixels; mend its preprocessor_config.json."
        )
    if getattr(config, "image_size", height) in (height, [height, height], (height, height)):
        return loaded
    return replace(loaded, model=resized(name, loaded.model, height))
