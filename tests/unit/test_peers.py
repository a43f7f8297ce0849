"""What every rival method must do: learn, follow its seed, give the plain model back, and be refused by name."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

from frostline import prepare
from frostline.errors import ConfigError, PlanError, UnsupportedModel
from frostline.methods import base
from peer_methods import CLASSES, PEERS, optimizer_of, params, prepared
from tiny_models import assert_same_weights, batch, family, tiny_bert, train, weights


def test_every_peer_is_listed_here() -> None:
    assert set(CLASSES) == set(PEERS)
    for name, cls in CLASSES.items():
        assert issubclass(cls, base.Method)
        assert (cls.name, bool(cls.summary), "arXiv" in cls.source) == (name, True, True)


@pytest.mark.parametrize("name", params())
def test_it_learns_and_gives_the_plain_model_back(name: str) -> None:
    model, tuner, optimizer = prepared(name)
    stock = tiny_bert()
    losses = []
    for _ in range(40):
        tuner.before_step()
        loss = model(**batch()).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        tuner.after_step()
        optimizer.zero_grad()
    assert losses[-1] < 0.5 * losses[0]
    logits = model.eval()(**batch(3)).logits
    tuner.finish()
    torch.testing.assert_close(model(**batch(3)).logits, logits, rtol=1e-5, atol=1e-5)
    assert list(weights(model)) == list(weights(stock))
    assert [(n, type(m)) for n, m in model.named_modules()] == [(n, type(m)) for n, m in stock.named_modules()]
    assert not any("forward" in vars(module) for module in model.modules())
    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())
    assert all(p.requires_grad for p in model.parameters())
    assert not model.is_activation_checkpointing
    prepare(model, "full")  # and another method can follow


@pytest.mark.parametrize("name", params())
def test_a_run_is_its_seed_s_and_leaves_global_generators_alone(name: str) -> None:
    def run(noise: int) -> dict[str, torch.Tensor]:
        model = tiny_bert()
        torch.manual_seed(noise)
        state = torch.get_rng_state()
        _, tuner, optimizer = prepared(name, model)
        train(model, tuner, optimizer, 6)
        assert torch.get_rng_state().equal(state)
        return weights(tuner.finish())

    assert_same_weights(run(1), run(2))


@pytest.mark.parametrize("name", params())
@pytest.mark.parametrize("kind", ["distilbert", "roberta", "electra", "vit"])
def test_it_finds_its_weights_in_every_family(name: str, kind: str) -> None:
    model = family(kind).train()
    tuner = prepare(model, CLASSES[name], **PEERS[name][1])
    optimizer = optimizer_of(tuner, PEERS[name][2])
    tuner.attach(optimizer)
    inputs: Any = (
        batch() if kind != "vit" else {"pixel_values": torch.randn(4, 3, 16, 16), "labels": torch.arange(4) % 2}
    )
    before = weights(model)
    for _ in range(2):
        tuner.before_step()
        model(**inputs).loss.backward()
        optimizer.step()
        tuner.after_step()
        optimizer.zero_grad()
    assert [n for n, v in weights(model).items() if not v.equal(before[n])]
    tuner.finish()


@pytest.mark.parametrize("name", ["ia3", "vera", "lora_checkpointing"])
def test_adapters_of_a_target_that_the_model_lacks_are_refused(name: str) -> None:
    model = tiny_bert()
    with pytest.raises(UnsupportedModel, match=f"method {name!r}: no weight of kind 'query_key_value' was found"):
        prepare(model, CLASSES[name], targets=("query_key_value",))
    assert not model.is_activation_checkpointing
    assert list(weights(model)) == list(weights(tiny_bert()))


@pytest.mark.parametrize(("name", "adapters"), [("ia3", 2 * (32 + 32 + 48)), ("vera", 2 * 2 * (8 + 32))])
def test_adapters_and_head_are_all_that_trains(name: str, adapters: int) -> None:
    model, tuner, _ = prepared(name)
    assert sum(unit.parameter_count for unit in tuner.units if unit.kind == "adapter") == adapters
    assert {unit.region for unit in tuner.units if unit.kind != "adapter"} == {"head"}
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == tuner.plan.trainable_parameters


def test_vera_s_matrices_follow_the_seed_and_are_not_saved() -> None:
    def merged(seed: int) -> torch.Tensor:
        model = tiny_bert()
        tuner = prepare(model, CLASSES["vera"], seed=seed, rank=8)
        assert not [name for name in model.state_dict() if "vera_A" in name or "vera_B" in name]
        optimizer = optimizer_of(tuner, 0.1)
        tuner.attach(optimizer)
        train(model, tuner, optimizer, 3)
        return tuner.finish().bert.encoder.layer[0].attention.self.query.weight.detach()

    assert merged(0).equal(merged(0))
    assert not merged(0).equal(merged(1))


def test_a_package_that_is_missing_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.import_module

    def missing(name: str, package: str | None = None) -> Any:
        if name.startswith("bitsandbytes"):
            raise ModuleNotFoundError("No module named 'bitsandbytes'")
        return found(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"'adamw8bit' needs bitsandbytes .*pip install 'frostline\[peers\]'"):
        prepare(tiny_bert(), CLASSES["adamw8bit"])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("galore", {"rank": 0}),
        ("wtacrs", {"share": 0.0}),
        ("wtacrs", {"share": 1.5}),
        ("badam", {"order": "sideways"}),
        ("adalomo", {"floor": 0}),
        ("vera", {"initial": 0}),
    ],
)
def test_values_out_of_range_are_refused(name: str, settings: dict[str, Any]) -> None:
    (key,) = settings
    with pytest.raises(ConfigError, match=f"method {name!r}: {key}="):
        prepare(tiny_bert(), CLASSES[name], **settings)


def test_badam_wants_its_own_optimizer() -> None:
    model = tiny_bert()
    tuner = prepare(model, CLASSES["badam"])
    tuner.attach(torch.optim.AdamW(model.parameters()))
    with pytest.raises(PlanError, match=r"tuner\.own_optimizer"):
        tuner.before_step()
