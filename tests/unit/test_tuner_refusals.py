"""What a tuner refuses, by name, with the model left as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from frostline import prepare
from frostline.errors import ConfigError, PlanError, UnsupportedModel
from tiny_models import (
    METHOD_IDS,
    METHOD_SETTINGS,
    assert_same_weights,
    batch,
    make_optimizer,
    tiny_bert,
    weights,
)

every_method = pytest.mark.parametrize(("name", "settings"), METHOD_SETTINGS, ids=METHOD_IDS)


def test_preparing_twice_is_refused_until_finished() -> None:
    model = tiny_bert()
    tuner = prepare(model, "full")
    with pytest.raises(PlanError, match=r"prepared already; call finish\(\)"):
        prepare(model, "head")
    tuner.finish()
    prepare(model, "head")


def test_a_refused_preparation_leaves_the_model_free() -> None:
    model = tiny_bert()
    for refused, settings in (("layers", {"count": 99}), ("lisa", {"count": 99}), ("far", {"priming": 0})):
        with pytest.raises(ConfigError):
            prepare(model, refused, **settings)
        assert all(p.requires_grad for p in model.parameters())
    prepare(model, "full")


@pytest.mark.parametrize("how", ["wrapped", "in place"])
def test_a_compiled_model_is_refused(how: str) -> None:
    model: Any = tiny_bert()
    if how == "wrapped":
        model = torch.compile(model)
    else:
        model.compile()
    with pytest.raises(UnsupportedModel, match="compiled"):
        prepare(model, "full")


@pytest.mark.parametrize("attached", [False, True])
def test_a_model_that_is_compiled_later_is_refused_before_it_trains(attached: bool) -> None:
    model: Any = tiny_bert()
    tuner = prepare(model, "layers", count=1)
    optimizer = torch.optim.SGD(tuner.candidate_parameters(), lr=0.1)
    if attached:
        tuner.attach(optimizer)
    model.compile()
    with pytest.raises(UnsupportedModel, match="compiled"):
        tuner.before_step() if attached else tuner.attach(optimizer)


@pytest.mark.parametrize("storage", ["exact", "lossless"])
def test_a_model_that_is_wrapped_to_be_compiled_later_is_refused_when_it_runs(storage: str) -> None:
    model: Any = tiny_bert()
    tuner = prepare(model, "layers", count=1, storage=storage)
    tuner.attach(torch.optim.SGD(tuner.candidate_parameters(), lr=0.1))
    tuner.before_step()
    with pytest.raises(UnsupportedModel, match="compiled"):
        torch.compile(model, backend="eager")(**batch())
    torch._dynamo.reset()
    tuner.finish()
    torch.compile(model, backend="eager")(**batch())
    torch._dynamo.reset()


def test_a_weight_that_full_fine_tuning_does_not_find_is_named() -> None:
    model: Any = tiny_bert()
    model.attic = torch.nn.Linear(2, 2)
    with pytest.warns(UserWarning, match=r"attic\.weight, attic\.bias: not used .* give a batch that uses it"):
        prepare(model, "full")


@every_method
def test_an_optimizer_that_lacks_a_candidate_is_refused(name: str, settings: dict[str, Any]) -> None:
    model = tiny_bert()
    tuner = prepare(model, name, **settings)
    candidates = tuner.candidate_parameters()
    names = {id(p): n for n, p in model.named_parameters()}
    lacking = make_optimizer([p for p in model.parameters() if p is not candidates[-1]])
    with pytest.raises(PlanError, match=f"lacks 1 .*{names[id(candidates[-1])]}"):
        tuner.attach(lacking)
    tuner.attach(make_optimizer(candidates))  # the candidates alone are enough


def test_an_optimizer_made_before_lora_lacks_the_adapters() -> None:
    model = tiny_bert()
    optimizer = make_optimizer(model.parameters())
    with pytest.raises(PlanError, match="lora_A"):
        prepare(model, "lora").attach(optimizer)


def test_steps_out_of_order_are_refused() -> None:
    model = tiny_bert()
    tuner = prepare(model, "slimfit")
    with pytest.raises(PlanError, match="no optimizer is attached"):
        tuner.before_step()
    tuner.attach(make_optimizer(model.parameters()))
    with pytest.raises(PlanError, match=r"without before_step"):
        tuner.after_step()
    tuner.before_step()
    with pytest.raises(PlanError, match="twice"):
        tuner.before_step()
    tuner.after_step()
    assert tuner.step == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"method": "slimfitt"}, "did you mean 'slimfit'"),
        ({"method": "zzz"}, "valid names: auto, bitfit, far"),
        ({"method": "slimfit", "rat": 0.9}, "no setting 'rat'; did you mean 'rate'"),
        ({"method": "far", "retension": 0.9}, "did you mean 'retention'"),
        ({"method": "full", "rate": 0.9}, "it has no settings"),
        ({"method": "full", "optimizer_state": "ofload"}, "did you mean 'offload'"),
        ({"method": "slimfit", "rate": 1.0}, "rate=1.0 is refused"),
        ({"method": "slimfit", "rate": -0.1}, "rate=-0.1 is refused"),
        ({"method": "random", "rate": 1.5}, "rate=1.5 is refused"),
        ({"method": "far", "retention": 1.0}, "retention=1.0 is refused"),
        ({"method": "far", "retention": -0.5}, "retention=-0.5 is refused"),
        ({"method": "far", "priming": 1.0}, "priming=1.0 is refused"),
        ({"method": "far", "nodes": "inner"}, "nodes='inner' is refused"),
        ({"method": "far", "total_steps": 0}, "total_steps=0 is refused"),
        ({"method": "layers", "count": 3}, "count=3 is more than the model's 2 blocks"),
        ({"method": "layers", "count": -1}, "count=-1 is refused"),
        ({"method": "lisa", "count": 3}, "count=3 is more than the model's 2 blocks"),
        ({"method": "lisa", "count": 0}, "count=0 is refused"),
        ({"method": "lisa", "every": 0}, "every=0 is refused"),
        ({"method": "lora", "rank": 0}, "rank=0 is refused"),
        ({"method": "lora", "targets": ("quary",)}, "'quary' is no target; did you mean 'query'"),
        ({"method": "lora", "targets": ()}, r"targets=\(\) is refused"),
    ],
    ids=str,
)
def test_unknown_and_impossible_settings_are_named(call: dict[str, Any], said: str) -> None:
    model = tiny_bert()
    start = weights(model)
    with pytest.raises(ConfigError, match=said):
        prepare(model, **call)
    assert_same_weights(weights(model), start)
    assert all(p.requires_grad for p in model.parameters())


def test_a_state_of_something_else_is_refused() -> None:
    state = prepare(tiny_bert(), "slimfit", rate=0.75).state_dict()
    for model, call in (
        (tiny_bert(), {"method": "random", "rate": 0.75}),
        (tiny_bert(), {"method": "slimfit", "rate": 0.5}),
        (tiny_bert(), {"method": "slimfit", "rate": 0.75, "seed": 1}),
        (tiny_bert(num_hidden_layers=3), {"method": "slimfit", "rate": 0.75}),
        (tiny_bert(vocab_size=61), {"method": "slimfit", "rate": 0.75}),
    ):
        with pytest.raises(PlanError, match="this state is of method 'slimfit'"):
            prepare(model, **call).load_state_dict(state)
    prepare(tiny_bert(), "slimfit", rate=0.75, optimizer_state="release").load_state_dict(state)
