"""SlimFit, its random control, and LISA: which units train at which step."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from frostline import Tuner, prepare
from frostline.anatomy import Anatomy, Unit
from frostline.errors import TrainingDiverged
from frostline.methods.distances import relative_change
from frostline.methods.random import Random
from frostline.methods.slimfit import SlimFit
from tiny_models import BLOCKS, batch, make_optimizer, tiny_bert, train, weights


def anatomy_of(units: int) -> Anatomy:
    """Return an anatomy of so many scheduled matrices and one bias."""
    matrices = [Unit.of_parameter(f"w{i}", i, "blocks", "linear", (2, 2)) for i in range(units)]
    bias = Unit.of_parameter("b", 0, "blocks", "bias", (2,))
    return Anatomy((*matrices, bias), tuple(f"block{i}" for i in range(units)), (), (), (), 4 * units + 2)


def scheduled(cls: type, units: int, rate: float, seed: int = 0) -> Any:
    method = cls(cls.Settings(rate=rate), seed)
    method.prepare(torch.nn.Module(), anatomy_of(units))
    return method


def run(method: SlimFit, values: dict[str, Tensor], moves: dict[str, float], step: int) -> frozenset[str]:
    """Do a step in which each active unit moves by its share; return what was active."""
    parameters: Any = values
    active = method.active(step)
    method.before(step, parameters)
    for name in active:
        values[name] = values[name] * (1 + moves[name])
    method.observe(step, values)
    return active


def expected_count(units: int, rate: float) -> int:
    return units - math.floor(Fraction(str(rate)) * units)  # a rate is meant in decimals


RATES = st.integers(0, 99).map(lambda percent: percent / 100)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 2, 3, 7, 37, 100, 101, 102]), RATES, st.integers(0, 3))
@example(102, 0.9, 0)
@example(100, 0.24, 3)
@example(100, 0.29, 0)  # 0.29 * 100 is 28.999999999999996
def test_slimfit_follows_the_rule(units: int, rate: float, seed: int) -> None:
    """Against the rule written out: unvisited units first, then the greatest distance; k at every step."""
    method = scheduled(SlimFit, units, rate, seed)
    k = expected_count(units, rate)
    values = {f"w{i}": torch.ones(2, 2, dtype=torch.float64) for i in range(units)}
    moves = {f"w{i}": (i * 7919 % 1009 + 1) / 1009 for i in range(units)}  # all different
    first = math.ceil(units / k)
    distances: dict[str, float] = {}
    for step in range(first + 3):
        active = run(method, values, moves, step)
        assert len(active) == k
        unvisited = set(values) - set(distances)
        if len(unvisited) >= k:
            assert active <= unvisited
        else:
            ranked = sorted(distances, key=lambda name: -distances[name])
            assert active == unvisited | set(ranked[: k - len(unvisited)])
        for name in active:
            distances[name] = moves[name]
            moves[name] /= math.e  # what trains calms down, others get their turn, and no two are ever equal
        assert step < first - 1 or set(distances) == set(values)  # every unit was visited by now
        assert method.state_dict()["distances"] == pytest.approx(distances, rel=1e-6)


def test_slimfit_visits_in_an_order_that_the_seed_decides() -> None:
    def order(seed: int) -> list[frozenset[str]]:
        method = scheduled(SlimFit, 37, 0.9, seed)
        values, moves = {f"w{i}": torch.ones(2, 2) for i in range(37)}, {f"w{i}": 0.1 for i in range(37)}
        return [run(method, values, moves, step) for step in range(9)]

    assert order(0) == order(0)
    assert order(0) != order(1)


def test_slimfit_a_frozen_unit_keeps_its_last_distance() -> None:
    model = tiny_bert()
    tuner = prepare(model, "slimfit", rate=0.75)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    seen: dict[str, float] = {}
    for index in range(12):
        active = tuner.active
        train(model, tuner, optimizer, 1, start=index)
        distances = tuner.state_dict()["method"]["distances"]
        assert set(distances) == set(seen) | active
        assert {n: d for n, d in distances.items() if n not in active} == {
            n: d for n, d in seen.items() if n not in active
        }
        seen = dict(distances)


def test_slimfit_measures_the_relative_change_of_the_step() -> None:
    model = tiny_bert()
    tuner = prepare(model, "slimfit", rate=0.75)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    before, active = weights(model), tuner.active
    train(model, tuner, optimizer, 1)
    after, distances = weights(model), tuner.state_dict()["method"]["distances"]
    for name in active:
        old, new = before[name].double(), after[name].double()
        present = old != 0
        expected = ((new - old)[present].abs() / old[present].abs()).mean().item()
        assert distances[name] == pytest.approx(expected, rel=1e-5)  # float32 has 1e-7; some hundred terms


def test_slimfit_equal_distances_do_not_depend_on_the_order_of_the_saved_state() -> None:
    """A learning rate of 0 makes all distances 0; a Trainer writes its state with sorted keys."""
    for seed in range(5):
        model = tiny_bert()
        tuner = prepare(model, "slimfit", rate=0.75, seed=seed)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        tuner.attach(optimizer)
        train(model, tuner, optimizer, 6)
        other = prepare(tiny_bert(), "slimfit", rate=0.75, seed=seed)
        other.load_state_dict(json.loads(json.dumps(tuner.state_dict(), sort_keys=True)))
        assert other.active == tuner.active


def test_slimfit_stops_when_weights_are_no_longer_finite() -> None:
    model = tiny_bert()
    tuner = prepare(model, "slimfit", rate=0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=float("inf"))
    tuner.attach(optimizer)
    with pytest.raises(TrainingDiverged, match="no longer finite after step 0"):
        train(model, tuner, optimizer, 1)


def copies(method: SlimFit) -> set[str]:
    holders = [v for v in vars(method._distances).values() if isinstance(v, dict)]
    return {name for held in holders for name, value in held.items() if isinstance(value, Tensor)}


def test_slimfit_holds_a_copy_of_the_active_units_alone_and_only_in_a_step() -> None:
    method = scheduled(SlimFit, 10, 0.8)
    values: Any = {f"w{i}": torch.ones(2, 2) for i in range(10)}
    method.before(0, values)
    assert copies(method) == set(method.active(0))
    method.observe(0, values)
    assert not copies(method)


# The distance itself

_NUMBERS = st.floats(-1e3, 1e3, allow_nan=False, width=32).map(lambda x: 0.0 if abs(x) < 1e-3 else x)


def naive(old: list[float], new: list[float]) -> float:
    pairs = [(a, b) for a, b in zip(old, new, strict=True) if a != 0]
    if not pairs:
        return float(any(a != b for a, b in zip(old, new, strict=True)))
    return math.fsum(abs(b - a) / abs(a) for a, b in pairs) / len(pairs)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(_NUMBERS, _NUMBERS), min_size=1, max_size=40), st.booleans())
@example([(0.0, 0.0)], False)
@example([(0.0, 1.0)], False)
@example([(0.0, 1.0), (2.0, 3.0)], True)
@example([(-0.0, 5.0), (-2.0, 2.0)], False)
def test_relative_change_is_the_naive_formula(pairs: list[tuple[float, float]], double: bool) -> None:
    old, new = [a for a, _ in pairs], [b for _, b in pairs]
    dtype = torch.float64 if double else torch.float32
    measured = relative_change(torch.tensor(old, dtype=dtype), torch.tensor(new, dtype=dtype))
    # A difference of two float32 numbers is rounded to 6e-8 of the greater one, which may be 1e6 times the quotient's
    assert measured == pytest.approx(naive(old, new), rel=1e-12 if double else 1e-5, abs=0 if double else 1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("zeros", [False, True])
def test_relative_change_over_many_chunks_and_dtypes(dtype: torch.dtype, zeros: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    old = (torch.rand(3, 70_001, generator=generator) + 0.5).to(dtype)
    new = (old.float() * 1.25).to(dtype)
    if zeros:
        old[:, ::3] = 0
    present = old != 0
    expected = ((new.double() - old.double()).abs()[present] / old.double().abs()[present]).mean().item()
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 2e-2}.get(dtype, 1e-5)  # rounding of one quotient
    assert relative_change(old, new) == pytest.approx(expected, rel=tolerance)


def test_relative_change_of_a_quotient_beyond_float32_is_finite() -> None:
    assert relative_change(torch.tensor([1e-38]), torch.tensor([1e5])) == pytest.approx(1e43, rel=1e-3)


# Random


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([1, 2, 7, 37, 102]), RATES, st.integers(0, 50))
def test_random_trains_the_right_number(units: int, rate: float, step: int) -> None:
    method = scheduled(Random, units, rate)
    assert len(method.active(step)) == expected_count(units, rate)
    assert method.active(step) <= {f"w{i}" for i in range(units)}


def test_random_differs_between_steps_and_seeds_and_is_reproducible() -> None:
    draws = [scheduled(Random, 37, 0.9, seed).active(step) for seed in (0, 1) for step in range(10)]
    assert len(set(draws)) == len(draws)
    assert [scheduled(Random, 37, 0.9, seed).active(step) for seed in (0, 1) for step in range(10)] == draws
    reached = frozenset[str]().union(*(scheduled(Random, 37, 0.9).active(step) for step in range(100)))
    assert len(reached) == 37


@pytest.mark.parametrize("name", ["slimfit", "random"])
def test_biases_and_the_final_norm_always_train(name: str) -> None:
    tuner = prepare(tiny_bert(), name, rate=0.9)
    assert {unit.kind for unit in tuner.always} == {"bias"}
    assert {unit.kind for unit in tuner.units} >= {"embedding", "norm", "query", "ffn_in", "linear"}
    assert len(tuner.units) + len(tuner.always) == len(list(tiny_bert().parameters()))


# LISA


def blocks_of(tuner: Tuner) -> frozenset[int]:
    depths = frozenset(tuner.anatomy.unit(name).block for name in tuner.active)
    assert tuner.active == {unit.name for unit in tuner.units if unit.block in depths}  # blocks train whole
    assert None not in depths
    return depths


def test_lisa_draws_blocks_anew_every_period() -> None:
    model = tiny_bert(num_hidden_layers=5)
    tuner = prepare(model, "lisa", count=2, every=3)
    optimizer = make_optimizer(model.parameters())
    tuner.attach(optimizer)
    drawn = []
    for index in range(30):
        drawn.append(blocks_of(tuner))
        train(model, tuner, optimizer, 1, start=index)
    periods = [drawn[i : i + 3] for i in range(0, 30, 3)]
    assert all(len(set(period)) == 1 for period in periods)
    assert all(len(blocks) == 2 for blocks in drawn)
    assert len({period[0] for period in periods}) > 3
    assert frozenset[int]().union(*drawn) == set(range(5))


def test_lisa_always_trains_embeddings_and_head() -> None:
    tuner = prepare(tiny_bert(), "lisa", count=1)
    assert {unit.region for unit in tuner.always} == {"embeddings", "head"}
    assert {unit.region for unit in tuner.units} == {"blocks"}


def test_lisa_is_reproducible_by_seed() -> None:
    def draws(seed: int) -> list[frozenset[str]]:
        tuner = prepare(tiny_bert(num_hidden_layers=4), "lisa", count=1, every=1, seed=seed)
        return [tuner._method.active(step) for step in range(20)]

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)


def test_lisa_with_all_blocks_is_full() -> None:
    tuner = prepare(tiny_bert(), "lisa", count=BLOCKS)
    assert tuner.trainable_parameters == tuner.anatomy.parameter_count == tuner.plan.trainable_parameters


def test_random_choices_leave_global_generators_alone() -> None:
    """The data order and dropout of a run do not depend on the method's seed."""
    import random

    for name in ("slimfit", "random", "lisa", "far", "lora"):
        model = tiny_bert()
        state, python = torch.get_rng_state(), random.getstate()
        tuner = prepare(model, name, **{"far": {"choose": "random", "priming": 0}, "lisa": {"count": 1}}.get(name, {}))
        optimizer = make_optimizer(model.parameters())
        tuner.attach(optimizer)
        tuner.before_step()
        model(**batch()).loss.backward()
        optimizer.step()
        tuner.after_step()
        assert torch.get_rng_state().equal(state), name
        assert random.getstate() == python, name
