"""Budgets as people write them."""

from __future__ import annotations

import pytest

from frostline.budget import free_memory, parse_budget, times_inference, total_memory, written
from frostline.errors import BudgetError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2 * 10**9),
        ("2GiB", 2 * 2**30),
        ("600MiB", 600 * 2**20),
        ("600 MB", 600 * 10**6),
        ("1.5GiB", 3 * 2**29),
        ("2g", 2 * 10**9),
        (" .5 gib ", 2**29),
        ("123456", 123456),
        (123456, 123456),
    ],
)
def test_amounts(text: str | int, size: int) -> None:
    assert parse_budget(text) == size


_LOOKS_LIKE_ONE = ["1,5GiB", "1,500MiB", "1.5.5GiB", "2GiB!", "800MiB per step", "2GBit", "2Gbit", "-5", "1 GiB 2"]


@pytest.mark.parametrize(
    "text", ["2 bananas", "", "-1GB", "0", 0, -5, "NaN", "inf", 1.5, True, "1e3MB", "2GB2", "٢GiB", *_LOOKS_LIKE_ONE]
)
def test_what_is_no_amount_is_refused_by_name(text: str) -> None:
    with pytest.raises(BudgetError) as caught:
        parse_budget(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(("text", "times"), [("1.5x", 1.5), ("2 x", 2.0), ("1.15×", 1.15), ("0.5x", 0.5)])
def test_times_what_inference_takes(text: str, times: float) -> None:
    assert times_inference(text) == times


@pytest.mark.parametrize("text", ["2GiB", "x", "-1x", "1.5xx", "1e3x", "nanx", 2, "auto"])
def test_other_budgets_are_no_multiple(text: str | int) -> None:
    assert times_inference(text) is None


def test_no_times_inference_is_refused() -> None:
    with pytest.raises(BudgetError, match=r"'0\.0x' is nothing"):
        times_inference("0.0x")


def test_auto_is_what_is_free() -> None:
    assert 0 < parse_budget("auto") <= total_memory()
    assert parse_budget("auto") == pytest.approx(free_memory(), rel=0.2)


@pytest.mark.parametrize(
    ("size", "text"), [(3 * 2**29, "1.50 GiB"), (600 * 2**20, "600 MiB"), (12, "12 bytes"), (2**41, "2.00 TiB")]
)
def test_sizes_in_words(size: int, text: str) -> None:
    assert written(size) == text


@pytest.mark.parametrize("text", ["auto", " Auto "])
def test_auto_however_it_is_written(text: str) -> None:
    assert parse_budget(text) > 0


def test_other_limits_in_bytes_are_named() -> None:
    with pytest.raises(BudgetError, match="the upload '0' is 0 bytes"):
        parse_budget("0", "upload")
