"""What is a device's own affair: its rule, its storage, its layers, and what it tells of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from safetensors.numpy import load_file

from federation import DirectGrid, Killed, Make, killed_after, network, own_copy, result, run, same_bits, started
from frostline.errors import CheckpointError, ConfigError
from frostline.federated.config import FederateConfig
from frostline.federated.local import train_part
from frostline.federated.parts import Part
from frostline.federated.rules import RULES
from frostline.federated.server_app import Planned, plan, serve


@pytest.mark.parametrize(
    ("rule", "layers"), [("fedavg", [2, 2, 2, 2]), ("weakest", [1, 1, 1, 1]), ("strongest", [2, 2]), ("head", [0] * 4)]
)
def test_other_rules_train_what_they_say(make: Make, planned: Any, rule: str, layers: list[int]) -> None:
    config = make(rounds=1, rule=rule)
    caff = planned(make())
    choice = RULES[rule](config.devices.devices(config.seed), caff.tables, [1] * 4)
    found = Planned(config, caff.data, caff.tables, choice)
    (record,) = run(found)
    assert [device["layers"] for device in record["devices"]] == layers
    start = started(config)
    end = result(config)
    moved = {name for name, before in start.items() if end[name].tobytes() != before.tobytes()}
    assert moved <= set(network(config).trained_shapes(Part(max(layers))))
    assert any("classifier" in name for name in moved)


@pytest.mark.parametrize("rule", ["rotating", "auto", pytest.param("cocofl", marks=pytest.mark.slow)])
def test_windows_move_from_round_to_round_and_every_block_trains(make: Make, rule: str) -> None:
    config = make(rounds=4, rule=rule, norm_bound=1e9)
    found = plan(config)
    assert [share.windows for share in found.choice.shares] == [((2, 0),)] * 2 + [((1, 0), (1, 1))] * 2
    log = run(found)
    assert [record["replies"] for record in log] == [4] * 4
    skips = [[device["skip"] for device in record["devices"]] for record in log]
    assert all(skip[:2] == [0, 0] for skip in skips)
    if rule == "rotating":
        assert [skip[2:] for skip in skips] == [[0, 0], [1, 1], [0, 0], [1, 1]]
    assert {place for skip in skips for place in skip[2:]} == {0, 1}
    low, high = (found.tables.windows[2, 1, skip] for skip in (1, 0))
    assert low.upload == high.upload
    assert low.memory > high.memory, "what lies lower keeps the activations of all above it"
    first, second, head = (set(network(config).trained_shapes(part)) for part in (Part(1, skip=1), Part(1), Part(0)))
    assert first & second == head


def test_auto_goes_where_the_blocks_moved_most_and_a_resumed_run_knows_it(make: Make, tmp_path: Path) -> None:
    config = make([{"name": "weak", "count": 3, "upload": "50%"}], rounds=5, rule="auto", norm_bound=1e9)
    found = plan(config)
    log = run(found)
    known: dict[str, float] = {}
    for record in log:
        (skip,) = {str(device["skip"]) for device in record["devices"]}
        unseen = [place for place in ("0", "1") if place not in known]
        assert skip == (unseen[0] if unseen else max(known, key=lambda place: known[place]))
        assert set(record["distances"]) == {skip}
        known |= record["distances"]
    assert all(distance > 0 for distance in known.values())

    cut = config.model_copy(update={"output": tmp_path / "cut"})

    with pytest.raises(Killed):
        serve(DirectGrid(3), replace(found, config=cut), resume=False, say=killed_after(3))
    again = run(replace(found, config=cut), resume=True)
    assert [record["distances"] for record in again] == [record["distances"] for record in log[3:]]
    assert same_bits(result(config), result(cut))


def test_a_proximal_term_keeps_devices_near_where_they_began(make: Make, planned: Any) -> None:
    caff = planned(make())
    start, moved = started(make()), []
    for strength in (0.0, 5.0):
        config = make(rounds=1, proximal=strength, local_epochs=3, output=f"{make().output}-{strength}")
        run(Planned(config, caff.data, caff.tables, caff.choice))
        end = result(config)
        moved.append(sum(float(np.square(end[name] - value).sum()) for name, value in start.items()))
    assert 0 < moved[1] < 0.8 * moved[0]


def test_compact_activations_let_devices_train_more_layers(make: Make) -> None:
    """Under one limit of memory, and shares of memory stay shares of stock's."""
    groups = [{"name": "small", "count": 4, "memory": "80%"}]
    stock, config = plan(make(groups, batch_size=32)), make(groups, batch_size=32, storage="compact", rounds=1)
    compact = plan(config)
    assert stock.tables.full == compact.tables.full
    assert {share.layers for share in stock.choice.shares} == {1}
    assert {share.layers for share in compact.choice.shares} == {2}
    for place, cost in compact.tables.costs.items():
        of_stock = stock.tables.costs[place]
        assert cost.memory < of_stock.memory
        assert cost.upload == of_stock.upload
        assert of_stock.flops <= cost.flops < 1.2 * of_stock.flops  # attention's scores are made again in backward
    (record,) = run(compact)
    assert record["replies"] == 4
    start, exact = started(config), run_of_one_device(config, compact, "exact")
    compressed = run_of_one_device(config, compact, "compact")
    assert any((exact[name] != compressed[name]).any() for name in exact)  # storage does reach the device
    for name, value in exact.items():
        way = np.linalg.norm(value - start[name])
        assert np.linalg.norm(compressed[name] - value) <= 0.1 * way + 1e-6, name


