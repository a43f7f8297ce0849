"""The rules that CAFF is measured against: who trains what, by brute force over made-up tables."""

from __future__ import annotations

import random
from typing import get_args

import pytest

from frostline.errors import BudgetInfeasible
from frostline.federated.choice import choose, share_of
from frostline.federated.config import FederateConfig
from frostline.federated.fleet import Device
from frostline.federated.limits import Limit
from frostline.federated.parts import Part
from frostline.federated.rules import ADAPTED, RULES, WINDOWED
from frostline.federated.tables import Cost, Tables


def _tables(depths: tuple[int, ...] = (2, 4)) -> Tables:
    """Return costs that grow with what trains."""
    costs = {
        (depth, t): Cost(10 * depth + 5 * t, depth + 2 * t, 1 + t, depth) for depth in depths for t in range(depth + 1)
    }
    adapters = {(depth, rank): Cost(14 * depth, 2 * depth, rank, depth) for depth in depths for rank in (1, 2, 4)}
    windows = {
        (depth, t, skip): Cost(10 * depth + 5 * t + 2 * skip, depth + 2 * t, 1 + t, depth)
        for depth in depths
        for skip in range(depth)
        for t in range(1, depth - skip + 1)
    }
    return Tables(costs, costs[max(depths), max(depths)], adapters, windows)


def _fleet(*uploads: int | None) -> list[Device]:
    limits = [None if upload is None else Limit(amount=upload) for upload in uploads]
    return [Device(index, "g", f"g-{index}", upload=limit) for index, limit in enumerate(limits)]


def test_the_deepest_of_which_all_can_train_a_layer() -> None:
    tables = _tables((2, 4, 6))
    devices = [Device(index, "g", f"g-{index}", memory=Limit(amount=memory)) for index, memory in enumerate((48, 53))]
    caff, found = choose(devices, tables), RULES["deepest"](devices, tables, [1, 1])
    assert (caff.depth, [share.layers for share in caff.shares]) == (2, [2, 2])
    assert (found.depth, [share.layers for share in found.shares]) == (4, [1, 2])
    assert found.shares == tuple(share_of(device, 4, tables) for device in devices)
    assert found.means == caff.means == {2: 2.0, 4: 1.5, 6: None}
    with pytest.raises(BudgetInfeasible, match="'g-0' cannot train one layer"):
        RULES["deepest"]([Device(0, "g", "g-0", memory=Limit(amount=24))], tables, [1])


def test_fedavg_does_not_ask_for_limits() -> None:
    found = RULES["fedavg"](_fleet(1, None), _tables(), [1, 1])
    assert (found.depth, [share.layers for share in found.shares]) == (4, [4, 4])


def test_with_the_weakest_nobody_trains_more_than_all_can() -> None:
    devices, tables = _fleet(3, 4, None), _tables()
    found = RULES["weakest"](devices, tables, [1, 1, 1])
    assert (found.depth, [share.layers for share in found.shares]) == (4, [2, 2, 2])
    assert found.shares[0].binds == ("upload",)
    assert [share.layers for share in choose(devices, tables).shares] == [2, 3, 4]


def test_the_strongest_train_everything_and_the_others_nothing() -> None:
    found = RULES["strongest"](_fleet(3, 4, None, 5), _tables(), [1] * 4)
    assert found.depth == 4
    assert [share.takes_part for share in found.shares] == [False, False, True, True]
    smaller = RULES["strongest"](_fleet(3, 4), _tables(), [1] * 2)
    assert (smaller.depth, [share.takes_part for share in smaller.shares]) == (2, [True, True])
    with pytest.raises(BudgetInfeasible, match="no device can train the whole network"):
        RULES["strongest"](_fleet(2), _tables(), [1])


def test_the_head_alone() -> None:
    found = RULES["head"](_fleet(1, None), _tables(), [1, 1])
    assert (found.depth, [share.layers for share in found.shares]) == (4, [0, 0])
    tight = [Device(0, "g", "g-0", memory=Limit(share=0.1))]
    with pytest.raises(BudgetInfeasible, match="'g-0' cannot train the head"):
        RULES["head"](tight, _tables(), [1])


def test_adapters_of_one_rank_and_of_each_device_s_own() -> None:
    devices, tables = _fleet(3, 1, None), _tables()
    found = RULES["hetlora"](devices, tables, [1] * 3)
    assert (found.depth, [(share.layers, share.rank) for share in found.shares]) == (4, [(4, 2), (4, 1), (4, 4)])
    assert [share.binds for share in found.shares] == [("upload",), ("upload",), ()]
    assert [share.rank for share in RULES["lora"](devices, tables, [1] * 3).shares] == [1, 1, 1]
    small = [*devices, Device(3, "g", "g-3", memory=Limit(share=0.5))]  # enough for two blocks with adapters
    assert RULES["lora"](small, tables, [1] * 4).depth == 2
    with pytest.raises(BudgetInfeasible, match="'g-0' cannot train adapters of rank 1, even of the 2 blocks"):
        RULES["lora"]([Device(0, "g", "g-0", memory=Limit(share=0.1))], tables, [1])


def test_windows_are_the_longest_at_each_place_and_none_lies_in_another() -> None:
    for rule in WINDOWED:
        found = RULES[rule](_fleet(3, 4, None), _tables(), [1] * 3)
        assert found.depth == 4
        assert [share.windows for share in found.shares] == [
            ((2, 0), (2, 1), (2, 2)),
            ((3, 0), (3, 1)),
            ((4, 0),),
        ]
        assert [share.layers for share in found.shares] == [2, 3, 4]
        assert found.shares[0].parts == (Part(2), Part(2, skip=1), Part(2, skip=2))
    tight = [
        Device(0, "g", "g-0", memory=Limit(amount=34))
    ]  # lower windows keep more: 2 blocks at the top, 1 elsewhere
    (share,) = RULES["cocofl"](tight, _tables((2,)), [1]).shares
    assert share.windows == ((2, 0),)
    (share,) = RULES["cocofl"]([Device(0, "g", "g-0", memory=Limit(amount=57))], _tables((4,)), [1]).shares
    assert share.windows == ((3, 0), (2, 2)), "three at the top, two below two; two below one lie in the first"
    with pytest.raises(BudgetInfeasible, match="'g-0' cannot train one layer"):
        RULES["cocofl"](_fleet(1), _tables(), [1])


def test_no_rule_but_fedavg_breaks_a_limit() -> None:
    chance = random.Random(0)
    for _ in range(200):
        devices = _fleet(*(chance.choice((None, 1, 2, 3, 4, 5)) for _ in range(chance.randint(1, 4))))
        tables = _tables(tuple(sorted(chance.sample((1, 2, 3, 4), 2))))
        for name, rule in RULES.items():
            try:
                found = rule(devices, tables, [1] * len(devices))
            except BudgetInfeasible:
                continue
            assert any(share.takes_part for share in found.shares)
            for share in found.shares:
                if share.rank is not None:
                    assert share.device.upload is None or share.rank <= share.device.upload.of(0)
                elif name != "fedavg" and share.takes_part:
                    assert share.layers <= share_of(share.device, found.depth, tables).layers


def test_every_rule_can_be_asked_for() -> None:
    assert set(get_args(FederateConfig.model_fields["rule"].annotation)) == set(RULES) >= ADAPTED | WINDOWED
