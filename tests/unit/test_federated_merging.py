"""Averages per tensor: FedAvg's to the bit where all train all; what nobody trained stays; no bad value comes in."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

from frostline.errors import CheckpointError
from frostline.federated.merging import Merge
from frostline.federated.replies import Rejected, checked
from frostline.federated.server_optimizers import FedAdam, FedAvg, FedAvgM

SHAPES: dict[str, tuple[int, ...]] = {"low.weight": (7, 5), "high.weight": (3, 7), "high.bias": (3,), "scale": ()}
EXAMPLES = [3, 101, 17, 64]

Values = dict[str, NDArray[Any]]


def values(seed: int, *names: str) -> Values:
    generator = np.random.default_rng(seed)
    return {
        name: np.asarray(generator.standard_normal(SHAPES[name]), dtype=np.float32) for name in names or tuple(SHAPES)
    }


def record(arrays: Values) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def reply(arrays: Values, examples: int) -> RecordDict:
    return RecordDict({"arrays": record(arrays), "metrics": MetricRecord({"num-examples": examples})})


def same_bits(first: Values, second: Values) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and first[name].tobytes() == second[name].tobytes() for name in first
    )


def merged(replies: list[tuple[Values, int]], expected: dict[str, int]) -> Merge:
    merge = Merge(expected)
    for arrays, examples in replies:
        merge.add(arrays, examples)
    return merge


@pytest.mark.parametrize("damped", [False, True])
def test_where_all_train_all_it_is_flowers_fedavg_to_the_bit(damped: bool) -> None:
    replies = [(values(seed), count) for seed, count in enumerate(EXAMPLES, 1)]
    stock = aggregate_arrayrecords([reply(*each) for each in replies], "num-examples")
    ours = merged(replies, dict.fromkeys(SHAPES, sum(EXAMPLES))).average(values(0), damped=damped)
    assert same_bits(ours, {name: array.numpy() for name, array in stock.items()})


def test_each_tensor_is_averaged_over_those_that_trained_it() -> None:
    base = values(0)
    both, top = values(1, "low.weight", "high.bias"), values(2, "high.bias")
    merge = merged([(both, 1), (top, 3)], {"low.weight": 1, "high.bias": 4})
    average = merge.average(base)
    assert set(average) == {"low.weight", "high.bias"}
    assert same_bits({"a": average["low.weight"]}, {"a": both["low.weight"]})
    np.testing.assert_allclose(average["high.bias"], both["high.bias"] / 4 + top["high.bias"] * 3 / 4, rtol=1e-6)
    damped = merge.average(base, damped=True)
    np.testing.assert_allclose(damped["low.weight"], (base["low.weight"] + both["low.weight"]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(damped["high.bias"], average["high.bias"])


def test_devices_that_do_not_answer_leave_an_average_of_the_others() -> None:
    replies = [(values(seed), count) for seed, count in enumerate(EXAMPLES, 1)]
    ours = merged(replies[:2], dict.fromkeys(SHAPES, sum(EXAMPLES))).average(values(0))
    stock = aggregate_arrayrecords([reply(*each) for each in replies[:2]], "num-examples")
    for name, array in stock.items():
        np.testing.assert_allclose(ours[name], array.numpy(), rtol=1e-5)


def test_nothing_came_nothing_moves() -> None:
    assert Merge({}).average(values(0)) == {}


def test_memory_does_not_grow_with_the_replies() -> None:
    size = 250_000

    def stream(count: int) -> Iterator[Values]:
        return ({"weight": np.full(size, index, dtype=np.float32)} for index in range(count))

    def peak(count: int) -> int:
        tracemalloc.start()
        merge = Merge({"weight": count})
        for arrays in stream(count):
            merge.add(arrays, 1)
        merge.average({"weight": np.zeros(size, dtype=np.float32)})
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few, many = peak(4), peak(400)
    assert 2 * 4 * size < few < many + 1000  # the trace sees the arrays
    assert many < few * 1.05


def flower_rounds(strategy: Any, base: Values, rounds: list[list[tuple[Values, int]]]) -> Iterator[Values]:
    """Run Flower's own strategy over replies, from round 1; its float64 results become float32, as they are sent."""
    for number, replies in enumerate(rounds, 1):
        strategy.current_arrays = record(base) if isinstance(strategy, flower.FedAvgM) else base
        messages = []
        for arrays, examples in replies:
            question = Message(RecordDict({"config": ConfigRecord()}), 1, "train")
            messages.append(Message(reply(arrays, examples), reply_to=question))
        found, _ = strategy.aggregate_train(number, messages)
        base = {name: array.numpy().astype(np.float32) for name, array in found.items()}
        yield base