def run_of_one_device(config: FederateConfig, planned: Planned, storage: str) -> dict[str, Any]:
    asked = config.model_copy(update={"storage": storage})
    how: Any = {"network": network(config), "part": Part(2), "rate": 0.1, "seed": 0}
    arrays, _ = train_part(asked, own_copy(started(config)), planned.data, list(range(8)), **how)
    return arrays


def test_replies_in_eight_bits_take_a_quarter_and_end_near_the_exact_ones(
    make: Make, planned: Any, tmp_path: Path
) -> None:
    exact = make()
    caff = planned(exact)
    log = run(caff)
    short = exact.model_copy(update={"upload": "int8", "output": tmp_path / "short"})
    again = run(Planned(short, caff.data, caff.tables, caff.choice))
    headers = sum(128 * len(network(exact).trained_shapes(share.parts[0])) for share in caff.choice.shares)  # NumPy's
    assert again[0]["bytes_up"] - headers < (log[0]["bytes_up"] - headers) / 3.5
    assert all(record["replies"] == 4 for record in again)
    start, whole, coarse = started(exact), result(exact), result(short)
    names = network(exact).trained_shapes(Part(2))
    way = sum(float(np.square(whole[name] - start[name]).sum()) for name in names)
    lost = sum(float(np.square(whole[name] - coarse[name]).sum()) for name in names)
    assert 0 < lost < 0.01 * way
    assert all(coarse[name].tobytes() == start[name].tobytes() for name in start if name not in names)


def test_what_a_device_sends_is_clipped_and_blurred(make: Make, planned: Any) -> None:
    caff = planned(make())
    how = {"clipping_norm": 0.01, "sensitivity": 1e-9, "epsilon": 1.0, "delta": 1e-5}
    config = make([{"name": "all", "count": 1}], rounds=1, local_dp=how)
    found = plan(config)
    twice = sum(4 * int(np.prod(shape)) for shape in network(config).trained_shapes(Part(2)).values())
    assert found.tables.costs[2, 2].memory == caff.tables.costs[2, 2].memory + twice
    run(found)
    start, end = started(config), result(config)
    way = np.sqrt(sum(float(np.square(end[name] - value).sum()) for name, value in start.items()))
    assert way == pytest.approx(0.01, rel=1e-3), "of the noise there is almost none"
    noisy = make(
        [{"name": "all", "count": 1}], rounds=1, local_dp=how | {"sensitivity": 0.01}, output=f"{config.output}-noisy"
    )
    run(plan(noisy))
    trained = network(config).trained_shapes(Part(2))
    values = np.concatenate([(result(noisy)[name] - start[name]).ravel() for name in trained])
    deviation = 0.01 * np.sqrt(2 * np.log(1.25 / 1e-5)) / 1.0
    assert values.std() == pytest.approx(deviation, rel=0.05)
    for name in start.keys() - trained.keys():
        assert result(noisy)[name].tobytes() == start[name].tobytes()


def test_personal_layers_stay_with_their_device_and_every_device_is_scored(
    make: Make, planned: Any, tmp_path: Path
) -> None:
    config = make(rounds=3, personal=0, evaluate_every=2, held_out=0.3, devices_per_round=3)
    found = planned(config)
    log = run(found)
    start, end = started(config), result(config)
    head = network(config).personal_shapes(0)
    assert head
    for name, before in start.items():
        if name in head:
            assert end[name].tobytes() == before.tobytes(), "the server never sees a head"
    assert any(end[name].tobytes() != start[name].tobytes() for name in start)
    sent = plan(config).tables.costs[2, 2].upload
    assert sent == plan(make(output="-")).tables.costs[2, 2].upload - sum(
        128 + 4 * int(np.prod(shape)) for shape in head.values()
    )
    for device in log[0]["devices"]:
        assert device["examples"] == 7
        assert device["layers"] != 2 or device["bytes_up"] == sent
    assert [record.get("on_devices", {}).get("devices") for record in log] == [None, 4, 4]
    scored = log[-1]["on_devices"]
    assert 0 <= scored["worst_tenth"] <= scored["mean"] <= 1
    own = {path.parent.name: load_file(path) for path in sorted((config.output / "devices").glob("*/*.safetensors"))}
    assert set(own) == {"0", "1", "2", "3"}
    assert all(set(arrays) == set(head) for arrays in own.values())
    assert not same_bits(own["0"], own["1"])

    cut = config.model_copy(update={"output": tmp_path / "cut"})

    with pytest.raises(Killed):
        serve(DirectGrid(4), planned(cut), resume=False, say=killed_after(1))
    (cut.output / "checkpoint.safetensors").rename(tmp_path / "first")
    with pytest.raises(CheckpointError):
        run(planned(cut), resume=True)
    (tmp_path / "first").rename(cut.output / "checkpoint.safetensors")

    def die(device: int, message: Message, reply: Message) -> Message | None:
        raise Killed

    with pytest.raises(Killed):  # after a device of round 2 has written its layers
        serve(
            DirectGrid(4, lambda d, m, r: r if m.metadata.message_type == "query" else die(d, m, r)),
            planned(cut),
            resume=True,
            say=killed_after(1),
        )
    again = run(planned(cut), resume=True)
    assert again[-1]["on_devices"] == scored
    assert same_bits(result(config), result(cut))
    with pytest.raises(ConfigError, match="under lora adapters train"):
        make(personal=0, rule="lora")
    with pytest.raises(ConfigError, match="must leave a block of the smallest depth, 2"):
        make(personal=2)
