"""How far replies move the weights in a step, and which of them is not believed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.federated.pace import Pace, pace_of


def test_it_is_the_mean_way_of_a_weight_in_a_step() -> None:
    base = {"a": np.zeros((2, 2), np.float32), "b": np.zeros(2, np.float32), "not sent": np.ones(9, np.float32)}
    moved = {"a": np.full((2, 2), 3, np.float32), "b": np.full(2, -3, np.float32)}
    assert pace_of(moved, base, 4) == pytest.approx(0.75)


def test_until_something_is_known_all_is_believed_and_where_nothing_moves_too() -> None:
    assert Pace(20).most([]) == math.inf
    assert Pace(20).most([0.0, 0.0]) == math.inf


@given(st.lists(st.floats(0.1, 1), min_size=2, max_size=20), st.integers(0, 9))
def test_one_that_is_a_thousand_times_too_large_is_told_from_all_others(paces: list[float], place: int) -> None:
    """Wherever it is among those that come together, and though no reply came before."""
    spoilt = list(paces)
    spoilt[place % len(paces)] *= 1000
    most = Pace(20).most(spoilt)
    assert [pace for pace in spoilt if pace > most] == [spoilt[place % len(paces)]]


def test_one_alone_is_held_against_those_of_rounds_before() -> None:
    log = [{"devices": [{"reply": "ok", "pace": 1.0}, {"reply": "late"}, {"reply": "norm", "pace": 1e3}]}] * 3
    pace = Pace.after(log, 20)
    assert pace.most([1000.0]) == 20
    pace.add(2.0)
    assert pace.most([]) == 20
