"""A federation over the network: SuperLink and SuperNodes in processes of their own, with TLS, keys and hard limits."""

from __future__ import annotations

import json
import runpy
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

SCRIPT = Path(__file__).parents[3] / "examples" / "deployment" / "deploy.py"
MIB = 2**20

pytestmark = pytest.mark.slow  # each of its processes imports torch, for each task anew


@pytest.fixture(scope="module")
def deploy() -> Any:
    return runpy.run_path(str(SCRIPT))["deploy"]


def rounds(folder: Path) -> Any:
    return json.loads((folder / "run" / "rounds.json").read_text())


def test_four_nodes_train_within_their_memory_and_a_stranger_is_refused(deploy: Any, tmp_path: Path) -> None:
    assert deploy(tmp_path, examples=40, strangers=1) == 0
    log = rounds(tmp_path)
    assert [record["replies"] for record in log] == [4, 4]
    limits = {"board": 880 * MIB, "laptop": 1280 * MIB}
    for record in log:
        assert record["bytes_up"] == sum(device["bytes_up"] for device in record["devices"])
        for device in record["devices"]:
            assert device["examples"] == 40
            assert 0 < device["memory"] < device["process"] < limits[device["device"].split("-")[0]]
    layers = {device["device"]: device["layers"] for device in log[0]["devices"]}
    assert 1 <= layers["board-0"] < layers["laptop-0"] == 6
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert "Failed to activate SuperNode" in (tmp_path / "node-4.log").read_text()


def test_a_node_killed_in_a_round_is_counted_and_the_others_go_on(deploy: Any, tmp_path: Path) -> None:
    def kill_one() -> None:
        while not (tmp_path / "run" / "rounds.json").is_file():
            time.sleep(0.2)
        for process in psutil.process_iter(["cmdline"]):
            if str(tmp_path / "keys" / "device-0") in (process.info["cmdline"] or []):
                for each in (*process.children(recursive=True), process):
                    each.kill()

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    assert deploy(tmp_path, examples=40, changes={"rounds": 3, "timeout": 90.0}) == 0
    killer.join(10)
    log = rounds(tmp_path)
    assert log[0]["replies"] == 4
    assert [record["replies"] for record in log[1:]] == [3, 3]
    assert all(record["reached"] for record in log)
    assert sum(log[1]["rejected"].values()) == sum(log[2]["rejected"].values()) == 1
