"""The parts of the charts that can be told without looking: labels, activity, smoothing, numbers as text."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.report import numbers
from frostline.report.activity import activity
from frostline.report.charts.labels import fitted, place_labels, text_width
from frostline.report.charts.scatter import scatter
from frostline.report.smoothing import POINTS, smoothed, thinned
from frostline.report.summary import Entry
from frostline.report.values import Steps

FRAME = (0.0, 0.0, 800.0, 400.0)


def test_labels_hide_neither_points_nor_each_other() -> None:
    draw = random.Random(3)
    points = [(draw.uniform(60, 740), draw.uniform(40, 360)) for _ in range(22)]
    texts = [f"method{index}" for index in range(22)]
    boxes = []
    for label, text in zip(place_labels(points, texts, FRAME), texts, strict=True):
        half = text_width(text, 11) / 2
        boxes.append((label.x - half, label.y - 6, label.x + half, label.y + 6))
    for one, other in itertools.combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    for left, bottom, right, top in boxes:
        assert FRAME[0] <= left
        assert right <= FRAME[2]
        assert FRAME[1] <= bottom
        assert top <= FRAME[3]
        assert not any(left < x < right and bottom < y < top for x, y in points)


def test_points_in_one_place_get_labels_all_the_same() -> None:
    labels = place_labels([(400.0, 200.0)] * 20, ["label"] * 20, FRAME)
    assert len({(round(label.x), round(label.y)) for label in labels}) == 20


@pytest.mark.parametrize("means", [(0.5, 0.5), (0.0, 0.0), (-0.2, 0.9)])
def test_scatter_of_degenerate_values_is_drawn(means: tuple[float, float]) -> None:
    entries = [
        Entry("t", f"m{index}", "matthews", {0: mean}, True, mean=mean, peak=2.0**30, on_front=True)
        for index, mean in enumerate(means)
    ]
    assert "var(--accent)" in scatter("s", entries, None, "process peak").body
    assert "<svg" not in scatter("s", entries[:1], "m0", "process peak", {"m0": 1}).body


def test_activity_counts_the_steps_of_each_unit() -> None:
    changes = ((0, ("bert.encoder.layer.10.q", "classifier")), (1, ("bert.encoder.layer.2.q", "embeddings.w")))
    found = activity(Steps((0.1, 0.2, 0.3, 0.4), changes))
    assert found.units == ("embeddings.w", "bert.encoder.layer.2.q", "bert.encoder.layer.10.q", "classifier")
    assert found.groups == (("embeddings", 1), ("2", 1), ("10", 1), ("head", 1))
    assert found.totals == (0.75, 0.75, 0.25, 0.25)
    assert found.shares[0] == (0.0, 1.0, 1.0, 1.0)
    assert (found.steps, found.changes) == (4, 1)


@given(st.lists(st.sets(st.sampled_from("abcd"), min_size=1), min_size=1, max_size=300))
def test_binned_activity_keeps_the_totals(sets: list[set[str]]) -> None:
    changes = tuple((i, tuple(sorted(s))) for i, s in enumerate(sets) if not i or s != sets[i - 1])
    found = activity(Steps((0.0,) * len(sets), changes))
    for unit, total, shares in zip(found.units, found.totals, found.shares, strict=True):
        assert total == pytest.approx(sum(unit in s for s in sets) / len(sets))
        assert all(0 <= share <= 1 for share in shares)


def test_run_without_steps_has_no_activity() -> None:
    assert activity(Steps((), ())).units == ()
    assert smoothed(()) == thinned(()) == []


@given(st.lists(st.none() | st.floats(-10, 10), max_size=700))
def test_smoothed_curves_stay_within_the_values(values: list[float | None]) -> None:
    known = [value for value in values if value is not None]
    for step, value in smoothed(values):
        assert 1 <= step <= len(values)
        assert min(known) - 1e-6 <= value <= max(known) + 1e-6
    assert len(thinned(values)) <= POINTS
    assert len(smoothed(values)) <= 2 * POINTS + 1


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.points(0.8432), "84.3"),
        (numbers.points(-0.05), "−5.0"),
        (numbers.points(-0.00001), "0.0"),
        (numbers.points(1.23456, unit=1), "1.235"),
        (numbers.points(None), "–"),
        (numbers.difference(0.003), "+0.3"),
        (numbers.difference(-0.003), "−0.3"),
        (numbers.difference(0.0001), "0.0"),
        (numbers.difference(None), "–"),
        (numbers.spread(0.8432, 0.004), "84.3 ± 0.4"),
        (numbers.spread(0.8432, None), "84.3"),
        (numbers.rate(5e-5), "5e-5"),
        (numbers.rate(0.00012), "1.2e-4"),
        (numbers.rate(0.01), "0.01"),
        (numbers.rate(1e-10), "1e-10"),
        (numbers.seconds(0.4121), "0.412 s"),
        (numbers.seconds(61), "61 s"),
        (numbers.seconds(725), "12 min 5 s"),
        (numbers.seconds(12000), "3 h 20 min"),
        (numbers.mebibytes(3 * 2**30), "3,072 MiB"),
        (numbers.count(1, "cell"), "1 cell"),
        (numbers.count(1200, "cell"), "1,200 cells"),
        (fitted("a" * 30, 66), "aaaaaaaaa…"),
        (fitted("図" * 30, 66), "図図図図図…"),
        (fitted("a\nb", 66), "a b"),
    ],
)
def test_numbers_as_text(shown: str, expected: str) -> None:
    assert shown == expected
