"""What a device says that cannot be: in round 0, and in a reply."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from federation import Make, Spoil, result, run, same_bits
from frostline.errors import PlanError, TrainingDiverged


def answering(text: Callable[[dict[str, Any]], str]) -> Spoil:
    """Let device 2 answer something else in round 0, given what it would."""

    def spoil(device: int, message: Message, reply: Message) -> Message | None:
        if device != 2 or message.metadata.message_type != "query":
            return reply
        told = json.loads(str(reply.content.config_records["answer"]["json"]))
        return Message(RecordDict({"answer": ConfigRecord({"json": text(told)})}), reply_to=message)

    return spoil


@pytest.mark.parametrize(
    "changes",
    [
        {"examples": float("nan")},
        {"examples": float("inf")},
        {"examples": 2.5},
        {"examples": True},
        {"examples": "10"},
        {"examples": None},
        {"examples": -1},
        {"examples": 10**18},
        {"device": 2.0},
        {"device": "2"},
        {"fingerprints": [5]},
        {"fingerprints": None},
        {"more": 1},
    ],
    ids=str,
)
def test_an_answer_that_is_not_understood_is_refused_with_its_node(make: Make, planned: Any, changes: Any) -> None:
    (what,) = changes
    with pytest.raises(PlanError, match=rf"node 3 gives an answer that is not understood \({what}"):
        run(planned(make(rounds=1)), answering(lambda told: json.dumps(told | changes)))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"device": 2, "examples": 10, "classes": 2}'])
def test_an_answer_of_another_version_is_refused_with_its_node(make: Make, planned: Any, text: str) -> None:
    with pytest.raises(PlanError, match="node 3 gives an answer that is not understood"):
        run(planned(make(rounds=1)), answering(lambda told: text))


def test_no_answer_at_all_is_refused_with_its_node(make: Make, planned: Any) -> None:
    def spoil(device: int, message: Message, reply: Message) -> Message | None:
        return Message(RecordDict(), reply_to=message) if device == 2 else reply

    with pytest.raises(PlanError, match="node 3 gives an answer that is not understood"):
        run(planned(make(rounds=1)), spoil)


def test_a_device_counts_for_the_examples_that_it_was_given_and_no_more(make: Make, planned: Any) -> None:
    with pytest.raises(PlanError, match="device 'weak-0' says it has 1,000,000 examples, where it was given 10"):
        run(planned(make(rounds=1)), answering(lambda told: json.dumps(told | {"examples": 10**6})))


@pytest.mark.parametrize("changes", [{"fingerprints": []}, {"fingerprints": ["0" * 64] * 2}, {"processor": "0" * 64}])
def test_fewer_more_or_other_fingerprints_are_refused(make: Make, planned: Any, changes: Any) -> None:
    what = "another tokenizer or processor" if "processor" in changes else "would train another network"
    with pytest.raises(PlanError, match=f"device 'weak-0' (has )?{what}"):
        run(planned(make(rounds=1)), answering(lambda told: json.dumps(told | changes)))


def archive(array: np.ndarray[Any, Any]) -> Array:
    stream = io.BytesIO()
    np.savez(stream, x=array)
    return Array(dtype="float32", shape=array.shape, stype="numpy.ndarray", data=stream.getvalue())


def replying(change: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]], **told: Any) -> Spoil:
    """Let device 1 reply with other arrays, given its own and those it began with, and other metrics."""

    def spoil(device: int, message: Message, reply: Message) -> Message | None:
        if device != 1 or message.metadata.message_type != "train":
            return reply
        mine, base = (
            {name: array.numpy() for name, array in record.items()}
            for record in (reply.content.array_records["arrays"], message.content.array_records["state"])
        )
        arrays = {
            name: value if isinstance(value, Array) else Array(value) for name, value in change(mine, base).items()
        }
        metrics = MetricRecord({**reply.content.metric_records["metrics"], **told})
        return Message(RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics}), reply_to=message)

    return spoil


def first(change: Callable[[Any], Any]) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    def changed(mine: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
        name = next(iter(mine))
        return mine | {name: change(mine[name])}

    return changed


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (replying(first(archive)), "unreadable"),
        (replying(first(lambda value: value.astype(np.float64))), "dtype"),
        (replying(first(lambda value: value.astype(np.complex64))), "dtype"),
        (replying(first(lambda value: value.astype(">f4"))), "dtype"),
        (replying(lambda mine, base: mine | {"k" * 10**7: np.zeros(1, np.float32)}), "keys"),
        (replying(lambda mine, base: mine, **{"num-examples": -1}), "examples"),
        (replying(lambda mine, base: mine, loss=float("nan")), "nonfinite"),
        (replying(lambda mine, base: {n: base[n] + np.float32(1000) * (v - base[n]) for n, v in mine.items()}), "norm"),
        (replying(lambda mine, base: {n: base[n] - np.float32(1000) * (v - base[n]) for n, v in mine.items()}), "norm"),
    ],
)
def test_a_reply_that_cannot_be_is_counted_and_does_no_harm(
    make: Make, planned: Any, spoil: Spoil, reason: str
) -> None:
    config = make(rounds=1, learning_rate=1e-3)
    (record,) = run(planned(config), spoil)
    assert record["rejected"] == {reason: 1}
    assert record["replies"] == 3
    assert len(record["devices"][1]["detail"]) <= 303
    without = config.model_copy(update={"output": config.output.with_name("without")})
    run(planned(without), lambda device, message, reply: None if device == 1 and _trains(message) else reply)
    assert same_bits(result(config), result(without))


def _trains(message: Message) -> bool:
    return message.metadata.message_type == "train"


def test_a_server_that_would_step_into_nothing_stops_and_keeps_the_round_before(make: Make, planned: Any) -> None:
    config = make(server_optimizer="fedadam", server_learning_rate=1e300)
    with pytest.raises(TrainingDiverged, match=r"round 1: .* not finite; .* a smaller server_learning_rate"):
        run(planned(config))
