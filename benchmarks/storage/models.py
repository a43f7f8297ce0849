"""What models too large for this machine keep under each preset, traced on fake tensors: no weights, no memory.

    python benchmarks/storage/models.py

BERT-base at batch 128 x 384 and ViT-base/16 at 384 px, batch 128, float32, dropout on: SlimFit's headline cases
(arXiv 2305.18513, section 5). Also the two that `run.py` measures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, ViTConfig, ViTForImageClassification

import frostline
from frostline.anatomy.sites import kept
from frostline.training.versions import versions

PRESETS = ("exact", "lossless", "compact", "slimfit", "smallest")
METHODS: dict[str, dict[str, Any]] = {"full": {}, "90 % frozen": {"method": "slimfit", "rate": 0.9}}


def bert(blocks: int, width: int, heads: int, batch: int, length: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return a BERT without weights and a batch of tokens, all attended to."""
    sizes = {"num_hidden_layers": blocks, "hidden_size": width, "intermediate_size": 4 * width}
    with torch.device("meta"):
        model = BertForSequenceClassification(BertConfig(num_attention_heads=heads, **sizes))
    tokens = torch.ones(batch, length, dtype=torch.long)
    return model, {"input_ids": tokens, "attention_mask": tokens, "labels": tokens[:, 0]}


def vit(blocks: int, width: int, heads: int, batch: int, pixels: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return a ViT without weights and a batch of images."""
    sizes = {"num_hidden_layers": blocks, "hidden_size": width, "intermediate_size": 4 * width}
    with torch.device("meta"):
        model = ViTForImageClassification(ViTConfig(num_attention_heads=heads, image_size=pixels, **sizes))
    return model, {"pixel_values": torch.zeros(batch, 3, pixels, pixels), "labels": torch.zeros(batch).long()}


CASES: dict[str, Any] = {
    "MiniLM, 32 x 128": lambda: bert(6, 384, 12, 32, 128),
    "ViT-tiny, 32 of 224 px": lambda: vit(12, 192, 3, 32, 224),
    "BERT-base, 128 x 384": lambda: bert(12, 768, 12, 128, 384),
    "ViT-base/16, 128 of 384 px": lambda: vit(12, 768, 12, 128, 384),
}


def main() -> None:
    """Trace every case under every preset and write the bytes."""
    results: dict[str, Any] = {}
    for case, make in CASES.items():
        results[case] = {}
        for name, method in METHODS.items():
            for preset in PRESETS:
                model, batch = make()
                tuner = frostline.prepare(model.train(), **method, storage=preset)
                trainable = [p for unit in (*tuner.units, *tuner.always) for p in unit.parameters]
                if name != "full":
                    trainable = [p for unit in tuner.always for p in unit.parameters]
                    trainable += [p for unit in tuner.units if unit.name in tuner.active for p in unit.parameters]
                results[case][f"{preset}, {name}"] = kept(model, batch, trainable=trainable).total
                print(case, name, preset, f"{results[case][f'{preset}, {name}'] / 2**20:,.1f} MiB", flush=True)
    output = Path(__file__).parent / "results" / "models.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps({"results": results, "versions": versions()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
