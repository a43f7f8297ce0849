"""Fleets: groups, presets and boards become devices; what cannot be is refused, with the way out."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from frostline.errors import ConfigError
from frostline.federated.fleet import make_fleet, presets
from frostline.federated.groups import boards
from frostline.federated.limits import BYTES, FLOPS, Limit, parse


def fleet_of(**group: Any) -> Any:
    return make_fleet({"groups": [{"name": "a", "count": 1, **group}]})


def test_groups_become_devices_in_order() -> None:
    text = """
    groups:
      - {name: pi, count: 2, board: raspberry-pi-5, reserved: 600MiB, seconds: 60, upload: 5MiB, availability: 0.5}
      - {name: small, count: 1, memory: 25%, flops: 2TFLOP, download: 50%, data: 0.25}
    """
    devices = make_fleet(yaml.safe_load(text)).devices()
    assert [device.name for device in devices] == ["pi-0", "pi-1", "small-0"]
    assert [device.index for device in devices] == [0, 1, 2]
    pi, small = devices[0], devices[2]
    assert pi.memory == Limit(amount=8 * 2**30)
    assert pi.flops == Limit(amount=60 * 153.6e9)
    assert (pi.reserved, pi.upload, pi.availability) == (600 * 2**20, Limit(amount=5 * 2**20), 0.5)
    assert (small.memory, small.flops, small.download) == (Limit(share=0.25), Limit(amount=2e12), Limit(share=0.5))
    assert (small.upload, small.data) == (None, 0.25)


def test_a_group_says_more_than_its_board() -> None:
    device = fleet_of(board="laptop", memory="1GiB", flops_per_second="2GFLOP", seconds=3.0).devices()[0]
    assert (device.memory, device.flops) == (Limit(amount=2**30), Limit(amount=6e9))


def test_presets_divide_the_devices_equally() -> None:
    fleet = make_fleet({"preset": "thirds", "count": 10})
    assert [(group.name, group.count) for group in fleet.groups] == [("strong", 4), ("middling", 3), ("weak", 3)]
    assert [group.memory for group in fleet.groups] == [Limit(share=share) for share in (1, 0.66, 0.33)]
    shares = [device.data for device in fleet.devices(seed=1) if device.group == "weak"]
    assert all(0.5 <= share <= 1 for share in shares)
    assert len(set(shares)) == 3
    assert fleet.devices(seed=1) == fleet.devices(seed=1) != fleet.devices(seed=2)


def test_every_preset_and_board_can_be_used() -> None:
    for name in presets():
        assert len(make_fleet({"preset": name, "count": 12}).devices()) == 12
    for name, board in boards().items():
        assert board["figures"]
        assert fleet_of(board=name, seconds=1.0).devices()[0].flops == parse(board["flops_per_second"], FLOPS, "")


@pytest.mark.parametrize(
    ("text", "units", "expected"),
    [("2GiB", BYTES, 2 * 2**30), ("2 GB", BYTES, 2e9), (1024, BYTES, 1024), ("1.5TFLOP", FLOPS, 1.5e12)],
)
def test_amounts(text: Any, units: dict[str, int], expected: float) -> None:
    assert parse(text, units, "") == Limit(amount=expected)
    assert parse("12.5%", units, "").of(200) == 25


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ({"board": "raspbery-pi-5"}, "board 'raspbery-pi-5' is unknown; did you mean 'raspberry-pi-5'"),
        ({"memory": "2GiBs"}, "unknown unit 'GiBs'; did you mean 'GiB'"),
        ({"memory": "-1GiB"}, "give more than 0"),
        ({"memory": 0}, "give more than 0"),
        ({"memory": "120%"}, "100% is what full fine-tuning takes"),
        ({"memory": 0.25}, "a share is written with a percent sign: 25%"),
        ({"memory": True}, "no amount"),
        ({"memory": "1.2.3MiB"}, "no number"),
        ({"memory": [1]}, "no amount"),
        ({"memory": "1e999"}, "give more than 0"),
        ({"flops": "2GiB"}, "unknown unit 'GiB'"),
        ({"memory": "1GiB", "reserved": "2GiB"}, "leave nothing"),
        ({"reserved": "10%"}, "is a share"),
        ({"reserved": "1GiB"}, "are of a memory in bytes"),
        ({"reserved": "1GiB", "memory": "80%"}, "are of a memory in bytes"),
        ({"reserved": "1e308TiB", "memory": "2GiB"}, "no machine has as much"),
        ({"memory": "1e308TiB"}, "no machine has as much"),
        ({"board": ["laptop"]}, "board ['laptop'] is unknown"),
        ({"seconds": "soon", "board": "laptop"}, "seconds='soon' is refused"),
        ({"data": 10**400}, "no share of data"),
        ({"seconds": 5.0}, "needs a speed"),
        ({"seconds": 5.0, "flops": 1e9, "board": "laptop"}, "give one of them"),
        ({"seconds": -1.0, "board": "laptop"}, "greater than 0"),
        ({"flops_per_second": float("nan")}, "flops_per_second=nan is refused"),
        ({"flops_per_second": "50%"}, "write a speed"),
        ({"count": 0}, "count=0 is refused"),
        ({"count": 2.5}, "count=2.5 is refused"),
        ({"count": 10**9}, "is refused"),
        ({"availability": 0.0}, "availability=0.0 is refused"),
        ({"availability": 1.5}, "availability=1.5 is refused"),
        ({"data": 0}, "no share of data"),
        ({"data": [1, 0.5]}, "no share of data"),
        ({"data": "half"}, "no share of data"),
        ({"memroy": "1GiB"}, "unknown key 'memroy'; did you mean 'memory'"),
        ({"name": ""}, "is refused"),
    ],
)
def test_what_cannot_be_is_refused(group: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match="fleet: group") as caught:
        fleet_of(**group)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "write groups:"),
        ({}, "either groups:"),
        ({"groups": []}, "one or more"),
        ({"groups": [3]}, "group 0 is 3"),
        ({"groups": [{"name": "a"}]}, "'count' is missing"),
        ({"groups": [{"name": "a", "count": 1}] * 2}, "two groups are called 'a'"),
        ({"groups": [{"name": n, "count": 600_000} for n in "ab"]}, "1,200,000 devices are refused"),
        ({"preset": "third", "count": 9}, "did you mean 'thirds'"),
        ({"preset": "thirds"}, "with count:"),
        ({"preset": "thirds", "count": 2}, "give 3 devices or more"),
        ({"preset": "thirds", "count": "9"}, "count='9' is refused"),
        ({"presets": "thirds"}, "unknown key 'presets'; did you mean 'preset'"),
        ({"groups": [{"name": "a", "count": 1}], "count": 4}, "either groups:"),
    ],
)
def test_a_fleet_that_is_none_is_refused(values: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_fleet(values)
    assert said in str(caught.value)


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    (group,) = fleet_of(board="laptop", seconds="1e3", availability="5e-1").groups
    assert (group.seconds, group.availability) == (1000, 0.5)


def test_a_preset_that_is_no_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="preset \\['thirds'\\] is unknown"):
        make_fleet({"preset": ["thirds"], "count": 3})
