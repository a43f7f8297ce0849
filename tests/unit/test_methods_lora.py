"""LoRA: adapters by kind of weight, their rank and scale, and that merging changes no logit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from frostline import Tuner, prepare
from frostline.errors import UnsupportedModel
from tiny_models import BLOCKS, HIDDEN, INNER, batch, family, make_optimizer, same_bits, tiny_bert, train, weights

SIZES = {
    "query": (HIDDEN, HIDDEN),
    "key": (HIDDEN, HIDDEN),
    "value": (HIDDEN, HIDDEN),
    "attention_output": (HIDDEN, HIDDEN),
    "ffn_in": (HIDDEN, INNER),
    "ffn_out": (INNER, HIDDEN),
}
LAYERS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "ffn_in": "intermediate.dense",
    "ffn_out": "output.dense",
}


def trained(model: nn.Module, steps: int, **settings: Any) -> Tuner:
    tuner = prepare(model, "lora", **settings)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    train(model, tuner, optimizer, steps)
    return tuner


@pytest.mark.parametrize("targets", [("query",), ("query", "value"), ("ffn_in", "ffn_out"), tuple(SIZES)])
@pytest.mark.parametrize("rank", [1, 4])
def test_rank_and_targets_decide_the_adapters(rank: int, targets: tuple[str, ...]) -> None:
    tuner = prepare(tiny_bert(), "lora", rank=rank, targets=targets)
    adapters = [unit for unit in tuner.units if unit.kind == "adapter"]
    layers = {unit.name.split(".lora_")[0] for unit in adapters}
    assert layers == {f"bert.encoder.layer.{depth}.{LAYERS[t]}" for depth in range(BLOCKS) for t in targets}
    assert sum(unit.parameter_count for unit in adapters) == BLOCKS * rank * sum(sum(SIZES[t]) for t in targets)
    assert all(unit.name.startswith(f"bert.encoder.layer.{unit.block}.") for unit in adapters)
    assert {unit.region for unit in tuner.units if unit.kind != "adapter"} == {"head"}
    assert tuner.active == {unit.name for unit in tuner.units}


@pytest.mark.parametrize("name", ["distilbert", "roberta", "electra", "vit"])
def test_targets_are_found_by_structure_in_every_family(name: str) -> None:
    tuner = prepare(family(name), "lora", rank=3, targets=tuple(SIZES))
    adapters = [unit for unit in tuner.units if unit.kind == "adapter"]
    assert sum(unit.parameter_count for unit in adapters) == BLOCKS * 3 * sum(sum(size) for size in SIZES.values())


def test_new_adapters_change_no_logit() -> None:
    model = tiny_bert()
    before = model(**batch()).logits
    prepare(model, "lora")
    assert model(**batch()).logits.equal(before)


@pytest.mark.parametrize("alpha", [1.0, 16.0])
def test_alpha_over_rank_scales_what_is_merged(alpha: float) -> None:
    model = tiny_bert()
    start = weights(model)
    tuner = trained(model, 3, rank=2, alpha=alpha)
    state = weights(model)
    tuner.finish()
    for depth in range(BLOCKS):
        layer = f"bert.encoder.layer.{depth}.attention.self.query"
        (a,) = (v for n, v in state.items() if n.startswith(f"{layer}.lora_A"))
        (b,) = (v for n, v in state.items() if n.startswith(f"{layer}.lora_B"))
        assert b.any()
        merged = start[f"{layer}.weight"] + alpha / 2 * b @ a
        torch.testing.assert_close(model.state_dict()[f"{layer}.weight"], merged)


def test_merging_keeps_the_logits() -> None:
    model = tiny_bert()
    tuner = trained(model, 10, rank=2)
    model.eval()
    before = model(**batch(3)).logits
    tuner.finish()
    torch.testing.assert_close(model(**batch(3)).logits, before, rtol=1e-6, atol=1e-6)
    assert not [n for n, _ in model.named_modules() if "lora" in n]


def test_only_targets_and_head_have_changed_after_merging() -> None:
    model = tiny_bert()
    start = weights(model)
    trained(model, 5, rank=2, targets=("value",)).finish()
    changed = {n for n, v in weights(model).items() if not same_bits(v, start[n])}
    values = {f"bert.encoder.layer.{depth}.attention.self.value.weight" for depth in range(BLOCKS)}
    assert changed == values | {n for n in start if n.startswith(("bert.pooler", "classifier"))}


def test_dropout_before_the_adapters_takes_effect() -> None:
    def logits(dropout: float) -> torch.Tensor:
        model = tiny_bert()
        trained(model, 5, rank=2, dropout=dropout)
        torch.manual_seed(1)
        first = model(**batch()).logits
        return (first - model(**batch()).logits).abs().max()

    assert logits(0.0) == 0
    assert logits(0.5) > 0


def test_first_values_come_from_the_seed_alone() -> None:
    def adapters(seed: int, noise: int) -> dict[str, torch.Tensor]:
        model = tiny_bert()
        torch.manual_seed(noise)
        prepare(model, "lora", seed=seed)
        return {n: v for n, v in weights(model).items() if "lora_A" in n}

    first, again, other = adapters(0, 1), adapters(0, 2), adapters(5, 1)
    assert all(same_bits(first[n], again[n]) for n in first)
    assert not any(same_bits(first[n], other[n]) for n in first)


def test_a_target_that_the_model_lacks_is_refused() -> None:
    model = tiny_bert()
    with pytest.raises(UnsupportedModel, match="no weight of kind 'query_key_value' was found in BertFor"):
        prepare(model, "lora", targets=("query_key_value",))
    assert not [n for n, _ in model.named_modules() if "lora" in n]


def test_where_one_matrix_gives_queries_and_values_it_is_adapted() -> None:
    config = GPT2Config(n_embd=16, n_head=2, n_layer=2, vocab_size=40, n_positions=16, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config)
    prepare(model, "lora", rank=2)
    adapted = {name.split(".lora_A")[0] for name, _ in model.named_parameters() if "lora_A" in name}
    assert adapted == {f"transformer.h.{block}.attn.c_attn" for block in range(2)}
