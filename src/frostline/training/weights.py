"""A checkpoint's weights into a live model whose names for them may differ from the file's.

`save_pretrained` writes the names that a model had when its first checkpoints were published, and `from_pretrained`
turns them into those of today's code (ViT: `vit.encoder.layer.0` is `vit.layers.0`). A Trainer that resumes, or takes
back its best checkpoint, calls `load_state_dict` on the file, which passes over every name that it does not know.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers.core_model_loading import revert_weight_conversion

from frostline.errors import CheckpointError

_FILE = "model.safetensors"


def load_weights(model: Any, folder: Path) -> None:
    """Load the weights of a checkpoint, which was saved with the same method on the same model.

    Args:
        model: of transformers, as the method has made it.
        folder: the checkpoint.

    Raises:
        CheckpointError: the file holds a weight that the model does not have.
    """
    live = {saved: name for name, saved in _saved_names(model).items()}
    weights = {live.get(saved, saved): value for saved, value in load_file(folder / _FILE).items()}
    unknown = model.load_state_dict(weights, strict=False).unexpected_keys  # what is tied is in the file once
    if unknown:
        raise CheckpointError(f"{folder / _FILE} holds {unknown[0]!r}, which the model does not have.")


def renames(model: Any) -> bool:
    """Tell whether a checkpoint of the model calls any weight otherwise than the model does."""
    return any(name != saved for name, saved in _saved_names(model).items())


def _saved_names(model: Any) -> dict[str, str]:
    """Return the name in a checkpoint of each of the model's weights."""
    names = list(model.state_dict())
    numbered = {name: torch.tensor(number) for number, name in enumerate(names)}
    return {names[int(number)]: saved for saved, number in revert_weight_conversion(model, numbered).items()}
