"""A tiny ViT with random weights, and pictures that are easy to tell apart."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from PIL import Image

SIZE = 16


def make_vit(folder: Path, classes: int = 5, **changes: Any) -> Path:
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    torch.manual_seed(7)
    config = ViTConfig(**{**sizes, "image_size": SIZE, "patch_size": 8, "num_labels": classes, **changes})
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(folder)
    return folder


def paint(folder: Path, count: int, seed: int) -> Path:
    """Write pictures that are brighter above, or below, half of each."""
    generator = random.Random(seed)
    for index in range(count):
        name = ("above", "below")[index % 2]
        image = Image.new("RGB", (SIZE, SIZE), tuple(generator.randrange(60) for _ in range(3)))
        light = tuple(generator.randrange(180, 256) for _ in range(3))
        image.paste(light, (0, 0, SIZE, SIZE // 2) if name == "above" else (0, SIZE // 2, SIZE, SIZE))
        (folder / name).mkdir(parents=True, exist_ok=True)
        image.save(folder / name / f"{index}.png")
    return folder
