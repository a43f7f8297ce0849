"""What each part of a model costs while it trains: bytes and operations by module and level."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AlbertConfig, AlbertForSequenceClassification, ViTConfig, ViTForImageClassification

from frostline.anatomy import discover
from frostline.anatomy.batches import example_batch
from frostline.flop_formulas import CPU_ATTENTION
from frostline.profile import profile
from tiny_models import tiny_bert

_SIZES: dict[str, Any] = {
    "num_hidden_layers": 3,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
}


def _vit() -> Any:
    return ViTForImageClassification(ViTConfig(image_size=16, patch_size=4, **_SIZES))


def _shared() -> Any:
    return AlbertForSequenceClassification(AlbertConfig(vocab_size=50, embedding_size=16, **_SIZES))


def _found(model: Any) -> tuple[Any, Any, int]:
    batch = example_batch(model, 3)
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter, torch.no_grad():
        model.eval()(**batch)
    model.train()
    return profile(model, discover(model), batch), batch, counter.get_total_flops()


@pytest.mark.parametrize("make", [tiny_bert, _vit, _shared])
def test_operations_of_the_levels_are_those_of_a_real_forward_pass(make: Any) -> None:
    model = make()
    found, _, real = _found(model)
    assert sum(found.flops) == real
    assert min(found.flops) >= 0
    assert len(found.flops) == len(found.static) == len(discover(model).blocks) + 2


def test_a_linear_takes_two_operations_a_weight_and_token() -> None:
    model = tiny_bert()
    found, batch, _ = _found(model)
    tokens = batch["input_ids"].numel()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name in found.weights and found.weights[name].level <= 2:
            assert found.weights[name].flops == 2 * tokens * module.weight.numel(), name


def test_bytes_are_those_of_the_weights_and_what_waits_grows_with_depth() -> None:
    model = tiny_bert()
    found, *_ = _found(model)
    assert sum(weights.bytes for weights in found.weights.values()) == sum(p.nbytes for p in model.parameters())
    waiting = [found.waiting_from(level) for level in range(len(found.static))]
    assert waiting == sorted(waiting, reverse=True)
