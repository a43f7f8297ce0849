"""Where a step's time goes: each operation of a block, forward and backward, stock's beside each preset's.

    python benchmarks/storage/operations.py

One BERT block of MiniLM's size (width 384, 12 heads, FFN 1536) at batch 32 x 128, float32, dropout .1, everything
trains. The operations run alone, in turn with stock's; medians. `pass` is one copy of the operation's largest tensor:
an operation of ours should take no longer than stock's and one pass more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

import frostline
from frostline.training.versions import hardware, versions

BATCH, LENGTH, WIDTH, INNER, HEADS = 32, 128, 384, 1536, 12
PRESETS = ("exact", "lossless", "compact", "slimfit")


def operations(storage: str) -> dict[str, Callable[[], None]]:
    """Return what runs each operation of a block under a preset once, forward and backward."""
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_attention_heads": HEADS, "num_hidden_layers": 1}
    model = BertForSequenceClassification(BertConfig(vocab_size=10, **sizes)).train()
    frostline.prepare(model, "full", storage=storage)
    block = model.bert.encoder.layer[0]
    modules: dict[str, tuple[nn.Module, int]] = {
        "attention and its projections": (block.attention.self, WIDTH),
        "Linear 384 to 384": (block.attention.output.dense, WIDTH),
        "Linear 384 to 1536": (block.intermediate.dense, WIDTH),
        "GELU": (block.intermediate.intermediate_act_fn, INNER),
        "Linear 1536 to 384": (block.output.dense, INNER),
        "LayerNorm": (block.output.LayerNorm, WIDTH),
        "dropout": (block.output.dropout, WIDTH),
        "the block": (block, WIDTH),
    }
    return {name: _runner(module, width) for name, (module, width) in modules.items()}


def _runner(module: nn.Module, width: int) -> Callable[[], None]:
    leaf = torch.randn(BATCH, LENGTH, width, requires_grad=True)
    weights = list(module.parameters())

    def run() -> None:
        found: Any = module(leaf * 1)  # a new tensor each time, as in a model: nothing is offered on it yet
        output: Tensor = found[0] if isinstance(found, tuple) else found
        torch.autograd.grad(output, [leaf, *weights], torch.ones_like(output))

    return run


def _seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "operations.json")
    arguments = parser.parse_args()
    sides = {storage: operations(storage) for storage in PRESETS}
    results: dict[str, dict[str, float]] = {}
    for name in sides["exact"]:
        width = INNER if name in ("GELU", "Linear 1536 to 384", "Linear 384 to 1536") else WIDTH
        data = torch.randn(BATCH, LENGTH, width)
        runs = {"pass": data.clone, **{storage: sides[storage][name] for storage in PRESETS}}
        taken: dict[str, list[float]] = {key: [] for key in runs}
        for _ in range(arguments.rounds + 1):
            for key, run in runs.items():
                taken[key].append(_seconds(run))
        results[name] = {key: statistics.median(values[1:]) for key, values in taken.items()}
        print(name, {key: f"{1e3 * value:.1f} ms" for key, value in results[name].items()}, flush=True)
    record = {"results": results, "threads": torch.get_num_threads(), "versions": versions(), "hardware": hardware()}
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
