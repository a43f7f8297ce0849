"""Going on from saved states equals never having stopped, bit for bit, in whichever order the states are loaded."""

from __future__ import annotations

import copy
import io
import json
from typing import Any

import pytest
import torch

from frostline import Tuner, prepare
from tiny_models import assert_same_weights, make_optimizer, tiny_bert, train, weights

STEPS = 8
CASES: list[tuple[str, dict[str, Any]]] = [
    ("full", {}),
    ("slimfit", {"rate": 0.75}),
    ("random", {"rate": 0.75}),
    ("lisa", {"count": 1, "every": 2}),
    ("far", {"retention": 0.25, "priming": 0.3, "total_steps": 10, "nodes": "hidden"}),
    ("far", {"retention": 0.25, "priming": 0.3, "total_steps": 10, "nodes": "output"}),
    ("far", {"retention": 0.25, "priming": 0.0, "choose": "random"}),
    # so many learners that the second layer keeps its shape, 32 of 32 rows, while the first has 47 of 48
    ("far", {"retention": 0.97, "priming": 0.3, "total_steps": 10, "nodes": "output"}),
]
IDS = ["-".join(str(value) for value in (name, *settings.values())) for name, settings in CASES]


def make(name: str, settings: dict[str, Any], kind: str, **how: Any) -> tuple[Any, Tuner, torch.optim.Optimizer]:
    model = tiny_bert(dropout=0.1, **how.pop("config", {}))
    tuner = prepare(model, name, **how, **settings)
    return model, tuner, make_optimizer(model.parameters(), kind)


def through_a_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def check(
    name: str,
    settings: dict[str, Any],
    cut: int,
    *orders: str,
    kind: str = "adamw",
    policy: str = "keep",
    config: dict[str, Any] | None = None,
) -> None:
    how: dict[str, Any] = {"optimizer_state": policy, "config": config or {}}
    model, tuner, optimizer = make(name, settings, kind, **how)
    tuner.attach(optimizer)
    torch.manual_seed(11)
    train(model, tuner, optimizer, cut)
    saved = through_a_file({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    schedule = json.loads(json.dumps(tuner.state_dict(), sort_keys=True))  # as a Trainer writes it
    generator = torch.get_rng_state()
    train(model, tuner, optimizer, STEPS - cut, start=cut)
    expected, state = weights(model), tuner.state_dict()

    for order in orders:
        model, tuner, optimizer = make(name, settings, kind, **how)
        if order != "attach late":
            tuner.attach(optimizer)
        for part in ("model", "optimizer", "tuner") if order == "tuner last" else ("tuner", "optimizer", "model"):
            if part == "tuner":
                tuner.load_state_dict(schedule)
                if order == "attach late":  # an optimizer made for the structure as it is now
                    optimizer = make_optimizer(model.parameters(), kind)
                    tuner.attach(optimizer)
            else:
                {"model": model, "optimizer": optimizer}[part].load_state_dict(copy.deepcopy(saved[part]))
        assert tuner.step == cut
        torch.set_rng_state(generator)
        train(model, tuner, optimizer, STEPS - cut, start=cut)
        assert_same_weights(weights(model), expected)
        assert tuner.state_dict() == state


@pytest.mark.parametrize("cut", [1, 6])
@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
def test_continuing_equals_never_having_stopped(name: str, settings: dict[str, Any], cut: int) -> None:
    check(name, settings, cut, "tuner first", "tuner last")


@pytest.mark.parametrize(("name", "settings"), [CASES[1], CASES[4], CASES[5]], ids=[IDS[1], IDS[4], IDS[5]])
def test_an_optimizer_made_after_the_tuners_state_is_loaded_resumes_too(name: str, settings: dict[str, Any]) -> None:
    check(name, settings, 6, "attach late")


@pytest.mark.parametrize("order", ["tuner first", "tuner last"])
def test_columns_of_a_square_layer_resume_in_their_own_order(order: str) -> None:
    """Where all hidden units learn and there are as many as outside, moments have one shape and lie transposed."""
    settings = {"retention": 0.99, "priming": 0.3, "total_steps": 10, "nodes": "hidden"}
    check("far", settings, 5, order, config={"intermediate_size": 32})


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("policy", ["release", "offload"])
def test_whatever_becomes_of_the_state_of_frozen_units(policy: str, kind: str) -> None:
    check("slimfit", {"rate": 0.75}, 4, "tuner first", "tuner last", kind=kind, policy=policy)


@pytest.mark.parametrize("policy", ["keep", "release", "offload"])
def test_going_back_within_a_run_goes_on_from_there(policy: str) -> None:
    model, tuner, optimizer = make("slimfit", {"rate": 0.75}, "adamw", optimizer_state=policy)
    tuner.attach(optimizer)
    train(model, tuner, optimizer, 4)
    saved = through_a_file({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    schedule, generator = tuner.state_dict(), torch.get_rng_state()
    results = []
    for _ in range(2):
        train(model, tuner, optimizer, 8, start=4)
        results.append(weights(model))
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(copy.deepcopy(saved["optimizer"]))
        tuner.load_state_dict(schedule)
        torch.set_rng_state(generator)
    assert_same_weights(*results)


def test_a_state_taken_at_the_boundary_is_before_the_decision() -> None:
    """Priming of 3 steps, stopped after the third: the decision is taken by the run that goes on."""
    settings = {"retention": 0.25, "priming": 0.3, "total_steps": 10}
    model, tuner, optimizer = make("far", settings, "adamw")
    tuner.attach(optimizer)
    train(model, tuner, optimizer, 3)
    assert not tuner.state_dict()["method"]["learners"]
    check("far", settings, 3, "tuner last")
