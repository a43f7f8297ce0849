"""The methods whose set never changes, methods of one's own, and the table of methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from frostline import Method, Unit, methods, prepare
from frostline.errors import ConfigError, PlanError
from frostline.methods.base import ConstantMethod
from tiny_models import BLOCKS, batch, make_optimizer, same_bits, tiny_bert, train, weights


def active_names(name: str, **settings: Any) -> set[str]:
    tuner = prepare(tiny_bert(), name, **settings)
    assert tuner.always == ()
    assert tuner.active == {unit.name for unit in tuner.units if unit.name in tuner.active}
    return set(tuner.active)


HEAD = {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}
ALL = [name for name, _ in tiny_bert().named_parameters()]


def test_full_trains_everything() -> None:
    assert active_names("full") == set(ALL)


def test_head_trains_what_runs_after_the_last_block() -> None:
    assert active_names("head") == HEAD


def test_bitfit_trains_biases_and_head() -> None:
    assert active_names("bitfit") == {name for name in ALL if name.endswith(".bias")} | HEAD


@pytest.mark.parametrize("count", range(BLOCKS + 1))
def test_layers_trains_the_last_blocks_and_the_head(count: int) -> None:
    top = tuple(f"bert.encoder.layer.{depth}." for depth in range(BLOCKS - count, BLOCKS))
    assert active_names("layers", count=count) == {name for name in ALL if name.startswith(top)} | HEAD


def test_layers_keeps_nothing_for_backward_below_the_lowest_trained_block() -> None:
    def saved(count: int) -> int:
        model = tiny_bert()
        prepare(model, "layers", count=count)
        own, sizes = {p.data_ptr() for p in model.parameters()}, {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.data_ptr() not in own:
                sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model(**batch()).loss
        assert loss.requires_grad
        return sum(sizes.values())

    head, one, two = saved(0), saved(1), saved(2)
    assert head < (one - head) / 4  # the head keeps a few vectors, a block its every operation
    assert 1.7 < (two - head) / (one - head) < 2.3


class _Bare(nn.Module):
    """Two blocks without a bias, and nothing after them."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Embedding(9, 8)
        self.stack = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 12, bias=False), nn.ReLU(), nn.Linear(12, 8, bias=False)) for _ in range(2)
        )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.look(ids)
        for block in self.stack:
            x = x + block(x)
        return x


@pytest.mark.parametrize("name", ["bitfit", "head"])
def test_a_method_that_would_train_nothing_is_refused(name: str) -> None:
    model = _Bare()
    with pytest.raises(PlanError, match=f"method '{name}' with these settings would train nothing"):
        prepare(model, name, example={"ids": torch.zeros(1, 3, dtype=torch.long)})
    assert all(p.requires_grad for p in model.parameters())
    prepare(model, "full", example={"ids": torch.zeros(1, 3, dtype=torch.long)})


# A method of one's own


class Checkerboard(Method):
    """Every second unit at even steps, the others at odd ones."""

    name = "checkerboard"
    summary = "every second unit, in turn"
    source = "a test"

    def active(self, step: int) -> frozenset[str]:
        return frozenset(unit.name for unit in self.units()[step % 2 :: 2])


class Norms(ConstantMethod):
    name = "norms"
    summary = "norms"
    source = "a test"

    def trained(self, anatomy: Any) -> tuple[Unit, ...]:
        return tuple(unit for unit in anatomy.units if unit.kind == "norm")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Method]], type[Method]]:
    """Return `methods.register`, on a table that is forgotten after the test."""
    monkeypatch.setattr(methods, "_registered", {})
    return methods.register


def test_a_method_class_of_ones_own_goes_through_prepare() -> None:
    model = tiny_bert()
    tuner = prepare(model, Checkerboard)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    names = [unit.name for unit in tuner.units]
    for index in range(4):
        before, due = weights(model), set(names[index % 2 :: 2])
        assert tuner.active == due
        train(model, tuner, optimizer, 1, start=index)
        changed = {n for n, value in before.items() if not same_bits(value, model.state_dict()[n])}
        assert changed <= due
        assert {n for n in due if n.endswith(".weight")} <= changed
    assert tuner.plan.method == "checkerboard"
    assert tuner.plan.trainable_parameters == sum(unit.parameter_count for unit in tuner.units[::2])


def test_a_registered_method_is_known_by_name(registry: Callable[[type[Method]], type[Method]]) -> None:
    assert registry(Norms) is Norms
    assert methods.names() == (*methods.BUILT_IN, "norms")
    assert methods.get("norms") is Norms
    tuner = prepare(tiny_bert(), "norms")
    assert {unit.kind for unit in tuner.units if unit.name in tuner.active} == {"norm"}
    with pytest.raises(ConfigError, match="did you mean 'norms'"):
        methods.get("nroms")
    with pytest.raises(ConfigError, match="'norms' exists already"):
        registry(Norms)


def test_a_built_in_name_cannot_be_taken(registry: Callable[[type[Method]], type[Method]]) -> None:
    with pytest.raises(ConfigError, match="'full' exists already"):
        registry(type("Mine", (Norms,), {"name": "full"}))


def test_every_built_in_method_describes_itself() -> None:
    for name in methods.BUILT_IN:
        method = methods.get(name)
        assert method.name == name
        assert method.__module__ == f"frostline.methods.{name}"
        assert method.summary
        assert method.source
        assert all(field.description for field in method.Settings.model_fields.values())
