"""Models that PEFT has wrapped: their adapters are units, and everything holds for them as for any other weight."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from torch import Tensor
from torch.optim import SGD

import frostline
from architectures import ARCHITECTURES
from frostline.anatomy import Unit, discover
from frostline.errors import UnsupportedModel
from storage_checks import saved_bytes
from tiny_models import same_bits

WRAPPED = {
    "BERT": ["query", "value", "intermediate.dense"],
    "Llama": ["q_proj", "v_proj"],
    "GPT-2": ["c_attn"],
    "T5": ["q", "v"],
}


def wrapped(name: str, **more: Any) -> tuple[Any, dict[str, Tensor]]:
    """Return the model in PEFT's wrapper, in float64, and a batch; B is not zero, so that A has a gradient."""
    architecture = ARCHITECTURES[name]
    kind = "SEQ_2_SEQ_LM" if name == "T5" else "SEQ_CLS"
    config = peft.LoraConfig(r=2, target_modules=WRAPPED[name], task_type=kind, fan_in_fan_out=name == "GPT-2")
    model = peft.get_peft_model(architecture.make(**more), config).double()
    generator = torch.Generator().manual_seed(4)
    for key, parameter in model.named_parameters():
        if ".lora_B." in key:
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return model, architecture.batch(torch.float64)


def adapters_of(units: tuple[Unit, ...]) -> set[str]:
    """Return the names of the units of that kind."""
    return {unit.name for unit in units if unit.kind == "adapter"}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", WRAPPED)
def test_adapters_are_units_and_what_they_stand_beside_is_frozen(name: str, attention: str) -> None:
    model, batch = wrapped(name, attn_implementation=attention)
    plain, anatomy = discover(ARCHITECTURES[name].make(), batch), discover(model, batch)
    parameters = dict(model.named_parameters())
    assert adapters_of(anatomy.units) == {key for key in parameters if ".lora_" in key}
    assert {unit.name for unit in anatomy.units} == {key for key, p in parameters.items() if p.requires_grad}
    assert len(anatomy.blocks) == len(plain.blocks)
    assert all(unit.region == "blocks" for unit in anatomy.units if unit.kind == "adapter")
    if attention == "sdpa":
        assert anatomy.attentions == tuple(f"base_model.model.{module}" for module in plain.attentions)
    if name == "BERT":  # what adapters stand beside feeds the next Linear together with them
        assert anatomy.feed_forwards == ()
    assert discover(model) == anatomy


@pytest.mark.parametrize("storage", ["lossless", "compact", "smallest"])
@pytest.mark.parametrize("name", WRAPPED)
def test_storage_on_a_wrapped_model(name: str, storage: str) -> None:
    model, batch = wrapped(name, dropout=0.1)
    stock, exact = _gradients(model, batch)
    kept = saved_bytes(lambda: model(**batch).loss, model)
    tuner = frostline.prepare(model, storage=storage, example=batch)
    ours, found = _gradients(model, batch)
    assert saved_bytes(lambda: model(**batch).loss, model) < 0.97 * kept
    torch.testing.assert_close(ours, stock, rtol=1e-10, atol=1e-12)
    assert found.keys() == exact.keys()
    first, second = (torch.cat([g[key].flatten() for key in exact]) for g in (exact, found))
    cosine = float(first @ second / (first.norm() * second.norm()))
    assert cosine > (1 - 1e-12 if storage == "lossless" else 0.99)
    tuner.finish()
    assert not [type(module) for module in model.modules() if type(module).__name__.startswith("Stored")]
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("method", "settings"), [("layers", {"count": 1}), ("slimfit", {"rate": 0.5}), ("lisa", {"count": 1}), ("auto", {})]
)
@pytest.mark.parametrize("name", WRAPPED)
def test_methods_choose_among_the_adapters(name: str, method: str, settings: dict[str, Any]) -> None:
    model, batch = wrapped(name)
    tuner = frostline.prepare(model, method, example=batch, **settings)
    optimizer = SGD(tuner.candidate_parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    tuner.attach(optimizer)
    for _ in range(3):
        before = {key: p.detach().clone() for key, p in model.named_parameters()}
        tuner.before_step()
        training = {key for key, p in model.named_parameters() if p.requires_grad}
        assert 0 < len(training) < len(tuner.anatomy.units)
        model(**batch).loss.backward()
        optimizer.step()
        moved = {key for key, p in model.named_parameters() if not same_bits(p.detach(), before[key])}
        assert moved <= training
        assert any(".lora_" in key for key in moved)
        tuner.after_step()
        optimizer.zero_grad()
    trained = {key: p.detach().clone() for key, p in model.named_parameters()}
    tuner.finish()
    assert {key: p.requires_grad for key, p in model.named_parameters()} == {
        key: ".lora_" in key or ".modules_to_save." in key for key in trained
    }
    assert all(same_bits(p.detach(), trained[key]) for key, p in model.named_parameters())


@pytest.mark.parametrize(
    ("method", "said"), [("lora", "no weight of kind 'query'"), ("far", "needs in every block a pair of Linear")]
)
def test_methods_that_want_the_weights_beneath_are_refused(method: str, said: str) -> None:
    model, batch = wrapped("BERT")
    with pytest.raises(UnsupportedModel, match=said):
        frostline.prepare(model, method, example=batch)


def _gradients(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(5)
    output = model(**batch)
    output.loss.backward()
    found = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return output.logits.detach(), found


def test_scales_of_ia3_are_adapters() -> None:
    model = peft.get_peft_model(
        ARCHITECTURES["BERT"].make(),
        peft.IA3Config(
            target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"], task_type="SEQ_CLS"
        ),
    )
    scales = {name for name, _ in model.named_parameters() if ".ia3_l." in name}
    assert scales
    assert adapters_of(discover(model).units) == scales


def test_an_encoder_decoder_is_traced_whatever_its_wrapper_takes() -> None:
    config = peft.LoraConfig(r=2, target_modules=["q", "v"])  # without task_type: forward(*args, **kwargs)
    model = peft.get_peft_model(ARCHITECTURES["T5"].make(), config)
    batch = {key: value for key, value in ARCHITECTURES["T5"].batch(torch.float32).items() if "decoder" not in key}
    assert adapters_of(discover(model, batch).units) == {key for key, _ in model.named_parameters() if ".lora_" in key}