@pytest.mark.parametrize(
    ("ours", "stock"),
    [
        (FedAvg(), flower.FedAvg()),
        (FedAvgM(0.7, 0.9), flower.FedAvgM(server_learning_rate=0.7, server_momentum=0.9)),
        (FedAdam(0.1, 0.9, 0.99, 1e-3), flower.FedAdam(eta=0.1, beta_1=0.9, beta_2=0.99, tau=1e-3)),
    ],
)
def test_server_optimizers_are_flowers_where_all_train_all(
    ours: FedAvg, stock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("task_id", "run_id", "node_id"):  # Flower's messages belong to a run
        monkeypatch.setattr(TaskIdentity, f"_{part}", 1)
    rounds = [[(values(10 * turn + n), count) for n, count in enumerate(EXAMPLES)] for turn in range(1, 4)]
    base = values(0)
    for replies, expected in zip(rounds, flower_rounds(stock, values(0), rounds), strict=True):
        average = merged(replies, dict.fromkeys(SHAPES, sum(EXAMPLES))).average(base)
        base = {**base, **ours.step(base, average)}
        assert same_bits(base, expected)


@pytest.mark.parametrize("make", [FedAvg, FedAvgM, FedAdam])
def test_what_nobody_trained_stays_and_state_resumes_to_the_bit(make: type[FedAvg]) -> None:
    first, base = make(), values(0)
    base |= first.step(base, values(1))
    before = base["low.weight"].copy()
    second = make()
    second.load(first.state, first.rounds)
    top = values(2, "high.weight", "high.bias")
    moved = first.step(base, top)
    assert set(moved) == set(top)
    assert same_bits(moved, second.step(base, top))
    assert (base["low.weight"] == before).all()


def test_the_state_of_another_optimizer_is_refused() -> None:
    other = FedAvgM()
    other.step(values(0), values(1))
    with pytest.raises(CheckpointError, match="another"):
        FedAdam().load(other.state, other.rounds)


def spoilt(**changes: Any) -> ArrayRecord:
    return record({**values(0), **changes})


def nan() -> NDArray[Any]:
    return np.full((3,), np.nan, dtype=np.float32)


@pytest.mark.parametrize(
    ("came", "reason"),
    [
        (record(values(0, "high.bias")), "keys"),
        (spoilt(extra=nan()), "keys"),
        (spoilt(**{"high.bias": nan()}), "nonfinite"),
        (spoilt(**{"high.bias": np.array([1, np.inf, 2], dtype=np.float32)}), "nonfinite"),
        (spoilt(**{"high.bias": np.zeros((3, 1), dtype=np.float32)}), "shape"),
        (spoilt(**{"high.bias": np.zeros(10_000, dtype=np.float32)}), "shape"),
        (spoilt(**{"high.bias": np.zeros(3, dtype=np.float64)}), "dtype"),
        (spoilt(**{"low.weight": values(0)["low.weight"] * 1000}), "norm"),
        (ArrayRecord({**spoilt(), "scale": Array("float32", (), "numpy.ndarray", b"no array")}), "unreadable"),
        (ArrayRecord({**spoilt(), "scale": Array("float32", (), "pickle", b"x")}), "unreadable"),
    ],
)
def test_bad_replies_are_rejected_with_the_reason(came: ArrayRecord, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        checked(came, values(0), norm_bound=2.0)
    assert caught.value.reason == reason
    assert caught.value.detail


def test_a_good_reply_comes_through_to_the_bit() -> None:
    base = values(0)
    moved = {name: array + np.float32(0.01) for name, array in base.items()}
    assert same_bits(checked(record(moved), base, norm_bound=2.0), moved)
