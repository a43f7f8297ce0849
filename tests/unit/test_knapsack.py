"""The knapsack with depths: as good as trying every set, and never over its limit."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.methods.knapsack import CELLS, affordable, best_set

Item = tuple[int, int, int]  # value, cost, level


def _cost(chosen: list[int], items: list[Item], prices: list[int]) -> int:
    return sum(items[i][1] for i in chosen) + (prices[min(items[i][2] for i in chosen)] if chosen else 0)


@st.composite
def _problems(draw: st.DrawFn, largest: int) -> tuple[list[Item], list[int], int]:
    levels = draw(st.integers(1, 4))
    steps = draw(st.lists(st.integers(0, largest // 4), min_size=levels, max_size=levels))
    prices = [sum(steps[level:]) for level in range(levels)]
    item = st.tuples(st.integers(0, 50), st.integers(0, largest // 2), st.integers(0, levels - 1))
    return draw(st.lists(item, max_size=8)), prices, draw(st.integers(0, largest))


def _solve(items: list[Item], prices: list[int], limit: int) -> list[int]:
    return best_set([v for v, _, _ in items], [c for _, c, _ in items], [at for _, _, at in items], prices, limit)


@settings(deadline=None, max_examples=200)
@given(_problems(largest=CELLS))
def test_the_best_of_all_sets(problem: tuple[list[Item], list[int], int]) -> None:
    items, prices, limit = problem
    found = _solve(items, prices, limit)
    sets = (list(chosen) for n in range(len(items) + 1) for chosen in combinations(range(len(items)), n))
    best = max(
        sum(items[i][0] for i in chosen) for chosen in sets if not chosen or _cost(chosen, items, prices) <= limit
    )
    assert sum(items[i][0] for i in found) == best


@settings(deadline=None, max_examples=100)
@given(_problems(largest=10**10))
def test_never_over_the_limit(problem: tuple[list[Item], list[int], int]) -> None:
    items, prices, limit = problem
    found = _solve(items, prices, limit)
    assert not found or _cost(found, items, prices) <= limit


@pytest.mark.parametrize("limit", [0, 1])
def test_nothing_fits(limit: int) -> None:
    assert _solve([(5, 3, 0)], [2, 0], limit) == []


def test_a_deeper_item_is_worth_its_price_or_not() -> None:
    items = [(10, 2, 0), (6, 2, 1), (5, 2, 1)]
    assert _solve(items, [4, 0], 4) == [1, 2]  # two above, as the deep one costs six
    assert _solve(items, [4, 0], 8) == [0, 1]


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_what_is_affordable_is_taken(cost: int, price: int) -> None:
    assert _solve([(1, cost, 0)], [price], affordable(cost + price)) == [0]
