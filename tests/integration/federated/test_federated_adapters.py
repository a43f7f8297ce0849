"""Devices that train adapters, of one rank or each of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from federation import Make, network, own_copy, result, run, started
from frostline.federated.choice import Choice, Share
from frostline.federated.config import FederateConfig
from frostline.federated.data import divide
from frostline.federated.local import train_part
from frostline.federated.parts import Part
from frostline.federated.products import factored, multiplied
from frostline.federated.server_app import Planned
from frostline.federated.strategy import device_seed
from frostline.federated.tables import Cost, Tables


def with_adapters(tables: Tables) -> Tables:
    """Return tables in which adapters have a cost, too, for choices that were not made from it."""
    return replace(tables, adapters={(2, rank): Cost(1, 1, 1, 1) for rank in (1, 2, 4)})


def test_adapters_of_unlike_ranks_are_averaged_and_merged_at_the_end(make: Make, planned: Any) -> None:
    caff = planned(make())
    config = make(rounds=2, rule="hetlora", learning_rate=0.2, server_optimizer="fedavgm")
    devices = config.devices.devices(config.seed)
    ranks = (4, 4, 2, 1)
    shares = tuple(Share(device, 2, (), rank=rank) for device, rank in zip(devices, ranks, strict=True))
    found = Planned(config, caff.data, with_adapters(caff.tables), Choice(2, shares, {2: 2.0}))
    log = run(found)
    assert [record["replies"] for record in log] == [4, 4]
    sent = [device["bytes_up"] for device in log[0]["devices"]]
    assert sent[0] == sent[1] > sent[2] > sent[3]
    down = [device["bytes_down"] for device in log[0]["devices"]]
    assert down[0] - down[3] == sent[0] - sent[3]
    start = started(config)
    end = result(config)
    assert end.keys() == start.keys()  # a plain model
    moved = {name for name, before in start.items() if end[name].tobytes() != before.tobytes()}
    weights = {name for name in moved if "classifier" not in name and "pooler" not in name}
    assert weights == {name for name in start if name.endswith(("self.query.weight", "self.value.weight"))}


def test_the_first_round_of_adapters_of_one_rank_is_the_plain_average(make: Make, planned: Any) -> None:
    caff = planned(make())
    config = make(rounds=1, rule="lora")
    devices = config.devices.devices(config.seed)
    shares = tuple(Share(device, 2, (), rank=2) for device in devices)
    run(Planned(config, caff.data, with_adapters(caff.tables), Choice(2, shares, {2: 2.0})))
    start = started(config, rank=2)
    parts = divide(caff.data.labels, devices, config)
    total = sum(map(len, parts))
    mean: dict[str, Any] = {}
    for device, own in enumerate(parts):
        how = {"network": network(config), "part": Part(2, 2), "rate": 0.1, "seed": device_seed(config.seed, 1, device)}
        arrays, _ = train_part(config, own_copy(start), caff.data, own, **how)
        assert all("lora_" in name or "classifier" in name or "pooler" in name for name in arrays)
        for name, value in arrays.items():
            mean[name] = mean.get(name, 0) + value * (len(own) / total)
    expected = network(config).filled(start | mean).state_dict()
    end = result(config)
    assert all(np.allclose(end[name], value.numpy(), atol=1e-6) for name, value in expected.items())


def test_what_adapters_of_unlike_ranks_add_is_averaged_whole(make: Make, planned: Any) -> None:
    caff = planned(make())
    config = make(rounds=2, rule="flexlora", learning_rate=0.2)
    devices = config.devices.devices(config.seed)
    shares = tuple(Share(d, 2, (), rank=rank) for d, rank in zip(devices, (4, 4, 2, 1), strict=True))
    log = run(Planned(config, caff.data, with_adapters(caff.tables), Choice(2, shares, {2: 2.0})))
    assert [record["replies"] for record in log] == [4, 4]
    start, parts = started(config, rank=4), divide(caff.data.labels, devices, config)
    total, mean = sum(map(len, parts)), {}
    state = own_copy(start)
    for number, rate in ((1, 0.2), (2, 0.02)):
        mean = {}
        for device, own in enumerate(parts):
            part = shares[device].parts[0]
            seed = device_seed(config.seed, number, device)
            how: Any = {"network": network(config), "part": part, "rate": rate, "seed": seed}
            arrays, _ = train_part(config, own_copy(state), caff.data, own, **how)
            for name, value in multiplied(arrays).items():
                mean[name] = mean.get(name, 0) + value * (len(own) / total)
        state |= factored(mean, state)
    added = [name for name in mean if "lora_BA" in name]
    assert len(added) == 4
    end, scale = result(config), 2
    for name in added:
        weight = name.replace("lora_BA.frostline.", "")
        first, second = (name.replace("lora_BA", factor) for factor in ("lora_A", "lora_B"))
        np.testing.assert_allclose(end[weight], start[weight] + scale * state[second] @ state[first], atol=1e-5)
        assert abs(end[weight] - start[weight]).max() > 1e-3


def test_ranks_that_no_weight_can_have_leave_a_model_that_is_right(make: Make, planned: Any) -> None:
    """More than the 16 that the hidden states are wide: what the adapters add is all in the merged weights."""
    caff = planned(make())
    for rule in ("lora", "flexlora"):
        config = make(rounds=2, rule=rule, learning_rate=0.2, output=f"{make().output}-{rule}")
        shares = tuple(Share(device, 2, (), rank=20) for device in config.devices.devices(config.seed))
        tables = replace(caff.tables, adapters={(2, 20): Cost(1, 1, 1, 1)})
        log = run(Planned(config, caff.data, tables, Choice(2, shares, {2: 2.0})))
        assert [record["replies"] for record in log] == [4, 4]
        state = checkpointed(config)
        end, start = result(config), started(config)
        for name in [name for name in state if ".lora_A." in name]:
            weight = name.replace("lora_A.frostline.", "")
            added = 2 * state[name.replace("lora_A", "lora_B")] @ state[name]
            np.testing.assert_allclose(end[weight], start[weight] + added, atol=1e-5)
            assert abs(added).max() > 1e-4


def checkpointed(config: FederateConfig) -> dict[str, Any]:
    arrays = load_file(config.output / "checkpoint.safetensors")
    return {name.removeprefix("state:"): value for name, value in arrays.items() if name.startswith("state:")}
