"""Weights in sixteen bits: every contract in their own dtype, which they keep."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

import frostline
from architectures import ARCHITECTURES
from frostline.anatomy import Anatomy, discover
from frostline.errors import ConfigError
from storage_checks import cosine, model_gradients
from tiny_models import same_bits, tiny_bert

torch.set_num_threads(1)
METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "layers": {"count": 1},
    "far": {"priming": 0.5},
    "slimfit": {"rate": 0.75},
    "lora": {"rank": 2},
}
CASES = [
    (name, method)
    for name in ("BERT", "GPT-2", "Llama")
    for method in METHODS
    if (name, method) not in (("GPT-2", "far"), ("Llama", "far"))  # refused in every dtype
]


@cache
def anatomy_of(name: str) -> Anatomy:
    return discover(ARCHITECTURES[name].make(), ARCHITECTURES[name].batch())


def optimizer_for(parameters: list[nn.Parameter], dtype: torch.dtype) -> Optimizer:
    if dtype is torch.bfloat16:
        return AdamW(parameters, lr=1e-3, weight_decay=0.1)
    return SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.1)


@pytest.mark.parametrize("storage", ["exact", "compact"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize(("name", "method"), CASES)
def test_three_steps(name: str, method: str, dtype: torch.dtype, storage: str) -> None:
    architecture = ARCHITECTURES[name]
    settings = dict(METHODS[method])
    model, stock = architecture.make().to(dtype), architecture.make().to(dtype)
    whole = {key: (value.dtype, value.shape) for key, value in model.state_dict().items()}
    tuner = frostline.prepare(model, method, storage=storage, anatomy=anatomy_of(name), **settings)
    tuner.set_total_steps(4)
    optimizer = optimizer_for(tuner.candidate_parameters(), dtype)
    tuner.attach(optimizer)
    for index in range(3):
        tuner.before_step()
        before = {key: p.detach().clone() for key, p in model.named_parameters()}
        values = architecture.batch(dtype, index)
        if method != "lora":
            stock.load_state_dict(model.state_dict())
        model(**values).loss.backward()
        found = {key: p.grad for key, p in model.named_parameters() if p.requires_grad and p.grad is not None}
        assert found
        assert {gradient.dtype for gradient in found.values()} == {dtype}
        if method != "lora":
            wanted = stock_gradients(model, stock, values)
            assert cosine(found, {key: wanted[key] for key in found}) > 0.999
        optimizer.step()
        for key, p in model.named_parameters():
            assert bool(p.isfinite().all())
            assert p.requires_grad or same_bits(p.detach(), before[key]), f"{key} is frozen, and has moved"
        tuner.after_step()
        optimizer.zero_grad()
    plain = tuner.finish()
    assert {key: (value.dtype, value.shape) for key, value in plain.state_dict().items()} == whole


def stock_gradients(model: nn.Module, stock: nn.Module, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return plain autograd's gradients, of a split layer with the part that is the learners'."""
    _, wanted = model_gradients(stock, values)
    for layer, module in model.named_modules():
        for replacement in getattr(module, "replacements", ()):
            key = next(key for key, p in module.named_parameters(prefix=layer) if p is replacement.new)
            wanted[key] = replacement.take(wanted[key])
    return wanted


def test_an_optimizer_that_would_make_float16_weights_nan_is_refused() -> None:
    model = tiny_bert().half()
    tuner = frostline.prepare(model, "full")
    with pytest.raises(ConfigError, match=r"AdamW with eps=1e-08 is refused for weights in torch.float16.*bfloat16"):
        tuner.attach(AdamW(tuner.candidate_parameters()))
    tuner.attach(AdamW(tuner.candidate_parameters(), eps=1e-4))
    tuner.attach(SGD(tuner.candidate_parameters(), lr=0.1))
