"""A round in one line."""

from __future__ import annotations

from typing import Any

from flwr.app import Error

from frostline.federated.telling import brief, reason, told

RECORD: dict[str, Any] = {
    "round": 2,
    "metrics": {"accuracy": 0.5},
    "loss": 0.25,
    "replies": 2,
    "asked": 3,
    "reached": True,
    "rejected": {"late": 1},
    "bytes_down": 2**21,
    "bytes_up": 2**20,
    "slowest": "board-1",
    "one_class": 0,
    "over_memory": 0,
    "devices": [{"layers": 2}, {"layers": 6}, {"layers": 2}],
}


def test_what_a_person_wants_to_know() -> None:
    line = told(RECORD, 5)
    assert line.startswith("round 2/5  accuracy 0.5000  loss 0.2500  2 of 3 devices  1 late  down 2 MiB  up 1 MiB")
    assert line.endswith("slowest board-1  layers 2 on 2 devices, 6 on 1")
    more = told(RECORD | {"loss": None, "reached": False, "one_class": 2, "over_memory": 1}, 5)
    assert "loss" not in more
    assert "(no quorum: nothing moved)" in more
    assert more.endswith("2 with one class only  1 over their memory")
    assert "ranks 4 on 2 devices, 8 on 1" in told(
        RECORD | {"devices": [{"layers": 6, "rank": rank} for rank in (4, 8, 4)]}, 5
    )


def test_why_a_device_failed_is_its_last_line_and_no_longer_than_a_line() -> None:
    assert reason(Error(2, "Traceback\n  File x\nValueError: no data\n\n")) == "ValueError: no data"
    assert reason(Error(2, "")) == "error 2"
    assert len(brief("x" * 10**6)) == 303
