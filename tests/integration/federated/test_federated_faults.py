"""Devices that fail, lie, come late or are not of the fleet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from federation import Make, Spoil, result, run, same_bits, started
from frostline.errors import DataError, FrostlineError, PlanError
from frostline.federated.server_app import plan

TREC = Path(__file__).parents[3].parent / "shared" / "data" / "text" / "trec"


def spoilt(reply: Message, message: Message, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Message:
    arrays = {name: array.numpy() for name, array in reply.content.array_records["arrays"].items()}
    content = RecordDict({"metrics": reply.content.metric_records["metrics"]})
    content["arrays"] = ArrayRecord({name: Array(np.asarray(value)) for name, value in change(arrays).items()})
    return Message(content, reply_to=message)


FAULTS: list[Any] = [
    lambda arrays: {name: value * np.float32(np.nan) for name, value in arrays.items()},
    lambda arrays: {name: value * np.float32(1000) for name, value in arrays.items()},
    lambda arrays: {**arrays, "extra": np.zeros(2, np.float32)},
    lambda arrays: {name: value[None] for name, value in arrays.items()},
    None,
]


@pytest.mark.parametrize(("change", "reason"), zip(FAULTS, ("nonfinite", "norm", "keys", "shape", "late"), strict=True))
def test_a_faulty_device_is_counted_and_does_no_harm(make: Make, planned: Any, change: Any, reason: str) -> None:
    def spoil(device: int, message: Message, reply: Message) -> Message | None:
        if device != 1 or message.metadata.message_type != "train":
            return reply
        return spoilt(reply, message, change) if change else None

    config = make(rounds=1)
    log = run(planned(config), spoil)
    assert log[0]["rejected"] == {reason: 1}
    assert log[0]["replies"] == 3
    assert log[0]["devices"][1]["detail"]
    faulty = result(config)
    assert all(np.isfinite(value).all() for value in faulty.values())
    assert max(float(np.abs(value).max()) for value in faulty.values()) < 10


@pytest.mark.skipif(not TREC.exists(), reason="the shared data are not here")
@pytest.mark.slow  # a real network, which learns something worth losing
def test_training_with_a_fault_in_every_round_ends_where_it_does_without(make: Make, tmp_path: Path) -> None:
    groups = [{"name": "strong", "count": 9}, {"name": "weak", "count": 9, "upload": "40%"}]
    how: dict[str, Any] = {"model": "minilm", "depths": [3], "max_train": 720, "batch_size": 8, "local_epochs": 2}
    how |= {
        "data": str(TREC),
        "rounds": 14,
        "devices_per_round": 18,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "max_length": 24,
    }

    def spoil(device: int, message: Message, reply: Message) -> Message | None:
        if message.metadata.message_type != "train":
            return reply
        number = int(message.metadata.group_id)
        if number % 5 == 0 and device in (number, number + 1):
            return None  # two are late
        if device != number:
            return reply
        return spoilt(reply, message, change) if (change := FAULTS[number // 2 % len(FAULTS)]) else None

    scores = []
    for name, spoils in (("without", None), ("with", spoil)):
        log = run(plan(make(groups, **how, output=str(tmp_path / name))), spoils)
        scores.append(log[-1]["metrics"]["accuracy"])
        print(name, [record["metrics"]["accuracy"] for record in log])
    assert [record["replies"] for record in log] == [17, 17, 17, 17, 16] * 2 + [17] * 4
    assert {reason for record in log for reason in record["rejected"]} == {"nonfinite", "norm", "keys", "shape", "late"}
    assert scores[0] > 0.7
    assert scores[1] >= scores[0] - 0.01


def test_a_device_that_fails_is_told_apart_and_a_round_without_quorum_moves_nothing(make: Make, planned: Any) -> None:
    def spoil(device: int, message: Message, reply: Message) -> Message | None:
        return None if message.metadata.message_type == "train" and device > 0 else reply

    config = make(rounds=1)
    log = run(planned(config), spoil)
    assert (log[0]["replies"], log[0]["quorum"], log[0]["reached"]) == (1, 2, False)
    start = started(config)
    assert same_bits(result(config), start)


def test_round_0_refuses_what_does_not_fit(make: Make, planned: Any) -> None:
    def spoil_with(**told: Any) -> Spoil:
        def spoil(device: int, message: Message, reply: Message) -> Message | None:
            if device != 2:
                return reply
            answer = json.loads(str(reply.content.config_records["answer"]["json"])) | told
            return Message(RecordDict({"answer": ConfigRecord({"json": json.dumps(answer)})}), reply_to=message)

        return spoil

    cases: list[tuple[Spoil, type[FrostlineError], str]] = [
        (spoil_with(fingerprints=["0" * 64]), PlanError, "device 'weak-0' would train another network"),
        (spoil_with(device=0), PlanError, "says it is device 0, which is there already"),
        (spoil_with(device=9), PlanError, "not in the fleet"),
        (spoil_with(examples=0), DataError, "device 'weak-0' has no data"),
        (lambda device, message, reply: None if device == 2 else reply, PlanError, "'weak-0' among them"),
    ]
    for spoil, error, said in cases:
        with pytest.raises(error, match=said):
            run(planned(make()), spoil)
