"""Rounds of CAFF: who trains what, FedAvg as the limit, resumption; what a plan refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

from federation import DirectGrid, Killed, Make, killed_after, network, own_copy, result, run, same_bits, started
from frostline.errors import (
    BudgetInfeasible,
    CheckpointError,
    ConfigError,
)
from frostline.federated.config import make_federate_config
from frostline.federated.data import divide
from frostline.federated.local import train_part
from frostline.federated.parts import Part
from frostline.federated.server_app import plan, serve
from frostline.federated.strategy import device_seed


def test_each_device_trains_its_layers_and_what_nobody_trains_stays(make: Make, planned: Any) -> None:
    config = make()
    found = planned(config)
    assert [share.layers for share in found.choice.shares] == [2, 2, 1, 1]
    assert found.choice.shares[2].binds == ("upload",)
    log = run(found)
    start = started(config)
    end = result(config)
    names = {layers: set(network(config).trained_shapes(Part(layers))) for layers in (1, 2)}
    assert set(names[1]) < set(names[2])
    for name, before in start.items():
        moved = end[name].tobytes() != before.tobytes()
        # A key's bias has no gradient but for rounding.
        assert moved == (name in names[2]) or name.endswith("attention.self.key.bias"), name
    for record in log:
        assert record["replies"] == 4
        assert record["reached"]
        sent = {device["device"]: device["bytes_up"] for device in record["devices"]}
        costs = found.tables.costs
        for share in found.choice.shares:
            assert sent[share.device.name] == costs[2, share.layers].upload
        assert {device["bytes_down"] for device in record["devices"]} == {costs[2, 1].download}
    assert json.loads((config.output / "rounds.json").read_text()) == log
    rates = [record["learning_rate"] for record in log]
    assert rates == pytest.approx([0.1, 0.01])


def test_with_all_layers_everywhere_a_round_is_flowers_fedavg_to_the_bit(make: Make, planned: Any) -> None:
    config = make([{"name": "all", "count": 4}], rounds=1, partition="dirichlet")
    found = planned(config)
    run(found)
    start = started(config)
    parts = divide(found.data.labels, config.devices.devices(config.seed), config)
    replies = []
    for device, own in enumerate(parts):
        seed = device_seed(config.seed, 1, device)
        arrays, _ = train_part(
            config, own_copy(start), found.data, own, network=network(config), part=Part(2), rate=0.1, seed=seed
        )
        record = RecordDict()
        record["arrays"] = ArrayRecord({name: Array(array) for name, array in arrays.items()})
        record["metrics"] = MetricRecord({"num-examples": len(own)})
        replies.append(record)
    average = {name: array.numpy() for name, array in aggregate_arrayrecords(replies, "num-examples").items()}
    assert same_bits(result(config), start | average)


def test_a_server_killed_and_resumed_ends_with_the_same_bits(make: Make, planned: Any, tmp_path: Path) -> None:
    whole = make(rounds=3, server_optimizer="fedavgm", server_learning_rate=0.5, damped=True, devices_per_round=3)
    log = run(planned(whole))
    cut = whole.model_copy(update={"output": tmp_path / "cut"})

    with pytest.raises(Killed):
        serve(DirectGrid(4), planned(cut), resume=False, say=killed_after(2))
    rest = run(planned(cut), resume=True)
    assert [record["round"] for record in rest] == [3]
    assert same_bits(result(whole), result(cut))
    again = json.loads((cut.output / "rounds.json").read_text())
    for record in (*log, *again):
        record.pop("slowest")
        assert record.pop("server_process") > 0
        for device in record["devices"]:
            device.pop("seconds")
            assert device.pop("process") > device.pop("memory") > 0
    assert again == log
    with pytest.raises(CheckpointError, match="other values of learning_rate"):
        run(planned(cut.model_copy(update={"learning_rate": 0.2})), resume=True)
    with pytest.raises(CheckpointError, match="is there already"):
        run(planned(cut))


def test_rates_and_momentum_follow_the_optimizer(make: Make) -> None:
    def rates(**changes: Any) -> tuple[float, float | None, float | None]:
        config = make_federate_config(
            {"depths": [2], "output": "-", "fleet": {"groups": [{"name": "a", "count": 1}]}, **changes}
        )
        return config.learning_rate, config.rate(config.rounds), config.momentum

    assert rates() == pytest.approx((5e-4, 5e-5, None))
    assert rates(learning_rate=1e-3) == pytest.approx((1e-3, 1e-4, None))
    assert rates(learning_rate="1e-2") == pytest.approx((1e-2, 1e-3, None)), "as YAML reads it, without a point"
    assert rates(optimizer="sgd") == pytest.approx((0.1, 0.01, 0.9))
    assert rates(optimizer="sgd", momentum=0.0, final_learning_rate=0.05) == pytest.approx((0.1, 0.05, 0.0))
    with pytest.raises(ConfigError, match="momentum is of optimizer sgd"):
        rates(momentum=0.9)
    sgd, adamw = (plan(make(optimizer=name, learning_rate=0.1)).tables for name in ("sgd", "adamw"))
    assert adamw.costs[2, 2].memory > sgd.costs[2, 2].memory, "two moments for each weight, not one"


def test_a_device_too_small_is_refused_by_name_before_anything_runs(make: Make) -> None:
    groups = [{"name": "able", "count": 3}, {"name": "tiny", "count": 1, "upload": "1kB"}]
    with pytest.raises(BudgetInfeasible, match=r"'tiny-0' cannot train one layer.*upload"):
        plan(make(groups))


@pytest.mark.parametrize("rule", ["caff", "lora"])
@pytest.mark.parametrize("upload", ["exact", "int8", "int4"])
def test_what_is_sent_is_what_was_planned_to_the_byte(make: Make, rule: str, upload: str) -> None:
    config = make([{"name": "all", "count": 2}], rounds=1, rule=rule, upload=upload, lora_ranks=[1, 3])
    found = plan(config)
    (record,) = run(found)
    for device, share in zip(record["devices"], found.choice.shares, strict=True):
        cost = found.tables.of(2, share.parts[0])
        assert (device["bytes_up"], device["bytes_down"]) == (cost.upload, cost.download)


def test_a_device_works_on_what_it_does_not_hold_out(make: Make) -> None:
    limit = 2 * plan(make()).tables.costs[2, 1].flops  # two steps, of the three that ten examples are
    groups = [{"name": "all", "count": 4, "flops": f"{limit}FLOP"}]
    assert plan(make(groups, evaluate_every=1, held_out=0.5)).choice.shares[0].layers == 1
    with pytest.raises(BudgetInfeasible):
        plan(make(groups))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rounds": True}, "rounds=True is refused: a number is needed"),
        ({"depths": [True]}, "a number is needed"),
        ({"learning_rate": True}, "a number is needed"),
        ({"quorum": True}, "a number is needed"),
        ({"secure_aggregation": True}, "secure_aggregation is refused: .* local_dp blurs"),
        ({"local_dp": {"clipping_norm": 1.0}}, "the key 'local_dp.sensitivity' is missing$"),
        ({"own_data": "x"}, "say partition: own"),
        ({"pace_bound": 1}, "pace_bound=1 is refused"),
    ],
)
def test_what_a_config_cannot_say_is_refused(make: Make, changes: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make(**changes)


def test_networks_that_differ_in_their_config_alone_have_other_fingerprints(make: Make, tmp_path: Path) -> None:
    ours = network(make()).fingerprint()
    for key, value in (("num_attention_heads", 1), ("hidden_act", "relu"), ("layer_norm_eps", 1e-3)):
        folder = tmp_path / key
        folder.mkdir()
        for file in Path(make().model).iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        assert written[key] != value
        (folder / "config.json").write_text(json.dumps({**written, key: value}), encoding="utf-8")
        assert replace(network(make()), model=str(folder)).fingerprint() != ours
    same = tmp_path / "elsewhere"
    same.mkdir()
    for file in Path(make().model).iterdir():
        (same / file.name).write_bytes(file.read_bytes())
    assert replace(network(make()), model=str(same)).fingerprint() == ours
