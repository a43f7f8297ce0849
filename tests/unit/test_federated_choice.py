"""CAFF's tables say what a step takes; the choice of depth and layers is that of brute force."""

from __future__ import annotations

import random
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
import torch
from flwr.app import Array
from transformers import BertConfig

from frostline import prepare
from frostline.errors import BudgetInfeasible, ConfigError
from frostline.federated.choice import choose, share_of
from frostline.federated.fleet import Device
from frostline.federated.limits import Limit
from frostline.federated.tables import Cost, Tables, make_tables
from frostline.meter.tensors import TensorTracker
from frostline.planner.limits import MARGIN
from frostline.skeletons import shaped_batch, skeleton

torch.set_num_threads(1)

_SGD: Any = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bert")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 3}
    BertConfig(vocab_size=50, max_position_embeddings=32, **sizes).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def tables(model: str) -> Tables:
    return make_tables(model, [1, 3], batch_size=4, sequence_length=16, labels=3, make_optimizer=_SGD)


def random_tables(chance: random.Random) -> Tables:
    depths = chance.sample(range(1, 7), chance.randint(1, 4))
    costs = {(l, t): Cost(*(chance.randint(1, 9) for _ in range(4))) for l in depths for t in range(1, l + 1)}  # noqa: E741
    return Tables(costs, Cost(*(chance.randint(5, 12) for _ in range(4))))


def random_device(chance: random.Random, index: int) -> Device:
    def limit() -> Limit | None:
        kind = chance.choice(("none", "amount", "share"))
        if kind == "none":
            return None
        return Limit(amount=chance.randint(3, 30)) if kind == "amount" else Limit(share=chance.choice((0.25, 0.5, 1)))

    return Device(index, "g", f"g-{index}", memory=limit(), flops=limit(), upload=limit(), download=limit())


def brute_force(devices: list[Device], tables: Tables, steps: list[int]) -> tuple[int, list[int]] | None:
    """All of CAFF's definition, written down anew: t_c, then the mean over devices, then the argmax."""

    def bound(limit: Limit, whole: int) -> float:
        return limit.amount if limit.amount is not None else float(limit.share) * whole

    def fits(device: Device, cost: Cost, count: int) -> bool:
        needs = []
        if device.memory is not None and device.memory.amount is not None:
            needs.append((cost.memory, int(device.memory.amount * (1 - MARGIN))))
        elif device.memory is not None:
            needs.append((cost.memory, bound(device.memory, tables.full.memory)))
        for limit, need, whole in (
            (device.flops, cost.flops * count, tables.full.flops * count),
            (device.upload, cost.upload, tables.full.upload),
            (device.download, cost.download, tables.full.download),
        ):
            if limit is not None:
                needs.append((need, bound(limit, whole)))
        return all(need <= there for need, there in needs)

    candidates = []
    for depth in {depth for depth, _ in tables.costs}:
        layers = [
            max((t for t in range(1, depth + 1) if fits(d, tables.costs[depth, t], n)), default=0)
            for d, n in zip(devices, steps, strict=True)
        ]
        if min(layers) > 0:
            candidates.append((Fraction(sum(layers), len(layers)), depth, layers))
    if not candidates:
        return None
    _, depth, layers = max(candidates)
    return depth, layers


def test_the_choice_is_brute_forces() -> None:
    chance = random.Random(0)
    chosen = refused = 0
    for _ in range(600):
        tables = random_tables(chance)
        devices = [random_device(chance, index) for index in range(chance.randint(1, 4))]
        steps = [chance.randint(1, 3) for _ in devices]
        expected = brute_force(devices, tables, steps)
        if expected is None:
            refused += 1
            with pytest.raises(BudgetInfeasible):
                choose(devices, tables, steps)
            continue
        chosen += 1
        found = choose(devices, tables, steps)
        assert (found.depth, [share.layers for share in found.shares]) == expected
    assert min(chosen, refused) > 100  # both ways were tried


def test_of_equals_the_deeper() -> None:
    cost = Cost(1, 1, 1, 1)
    tables = Tables(
        {(2, 1): cost, (2, 2): cost, (4, 1): cost, (4, 2): cost, (4, 3): Cost(9, 1, 1, 1), (4, 4): cost}, cost
    )
    device = Device(0, "g", "g-0", upload=Limit(amount=1), memory=Limit(amount=5))
    alone = Tables(
        {key: cost for key in tables.costs if key[1] < 3} | {(4, 3): Cost(9, 1, 9, 1), (4, 4): Cost(9, 1, 1, 1)}, cost
    )
    found = choose([device], alone)
    assert (found.depth, found.shares[0].layers, found.means) == (4, 2, {2: 2.0, 4: 2.0})
    assert found.shares[0].binds == ("memory", "upload")
    assert share_of(device, 4, tables).layers == 4  # the most that fit, though three do not


def test_a_device_that_can_train_nothing_is_named() -> None:
    tables = Tables({(1, 1): Cost(3 * 2**20, 10, 2**20, 1)}, Cost(4 * 2**20, 20, 2**20, 1))
    able = Device(0, "g", "strong-0", memory=Limit(share=1.0))
    unable = Device(1, "g", "weak-0", memory=Limit(share=0.25), flops=Limit(amount=25))
    with pytest.raises(
        BudgetInfeasible, match=r"'weak-0' cannot train one layer.*memory of 3 MiB with 1 MiB"
    ) as caught:
        choose([able, unable], tables, [1, 3])
    assert "flops of 30 FLOPs with 25 FLOPs" in str(caught.value)
    assert choose([able], tables).depth == 1


def test_the_tables_follow_the_papers_form(tables: Tables) -> None:
    costs, full = tables.costs, tables.full
    forward = (costs[3, 2].flops - costs[3, 1].flops) / 2  # one block more: its weights' gradients and the error signal
    assert costs[3, 3].flops - costs[3, 2].flops == 2 * forward
    assert (costs[3, 1].flops - costs[1, 1].flops) / 2 == pytest.approx(forward)
    assert costs[3, 1].upload == costs[1, 1].upload
    assert costs[3, 1].download == costs[3, 3].download > costs[1, 1].download
    assert costs[3, 1].memory < costs[3, 2].memory < costs[3, 3].memory < full.memory
    assert full.upload <= full.download
    assert tables.depths == (1, 3)


def test_the_tables_memory_and_upload_are_a_real_steps(model: str, tables: Tables) -> None:
    network = skeleton(model, depth=3, labels=3, device="cpu").train()
    batch = shaped_batch(network, 4, 16)
    batch.pop("attention_mask")  # it masks nothing
    tuner = prepare(network, "layers", count=2)
    optimizer = _SGD(tuner.candidate_parameters())
    tuner.attach(optimizer)
    with TensorTracker(network) as tracker:
        for _ in range(2):
            tuner.before_step()
            network(**batch).loss.backward()
            optimizer.step()
            tuner.after_step()
            optimizer.zero_grad(set_to_none=True)
            tracker.mark_optimizer(optimizer)
    assert tracker.peak_bytes == pytest.approx(tables.costs[3, 2].memory, rel=0.02)
    sent = [Array(p.detach().numpy()).data for p in tuner.candidate_parameters()]
    assert sum(map(len, sent)) == tables.costs[3, 2].upload


@pytest.mark.parametrize("depth", [0, 4])
def test_a_depth_that_is_not_there_is_refused(model: str, depth: int) -> None:
    with pytest.raises(ConfigError, match=f"a depth of {depth} is refused: .* give 1 to 3"):
        make_tables(model, [depth], batch_size=2)
