"""Federations that were killed in an awkward moment, or are gone on with under something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from flwr.app import Message
from safetensors.numpy import load_file
from typer.testing import CliRunner

from federation import DirectGrid, Killed, Make, killed_after, network, result, run, same_bits
from frostline.cli import app
from frostline.errors import CheckpointError, ConfigError
from frostline.federated.parts import Part
from frostline.federated.server_app import plan, serve


def test_one_killed_in_its_first_round_goes_on(make: Make, planned: Any) -> None:
    config = make(personal=0)

    def die(device: int, message: Message, reply: Message) -> Message | None:
        if message.metadata.message_type == "train" and device == 3:
            raise Killed
        return reply

    with pytest.raises(Killed):
        serve(DirectGrid(4, die), planned(config), resume=False, say=print)
    assert any((config.output / "devices").iterdir()), "devices have written their layers"
    with pytest.raises(CheckpointError, match=r"is there already.*--resume"):
        run(planned(config))
    run(planned(config), resume=True)
    whole = config.model_copy(update={"output": config.output.with_name("whole")})
    run(planned(whole))
    assert same_bits(result(config), result(whole))


def test_one_killed_before_its_last_record_was_written_has_it_in_the_end(make: Make, planned: Any) -> None:
    config = make()
    log = run(planned(config))
    (config.output / "rounds.json").write_text(json.dumps(log[:1]), encoding="utf-8")
    assert run(planned(config), resume=True) == []
    assert json.loads((config.output / "rounds.json").read_text(encoding="utf-8")) == log


def test_other_data_or_another_network_are_not_gone_on_with(make: Make, tmp_path: Path) -> None:
    config = make()
    data = tmp_path / "data"
    data.mkdir()
    for file in Path(config.data).iterdir():
        (data / file.name).write_bytes(file.read_bytes())
    config = make(data=str(data))
    with pytest.raises(Killed):
        serve(DirectGrid(4), plan(config), resume=False, say=killed_after(1))
    table = data / "train.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("good", "bad", 1), encoding="utf-8")
    import frostline.federated.data as module

    module._examples.cache_clear()
    with pytest.raises(CheckpointError, match="other values of examples"):
        run(plan(config), resume=True)


def test_a_folder_in_use_and_a_file_are_refused_before_anything_is_planned(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for output, said in ((tmp_path / "file", "is a file; choose another output"), (tmp_path, "is there already")):
        values = make(output=str(output), model="no such model").model_dump(mode="json", exclude_unset=True)
        (tmp_path / "federate.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        done = CliRunner().invoke(app, ["federate", str(tmp_path / "federate.yaml")])
        assert isinstance(done.exception, CheckpointError)
        assert said in str(done.exception)


def test_a_device_keeps_its_own_blocks_while_windows_are_elsewhere(make: Make) -> None:
    config = make([{"name": "weak", "count": 2, "flops": "95%"}], rule="rotating", personal=1, rounds=3)
    log = run(plan(config))
    assert [device["skip"] for record in log for device in record["devices"]] == [0, 0, 1, 1, 0, 0]
    own = load_file(config.output / "devices" / "0" / "round-2.safetensors")
    before = set(network(config).personal_shapes(1))
    assert set(own) == before > set(network(config).trained_shapes(Part(0)))
    with pytest.raises(ConfigError, match="never sees those that stay with devices"):
        make(rule="auto", personal=1)
    with pytest.raises(ConfigError, match="nothing else trains"):
        make(rule="head", personal=0)
