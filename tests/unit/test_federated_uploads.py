"""How replies travel: in few bits, without bias, what has not moved to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from frostline.federated.replies import Rejected, checked
from frostline.federated.uploads import Upload, packed, size, template, unpacked

SHAPES: dict[str, tuple[int, ...]] = {"low.weight": (70, 50), "high.weight": (3, 7), "high.bias": (3,)}
Values = dict[str, NDArray[Any]]


def values(seed: int, scale: float = 1.0) -> Values:
    chance = np.random.default_rng(seed)
    return {name: np.asarray(scale * chance.standard_normal(shape), np.float32) for name, shape in SHAPES.items()}


def moved(base: Values, seed: int = 1) -> Values:
    return {name: base[name] + way for name, way in values(seed, 0.01).items()}


@pytest.mark.parametrize(("how", "steps"), [("int8", 255), ("int4", 15)])
def test_the_way_comes_back_within_a_step(how: Upload, steps: int) -> None:
    base = values(0)
    trained = moved(base)
    sent = packed(trained, base, how)
    assert sum(len(Array(array).data) for array in sent.values()) == size(SHAPES, how) < size(SHAPES, "exact") / 3
    assert sum(len(Array(array).data) for array in trained.values()) == size(SHAPES, "exact")
    came = unpacked(sent, base, how)
    for name, value in trained.items():
        way = value - base[name]
        assert np.abs(came[name] - value).max() <= 1.1 * (way.max() - min(way.min(), 0)) / (steps - 1) + 1e-6
        assert came[name].dtype == np.float32


def test_what_has_not_moved_stays_to_the_bit() -> None:
    base = values(0)
    came = unpacked(packed(base, base, "int8"), base, "int8")
    assert all(came[name].tobytes() == value.tobytes() for name, value in base.items())


def test_the_mean_over_devices_is_unbiased() -> None:
    base, ways, found = values(0), [], []
    for seed in range(200):
        torch.manual_seed(seed)
        trained = moved(base, 1 + seed % 2)
        ways.append(trained["low.weight"] - base["low.weight"])
        found.append(unpacked(packed(trained, base, "int4"), base, "int4")["low.weight"] - base["low.weight"])
    one = np.abs(found[0] - ways[0]).mean()
    assert np.abs(np.mean(found, axis=0) - np.mean(ways, axis=0)).mean() < one / 5


@pytest.mark.parametrize("how", ["exact", "int8", "int4"])
def test_a_reply_of_another_form_is_rejected(how: Upload) -> None:
    base = values(0)

    def record(arrays: Values) -> ArrayRecord:
        return ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in arrays.items()})

    sent = packed(moved(base), base, how)
    good = checked(record(sent), base, upload=how, norm_bound=2.0)
    assert {name: array.shape for name, array in good.items()} == SHAPES
    first = next(iter(sent))
    others: dict[str, Values] = {
        "keys": {f"{name}?": array for name, array in sent.items()},
        "shape": sent | {first: np.zeros(9, sent[first].dtype)},
        "dtype": sent | {"high.bias": sent["high.bias"].astype(np.float64)},
        "norm": packed({name: 1000 * value for name, value in base.items()}, base, how),
        "nonfinite": packed({name: value * np.float32(np.nan) for name, value in base.items()}, base, how),
    }
    assert set(template(base, how)) == set(sent)
    for reason, spoilt in others.items():
        with pytest.raises(Rejected) as caught:
            checked(record(spoilt), base, upload=how, norm_bound=2.0)
        assert caught.value.reason == reason
