"""Budgets as people write them."""

from __future__ import annotations

import pytest

from frostline.budget import free_memory, parse_budget, total_memory, written
from frostline.errors import BudgetError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2 * 10**9),
        ("2GiB", 2 * 2**30),
        ("600MiB", 600 * 2**20),
        ("600 MB", 600 * 10**6),
        ("1.5GiB", 3 * 2**29),
        ("123456", 123456),
        (123456, 123456),
    ],
)
def test_amounts(text: str | int, size: int) -> None:
    assert parse_budget(text) == size


@pytest.mark.parametrize("text", ["2 bananas", "", "-1GB", "0", 0, -5, "NaN", "inf", 1.5, True, "1e3MB", "2GB2"])
def test_what_is_no_amount_is_refused_by_name(text: str) -> None:
    with pytest.raises(BudgetError) as caught:
        parse_budget(text)
    assert repr(text) in str(caught.value)


def test_auto_is_what_is_free() -> None:
    assert 0 < parse_budget("auto") <= total_memory()
    assert parse_budget("auto") == pytest.approx(free_memory(), rel=0.2)


@pytest.mark.parametrize(
    ("size", "text"), [(3 * 2**29, "1.50 GiB"), (600 * 2**20, "600 MiB"), (12, "12 bytes"), (2**41, "2.00 TiB")]
)
def test_sizes_in_words(size: int, text: str) -> None:
    assert written(size) == text
