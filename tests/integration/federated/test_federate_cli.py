"""`frostline federate` over Flower's own simulation, and the plan it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from frostline.cli import app
from frostline.errors import ConfigError

COMMAND = Path(sys.executable).with_name("frostline")


@pytest.fixture
def config(tiny: Path, task: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "model": str(tiny),
        "depths": [1, 2],
        "data": str(task),
        "output": str(tmp_path / "out"),
        "fleet": {"groups": [{"name": "strong", "count": 2}, {"name": "weak", "count": 2, "upload": "50%"}]},
        "partition": "iid",
        "rounds": 1,
        "devices_per_round": 4,
        "batch_size": 4,
        "max_length": 16,
    }


def written(config: dict[str, Any], folder: Path) -> Path:
    path = folder / "fleet.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def test_the_plan_says_layers_and_what_binds(config: dict[str, Any], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["federate", str(written(config, tmp_path)), "--plan", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["depth"], found["means"]) == (2, {"1": 1.0, "2": 1.5})
    assert [(each["device"], each["layers"], each["binds"]) for each in found["devices"]] == [
        ("strong-0", 2, []),
        ("strong-1", 2, []),
        ("weak-0", 1, ["upload"]),
        ("weak-1", 1, ["upload"]),
    ]
    assert not Path(config["output"]).exists()


@pytest.mark.slow  # Ray and its workers take most of a minute to start on a busy machine
def test_a_simulation_prints_its_rounds_and_leaves_a_model(config: dict[str, Any], tmp_path: Path) -> None:
    path = written(config, tmp_path)
    done = subprocess.run([COMMAND, "federate", path], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert "upload" in done.stdout
    assert "round 1/1  accuracy" in done.stdout
    assert "4 of 4 devices" in done.stdout
    assert (Path(config["output"]) / "model" / "model.safetensors").is_file()
    again = subprocess.run([COMMAND, "federate", path], capture_output=True, text=True, timeout=280, check=False)
    assert (again.returncode, again.stdout) == (2, ""), "refused before it is planned"
    assert "is there already" in again.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"depths": [3]}, "a depth of 3 is refused"),
        ({"depths": [2, 2]}, "give different depths"),
        ({"devices": 4}, "unknown key 'devices'"),
        ({"fleet": {"preset": "third", "count": 9}}, "did you mean 'thirds'"),
        ({"quorum": 0}, "quorum=0 is refused"),
        ({"server_learning_rate": 0.1}, "fedavg takes the average itself"),
    ],
)
def test_what_cannot_be_is_refused(config: dict[str, Any], tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = written(config | changes, tmp_path)
    done = CliRunner().invoke(app, ["federate", str(path), "--plan"])
    assert isinstance(done.exception, ConfigError)
    assert said in str(done.exception)


def test_a_simulation_must_know_where_devices_have_their_own_data(config: dict[str, Any], tmp_path: Path) -> None:
    path = written(config | {"partition": "own"}, tmp_path)
    assert CliRunner().invoke(app, ["federate", str(path), "--plan"]).exit_code == 0
    done = CliRunner().invoke(app, ["federate", str(path)])
    assert isinstance(done.exception, ConfigError)
    assert "own_data=folder/{device}" in str(done.exception)


@pytest.mark.slow
def test_every_device_of_a_simulation_stays_within_its_memory(config: dict[str, Any], tmp_path: Path) -> None:
    """MiniLM, whose embeddings alone are a third of what the smallest device has."""
    sizes = {"one": 127, "two": 156, "three": 186}
    groups = [{"name": name, "count": 1, "memory": f"{size}MiB"} for name, size in sizes.items()]
    changes = {"model": "minilm", "depths": [6], "max_train": 90, "batch_size": 16, "max_length": 32, "enforce": True}
    changes |= {"fleet": {"groups": groups}, "data": "acceptability", "rounds": 2}
    command = [COMMAND, "federate", written(config | changes, tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    plan, *log = map(json.loads, done.stdout.splitlines())
    assert log == json.loads((Path(config["output"]) / "rounds.json").read_text(encoding="utf-8"))
    assert [device["layers"] for device in plan["devices"]] == [1, 2, 3]
    for record in log:
        assert record["over_memory"] == 0
        for device in record["devices"]:
            assert 2**26 < device["memory"] <= device["limit"] == sizes[device["device"].split("-")[0]] * 2**20
