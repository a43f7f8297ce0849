"""Attention on whole models: their logits, their gradients, what they keep, and the way back to stock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaConfig, T5Config, T5ForConditionalGeneration
from transformers.integrations import sdpa_attention

from frostline.storage.codecs import Exact
from frostline.storage.operations.attention import ATTRIBUTE, NAME, AttentionStorage, attention
from tiny_models import batch, family, tiny_bert


def store(model: Any) -> int:
    """Put attention's storage on every module that has a query; return how many there are."""
    names = {"query", "q_lin", "q_proj", "q"}
    modules = [(n, m) for n, m in model.named_modules() if names & {child for child, _ in m.named_children()}]
    for name, module in modules:
        setattr(module, ATTRIBUTE, AttentionStorage(Exact(), "inputs", name))
    model.set_attn_implementation(NAME)
    return len(modules)


def example(name: str, padded: bool) -> dict[str, Tensor]:
    if name == "vit":
        torch.manual_seed(2)
        return {"pixel_values": torch.randn(3, 3, 16, 16), "labels": torch.tensor([0, 1, 0])}
    inputs = batch()
    if padded:
        inputs["attention_mask"][1, 4:] = 0
    return inputs


def step(model: nn.Module, inputs: dict[str, Tensor], seed: int = 4) -> tuple[Tensor, dict[str, Tensor]]:
    """Return logits and gradients of one step."""
    model.zero_grad()
    torch.manual_seed(seed)
    output = model(**inputs)
    output.loss.backward()
    return output.logits, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta", "electra", "vit"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_logits_and_gradients_are_stocks(name: str, padded: bool, training: bool) -> None:
    model = family(name).train(training)
    inputs = example(name, padded)
    logits, gradients = step(model, inputs)
    assert store(model) == 2
    ours, own = step(model, inputs)
    assert ours.equal(logits) or training
    torch.testing.assert_close(ours, logits)
    assert own.keys() == gradients.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(own[key], gradient, rtol=1e-4, atol=1e-6)
    model.set_attn_implementation("sdpa")
    again, _ = step(model, inputs)
    assert again.equal(logits)


@pytest.mark.parametrize("padded", [False, True])
def test_grouped_heads_and_causal_masks(padded: bool) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 60}
    config = LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, attention_dropout=0.2)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    tokens = batch(size=3, length=12)["input_ids"]
    inputs = {"input_ids": tokens, "labels": tokens, "attention_mask": torch.ones_like(tokens)}
    if padded:
        inputs["attention_mask"][0, :5] = 0  # on the left: rows that attend to nothing
    for training in (False, True):
        model.train(training)
        model.set_attn_implementation("sdpa")
        logits, gradients = step(model, inputs)
        assert store(model) == 2
        ours, own = step(model, inputs)
        assert ours.equal(logits) or training
        torch.testing.assert_close(ours, logits)
        for key, gradient in gradients.items():
            torch.testing.assert_close(own[key], gradient, rtol=1e-4, atol=1e-6)


def test_a_position_bias_that_learns_goes_to_stock() -> None:
    torch.manual_seed(0)
    config = T5Config(
        d_model=16,
        d_kv=4,
        d_ff=32,
        num_layers=1,
        num_heads=4,
        vocab_size=60,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config)
    tokens = batch(length=8)["input_ids"]
    inputs = {"input_ids": tokens, "labels": tokens}
    if model.config._attn_implementation != "sdpa":
        pytest.skip("T5 has no sdpa attention here")
    _, gradients = step(model, inputs)
    store(model)
    _, own = step(model, inputs)
    assert own.keys() == gradients.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(own[key], gradient, rtol=1e-4, atol=1e-6)


def test_no_square_matrix_is_saved() -> None:
    model, length = tiny_bert(dropout=0.1, max_position_embeddings=64), 64
    inputs = batch(length=length)

    def squares() -> list[torch.Size]:
        found = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: found.append(t.shape) or t, lambda t: t):
            model(**inputs)
        return [shape for shape in found if shape[-2:] == (length, length)]

    assert squares()
    store(model)
    assert not squares()


def test_modules_without_storage_use_stock(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_bert()
    logits, _ = step(model, batch())
    store(model)
    for module in model.modules():
        vars(module).pop(ATTRIBUTE, None)
    calls = []
    stock = sdpa_attention.sdpa_attention_forward
    monkeypatch.setattr(
        "frostline.storage.operations.attention.sdpa_attention_forward",
        lambda *args, **kwargs: calls.append(1) or stock(*args, **kwargs),
    )
    assert step(model, batch())[0].equal(logits)
    assert len(calls) == 2


def test_a_saved_model_is_plain(tmp_path: Path) -> None:
    model = tiny_bert()
    store(model)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert NAME not in json.dumps(config)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.config._attn_implementation == "sdpa"
    assert loaded.eval()(**batch()).logits.equal(model.eval()(**batch()).logits)


def test_compiled_code_breaks_off_around_it() -> None:
    query, key, value = (torch.randn(2, 8, 4, 8).transpose(1, 2).requires_grad_() for _ in range(3))
    storage = AttentionStorage(Exact(), "inputs", "site")

    def twice(query: Tensor) -> Tensor:
        return attention(query, key, value, storage=storage, dropout=0.3) * 2

    found = []
    for function in (twice, torch.compile(twice, backend="eager")):
        torch.manual_seed(0)
        output = function(query)
        found.append((output, *torch.autograd.grad(output.sum(), (query, key, value))))
    assert all(ours.equal(other) for ours, other in zip(*found, strict=True))
