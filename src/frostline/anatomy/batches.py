"""Batches made up from a model's config: to trace it, or to run it, without data."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from frostline.errors import ConfigError, UnsupportedModel
from frostline.heads import LANGUAGE_MODELING, QUESTION_ANSWERING, TOKEN_CLASSIFICATION, head_of
from frostline.model_configs import of_images

LABELS = frozenset({"labels", "start_positions", "end_positions"})
"""Arguments of a forward pass that only its loss reads."""


def example_batch(
    model: nn.Module,
    batch_size: int = 2,
    length: int | None = None,
    *,
    labels: bool = False,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Return a batch made up from `model.config`: tokens, all of them attended to, or pixels of the config's size.

    Args:
        model: one that says which it reads, by `main_input_name`.
        batch_size: examples.
        length: tokens in each, 8 if not said; images have none.
        labels: also what its loss wants: a class, or a score where the config has one label, of each example or, if the
            model's head is for tokens, of each token; where the answer begins and ends; the tokens that follow.
        generator: draws the values; without one all are the same.

    Returns:
        `input_ids` and `attention_mask`, each (batch_size, length), or `pixel_values` (batch_size, channels, height,
        width); all on the CPU.

    Raises:
        ConfigError: a size is not positive, or a length is given for images.
        UnsupportedModel: the model says neither that it reads `input_ids` nor `pixel_values`.
    """
    for name, value in (("batch size", batch_size), ("sequence length", length)):
        if value is not None and value < 1:
            raise ConfigError(f"a {name} of {value} is refused: give 1 or more.")
    config: Any = getattr(model, "config", None)
    wanted = getattr(model, "main_input_name", None)
    if wanted == "input_ids":
        shape = (batch_size, 8 if length is None else length)
        tokens = torch.ones(shape, dtype=torch.long)
        if generator is not None:
            tokens = torch.randint(1, config.vocab_size, shape, generator=generator)
        if getattr(config, "is_encoder_decoder", False):
            _end_texts(tokens, getattr(config, "eos_token_id", None))
        batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    elif wanted == "pixel_values" and hasattr(of_images(config), "image_size"):
        if length is not None:
            raise ConfigError(f"{type(model).__name__} reads images: it has an image size, and no sequence length.")
        config = of_images(config)
        size = config.image_size
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        pixels = torch.zeros(batch_size, getattr(config, "num_channels", 3), height, width)
        batch = {"pixel_values": pixels if generator is None else pixels.normal_(generator=generator)}
    else:
        raise UnsupportedModel(
            f"no example batch can be made up for {type(model).__name__} (main input {wanted!r}): "
            "pass one as `example=`, a dict of the forward pass's keyword arguments."
        )
    if labels:
        batch |= _labels(model, next(iter(batch.values())), generator)
    return batch


def with_decoder_inputs(model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the batch with tokens for a decoder, of the labels' shape or the encoder's tokens', where one reads some.

    Some models make theirs from the labels, which a trace leaves out, as with them comes a loss.
    """
    decoder, found = "decoder_input_ids", dict(batch)
    whole: Any = model
    inner = whole.get_base_model() if hasattr(whole, "get_base_model") else whole  # PEFT's takes anything
    if decoder in inspect.signature(inner.forward).parameters and not {decoder, "decoder_inputs_embeds"} & found.keys():
        labels = found.get("labels")
        tokens = labels if isinstance(labels, Tensor) and labels.dim() > 1 else found.get("input_ids")
        if tokens is not None:
            found[decoder] = tokens.clamp(min=0)  # -100 stands for a label that does not count
    return found


def sizes_of(batch: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the sizes for which a batch of that shape would be made up: `batch_size`, and `sequence_length` of texts
    or `image_size` of images. Only shapes are looked at.
    """
    if "input_ids" in batch:
        rows, length = batch["input_ids"].shape
        return {"batch_size": rows, "sequence_length": length}
    pixels = batch["pixel_values"]
    return {"batch_size": pixels.shape[0], "image_size": max(pixels.shape[-2:])}


def _end_texts(tokens: Tensor, end: int | None) -> None:
    """Let each text end as a tokenizer would have it, and nowhere before: classifiers read what lies at its end."""
    if end is not None:
        tokens[tokens == end] = 1 if end != 1 else 2
        tokens[:, -1] = end


def _labels(model: Any, inputs: Tensor, generator: torch.Generator | None) -> dict[str, Tensor]:
    rows, head, classes = inputs.shape[0], head_of(type(model).__name__), model.config.num_labels

    def drawn(limit: int, shape: Sequence[int]) -> Tensor:
        if generator is None:
            return torch.zeros(shape, dtype=torch.long)
        return torch.randint(0, limit, shape, generator=generator)

    if head == LANGUAGE_MODELING:
        return {"labels": inputs.clone()}
    if head == QUESTION_ANSWERING:
        return {name: drawn(inputs.shape[1], (rows,)) for name in ("start_positions", "end_positions")}
    if head == TOKEN_CLASSIFICATION:
        return {"labels": drawn(classes, inputs.shape)}
    return {"labels": torch.zeros(rows) if classes == 1 else drawn(classes, (rows,))}
