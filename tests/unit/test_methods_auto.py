"""Budgeted scheduling: what trains fits, what moves most trains, and what has not trained comes first."""

from __future__ import annotations

from typing import Any

import pytest

from frostline import prepare
from frostline.errors import ConfigError
from tiny_models import make_optimizer, tiny_bert, train


def _modules(tuner: Any) -> dict[str, int]:
    """Return the plain cost of each module outside the head."""
    costs: dict[str, int] = {}
    for unit in tuner.units:
        name = unit.name.rpartition(".")[0]
        costs[name] = costs.get(name, 0) + 16 * unit.parameter_count
    return costs


def test_a_set_never_costs_more_than_the_capacity() -> None:
    model = tiny_bert()
    tuner = prepare(model, "auto", capacity=60_000)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    costs, seen = _modules(tuner), set()
    for index in range(12):
        active = {name.rpartition(".")[0] for name in tuner.active}
        assert 0 < sum(costs[name] for name in active) <= 60_000
        seen |= active
        train(model, tuner, optimizer, 1, start=index)
    assert seen == {name for name, cost in costs.items() if cost <= 60_000}  # each of them got its turn


def test_the_head_always_trains_and_nothing_else_for_nothing() -> None:
    tuner = prepare(tiny_bert(), "auto", capacity=0)
    assert not tuner.active
    assert {unit.region for unit in tuner.always} == {"head"}


def test_depth_has_its_price() -> None:
    model = tiny_bert()
    costs = _modules(prepare(model, "auto"))
    dear, free = [10**6, 10**6, 0, 0], [0, 0, 0, 0]
    for prices, deepest in ((dear, 1), (free, 0)):
        fresh = tiny_bert()
        tuner = prepare(fresh, "auto", costs=costs, prices=prices, capacity=900_000)
        levels = {unit.block for unit in tuner.units if unit.name in tuner.active}
        assert (None in levels or 0 in levels) == (deepest == 0)


def test_what_moves_most_goes_on() -> None:
    model = tiny_bert()
    tuner = prepare(model, "auto", capacity=60_000)
    method = tuner._method
    names = list(_modules(tuner))
    method._distances.known = {method._judge[name]: 1.0 + index for index, name in enumerate(names)}
    method._choose()
    active = {name.rpartition(".")[0] for name in tuner.active}
    costs = _modules(tuner)
    affordable = [name for name in names if costs[name] <= 60_000]
    assert affordable[-1] in active
    assert affordable[0] not in active or sum(costs[name] for name in affordable) <= 60_000


def test_the_choice_holds_for_its_period() -> None:
    model = tiny_bert()
    tuner = prepare(model, "auto", capacity=60_000, every=3)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    sets = []
    for index in range(6):
        sets.append(tuner.active)
        train(model, tuner, optimizer, 1, start=index)
    assert sets[0] == sets[1] == sets[2]
    assert sets[3] == sets[4] == sets[5]
    assert sets[0] != sets[3]


def test_costs_of_another_model_are_refused() -> None:
    with pytest.raises(ConfigError, match="costs are of another model"):
        prepare(tiny_bert(), "auto", costs={"x": 1})
    with pytest.raises(ConfigError, match="on 7 levels"):
        prepare(tiny_bert(), "auto", prices=[0] * 7)


def test_what_has_no_cost_never_trains_and_the_optimizer_does_not_hold_it() -> None:
    model = tiny_bert()
    costs = _modules(prepare(tiny_bert(), "auto"))
    tables = [name for name in costs if name.endswith("embeddings")]
    assert tables
    for name in tables:
        del costs[name]
    tuner = prepare(model, "auto", costs=costs, capacity=sum(costs.values()))
    held = {id(parameter) for parameter in tuner.candidate_parameters()}
    frozen = [p for name, p in model.named_parameters() if name.rpartition(".")[0] in tables]
    assert frozen
    assert not any(id(parameter) in held for parameter in frozen)


def test_where_everything_fits_everything_trains_and_nothing_is_copied() -> None:
    model = tiny_bert()
    everything = sum(_modules(prepare(tiny_bert(), "auto")).values())
    tuner = prepare(model, "auto", capacity=2 * everything)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    train(model, tuner, optimizer, 2)
    assert tuner.active == {unit.name for unit in tuner.units}
    assert not tuner._method._distances.known
