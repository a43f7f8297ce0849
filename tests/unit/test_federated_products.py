"""Adapters as products: taken apart, they give back the product, or the best that the rank allows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.errors import ConfigError
from frostline.federated.config import make_federate_config
from frostline.federated.parts import cut
from frostline.federated.products import factored, multiplied, named

A, B, PRODUCT = "q.lora_A.frostline.weight", "q.lora_B.frostline.weight", "q.lora_BA.frostline.weight"
sizes = st.integers(1, 7)


def factors(rank: int, inputs: int, outputs: int, seed: int = 0) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(seed)
    first, second = chance.standard_normal((rank, inputs)), chance.standard_normal((outputs, rank))
    return {A: first.astype(np.float32), B: second.astype(np.float32), "head.weight": np.ones(3, np.float32)}


@settings(deadline=None)
@given(rank=sizes, inputs=sizes, outputs=sizes)
def test_factors_of_the_same_rank_give_the_product_again(rank: int, inputs: int, outputs: int) -> None:
    rank = min(rank, inputs, outputs)
    before = factors(rank, inputs, outputs)
    after = factored(multiplied(before), before)
    assert {name: value.shape for name, value in after.items()} == {n: v.shape for n, v in before.items()}
    assert {value.dtype for value in after.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(after[B] @ after[A], before[B] @ before[A], atol=1e-4)  # float32, norms of a few tens


@settings(deadline=None)
@given(kept=st.integers(1, 4))
def test_the_corner_of_a_lower_rank_is_its_best_approximation(kept: int) -> None:
    before = factors(4, 6, 5)
    after = factored(multiplied(before), before)
    mine = cut(after[B], (5, kept)) @ cut(after[A], (kept, 6))
    rest = np.linalg.svd(before[B] @ before[A], compute_uv=False)[kept:]
    lost = float(np.linalg.norm(before[B] @ before[A] - mine))
    assert lost == pytest.approx(float(np.linalg.norm(rest)), abs=1e-4)  # Eckart and Young


def test_an_adapter_that_adds_nothing_can_still_learn() -> None:
    before = factors(3, 6, 5)
    before[B][:] = 0
    after = factored(multiplied(before), before)
    assert not after[B].any()
    np.testing.assert_allclose(after[A] @ after[A].T, np.eye(3), atol=1e-5)


def test_names_are_those_of_the_arrays() -> None:
    before = factors(2, 4, 3)
    assert sorted(named(before)) == sorted(multiplied(before)) == ["head.weight", PRODUCT]
    assert multiplied(before)["head.weight"] is before["head.weight"]


def test_a_server_optimizer_that_moves_factors_is_refused() -> None:
    fleet = {"groups": [{"name": "a", "count": 2}]}
    values = {"depths": [2], "output": "out", "fleet": fleet, "rule": "flexlora", "server_optimizer": "fedadam"}
    with pytest.raises(ConfigError, match="fedadam moves factors"):
        make_federate_config(values)
