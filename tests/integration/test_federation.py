"""A federation of a tiny BERT over the real device and server apps, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from flwr.supercore.task_identity import TaskIdentity
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoModelForImageClassification, AutoModelForSequenceClassification

from federation import DirectGrid, Spoil
from frostline.errors import (
    BudgetInfeasible,
    CheckpointError,
    ConfigError,
    DataError,
    FrostlineError,
    PlanError,
    UnsupportedModel,
)
from frostline.federated.choice import Choice, Share
from frostline.federated.config import FederateConfig, make_federate_config
from frostline.federated.data import divide, examples
from frostline.federated.local import train_part
from frostline.federated.network import Network
from frostline.federated.parts import Part
from frostline.federated.products import factored, multiplied
from frostline.federated.rules import RULES
from frostline.federated.server_app import Planned, plan, serve
from frostline.federated.strategy import device_seed
from frostline.federated.tables import Cost, Tables
from frostline.models import load_classifier
from language_models import TEXT, make_language_model
from tiny_pictures import make_vit, paint

torch.set_num_threads(1)

HALF = [{"name": "strong", "count": 2}, {"name": "weak", "count": 2, "upload": "50%"}]
TREC = Path(__file__).parents[2].parent / "shared" / "data" / "text" / "trec"
Make = Callable[..., FederateConfig]


@pytest.fixture(autouse=True)
def run_of_flower(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("task_id", "run_id", "node_id"):  # Flower's messages belong to a run
        monkeypatch.setattr(TaskIdentity, f"_{part}", 1)


@pytest.fixture
def make(tiny: Path, task: Path, tmp_path: Path) -> Make:
    def config(groups: Any = HALF, **changes: Any) -> FederateConfig:
        values: dict[str, Any] = {
            "model": str(tiny),
            "depths": [2],
            "data": str(task),
            "output": str(tmp_path / "out"),
            "fleet": {"groups": groups},
            "partition": "iid",
            "rounds": 2,
            "devices_per_round": 4,
            "batch_size": 4,
            "max_length": 16,
            "wave": 3,
            "optimizer": "sgd",
            "seed": 5,
        }
        return make_federate_config(values | changes)

    return config


@pytest.fixture(scope="session")
def plans() -> dict[str, Planned]:
    return {}


@pytest.fixture
def planned(plans: dict[str, Planned]) -> Callable[[FederateConfig], Planned]:
    """Plan, but rehearse each model and fleet once: the plan does not depend on the rest."""

    def of(config: FederateConfig) -> Planned:
        key = json.dumps([config.fleet, config.depths, config.model])
        if key not in plans:
            plans[key] = plan(config)
        found = plans[key]
        return Planned(config, found.data, found.tables, found.choice)

    return of


def run(planned: Planned, spoil: Spoil | None = None, *, resume: bool = False) -> list[Any]:
    log: list[Any] = []
    serve(DirectGrid(len(planned.choice.shares), spoil), planned, resume=resume, say=log.append)
    return log


def network(config: FederateConfig) -> Network:
    return Network(config.model, 2, 2)


def started(config: FederateConfig, rank: int | None = None) -> dict[str, Any]:
    torch.manual_seed(config.seed)
    return network(config).start(load_classifier(config.model, ("bad", "good")).model, config.seed, rank)


def own_copy(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value.copy() for name, value in state.items()}


def result(config: FederateConfig) -> dict[str, np.ndarray[Any, Any]]:
    model = AutoModelForSequenceClassification.from_pretrained(config.output / "model")
    return {name: value.numpy() for name, value in model.state_dict().items()}


def same_bits(first: Any, second: Any) -> bool:
    return bool(first.keys() == second.keys() and all(first[n].tobytes() == second[n].tobytes() for n in first))


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
            arrays = len(names[share.layers])
            assert sent[share.device.name] == costs[2, share.layers].upload + 128 * arrays  # NumPy's header of each
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

    class Killed(Exception):
        pass

    def kill(record: Any) -> None:
        if record["round"] == 2:
            raise Killed

    with pytest.raises(Killed):
        serve(DirectGrid(4), planned(cut), resume=False, say=kill)
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


def spoilt(reply: Message, message: Message, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Message:
    arrays = {name: array.numpy() for name, array in reply.content.array_records["arrays"].items()}
    content = RecordDict({"metrics": reply.content.metric_records["metrics"]})
    content["arrays"] = ArrayRecord({name: Array(np.asarray(value)) for name, value in change(arrays).items()})
    return Message(content, reply_to=message)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda arrays: {name: value * np.float32(np.nan) for name, value in arrays.items()}, "nonfinite"),
        (lambda arrays: {name: value * np.float32(1000) for name, value in arrays.items()}, "norm"),
        (lambda arrays: {**arrays, "extra": np.zeros(2, np.float32)}, "keys"),
        (lambda arrays: {name: value[None] for name, value in arrays.items()}, "shape"),
        (None, "late"),
    ],
)
def test_a_faulty_device_is_counted_and_does_no_harm(make: Make, planned: Any, change: Any, reason: str) -> None:
    def spoil(device: int, message: Message, reply: Message) -> Message | None:
        if device != 1 or message.metadata.message_type != "train":
            return reply
        return spoilt(reply, message, change) if change else None

    config = make(rounds=1)
    log = run(planned(config), spoil)
    assert log[0]["rejected"] == {reason: 1}
    assert log[0]["replies"] == 3
    assert log[0]["devices"][1]["detail"]
    faulty = result(config)
    assert all(np.isfinite(value).all() for value in faulty.values())
    assert max(float(np.abs(value).max()) for value in faulty.values()) < 10


FAULTS: list[Any] = [
    lambda arrays: {name: value * np.float32(np.nan) for name, value in arrays.items()},
    lambda arrays: {name: value * np.float32(1000) for name, value in arrays.items()},
    lambda arrays: {**arrays, "extra": np.zeros(2, np.float32)},
    lambda arrays: {name: value[None] for name, value in arrays.items()},
    None,
]


@pytest.mark.skipif(not TREC.exists(), reason="the shared data are not here")
@pytest.mark.slow  # a real network, which learns something worth losing
def test_training_with_a_fault_in_every_round_ends_where_it_does_without(make: Make, tmp_path: Path) -> None:
    groups = [{"name": "strong", "count": 9}, {"name": "weak", "count": 9, "upload": "40%"}]
    how: dict[str, Any] = {"model": "minilm", "depths": [3], "max_train": 720, "batch_size": 8, "local_epochs": 2}
    how |= {
        "data": str(TREC),
        "rounds": 14,
        "devices_per_round": 18,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "max_length": 24,
    }

    def spoil(device: int, message: Message, reply: Message) -> Message | None:
        if message.metadata.message_type != "train":
            return reply
        number = int(message.metadata.group_id)
        if number % 5 == 0 and device in (number, number + 1):
            return None  # two are late
        if device != number:
            return reply
        return spoilt(reply, message, change) if (change := FAULTS[number // 2 % len(FAULTS)]) else None

    scores = []
    for name, spoils in (("without", None), ("with", spoil)):
        log = run(plan(make(groups, **how, output=str(tmp_path / name))), spoils)
        scores.append(log[-1]["metrics"]["accuracy"])
        print(name, [record["metrics"]["accuracy"] for record in log])
    assert [record["replies"] for record in log] == [17, 17, 17, 17, 16] * 2 + [17] * 4
    assert {reason for record in log for reason in record["rejected"]} == {"nonfinite", "norm", "keys", "shape", "late"}
    assert scores[0] > 0.7
    assert scores[1] >= scores[0] - 0.01


def test_a_device_that_fails_is_told_apart_and_a_round_without_quorum_moves_nothing(make: Make, planned: Any) -> None:
    def spoil(device: int, message: Message, reply: Message) -> Message | None:
        return None if message.metadata.message_type == "train" and device > 0 else reply

    config = make(rounds=1)
    log = run(planned(config), spoil)
    assert (log[0]["replies"], log[0]["quorum"], log[0]["reached"]) == (1, 2, False)
    start = started(config)
    assert same_bits(result(config), start)


def test_round_0_refuses_what_does_not_fit(make: Make, planned: Any) -> None:
    def spoil_with(**told: Any) -> Spoil:
        def spoil(device: int, message: Message, reply: Message) -> Message | None:
            if device != 2:
                return reply
            answer = json.loads(str(reply.content.config_records["answer"]["json"])) | told
            return Message(RecordDict({"answer": ConfigRecord({"json": json.dumps(answer)})}), reply_to=message)

        return spoil

    cases: list[tuple[Spoil, type[FrostlineError], str]] = [
        (spoil_with(fingerprints=["0" * 64]), PlanError, "device 'weak-0' would train another network"),
        (spoil_with(device=0), PlanError, "says it is device 0, which is there already"),
        (spoil_with(device=9), PlanError, "not in the fleet"),
        (spoil_with(examples=0), DataError, "device 'weak-0' has no data"),
        (lambda device, message, reply: None if device == 2 else reply, PlanError, "'weak-0' among them"),
    ]
    for spoil, error, said in cases:
        with pytest.raises(error, match=said):
            run(planned(make()), spoil)


def test_devices_with_data_of_their_own_train_on_those(make: Make, planned: Any, tmp_path: Path) -> None:
    config = make(partition="own", rounds=1)
    found = planned(config)
    places = {device: tmp_path / f"device{device}.tsv" for device in range(4)}
    for device, place in places.items():
        rows = [f"{'b1' if device == 3 else ('good' if n % 2 else 'bad')}\tword {n}" for n in range(3 + device)]
        place.write_text("\n".join(["label\ttext", *rows]) + "\n", encoding="utf-8")
    more = {device: {"data": str(place)} for device, place in places.items()}

    def go(more: dict[int, dict[str, Any]]) -> list[Any]:
        log: list[Any] = []
        serve(DirectGrid(4, more=more), found, resume=False, say=log.append)
        return log

    with pytest.raises(PlanError, match="this device was not told where its data are"):
        go({})
    with pytest.raises(PlanError, match="'b1'"):
        go(more)
    one_class = "label\ttext\n" + "good\tword\n" * 6
    places[3].write_text(one_class, encoding="utf-8")
    (record,) = go(more | {3: {"data": str(places[3])}})
    assert record["replies"] == 4
    assert [device["examples"] for device in record["devices"]] == [3, 4, 5, 6]


def test_rates_and_momentum_follow_the_optimizer(make: Make) -> None:
    def rates(**changes: Any) -> tuple[float, float, float | None]:
        config = make_federate_config(
            {"depths": [2], "output": "-", "fleet": {"groups": [{"name": "a", "count": 1}]}, **changes}
        )
        return config.learning_rate, config.final_learning_rate, config.momentum

    assert rates() == pytest.approx((5e-4, 5e-5, None))
    assert rates(learning_rate=1e-3) == pytest.approx((1e-3, 1e-4, None))
    assert rates(optimizer="sgd") == pytest.approx((0.1, 0.01, 0.9))
    assert rates(optimizer="sgd", momentum=0.0, final_learning_rate=0.05) == (0.1, 0.05, 0.0)
    with pytest.raises(ConfigError, match="momentum is of optimizer sgd"):
        rates(momentum=0.9)
    sgd, adamw = (plan(make(optimizer=name, learning_rate=0.1)).tables for name in ("sgd", "adamw"))
    assert adamw.costs[2, 2].memory > sgd.costs[2, 2].memory, "two moments for each weight, not one"


def test_a_device_too_small_is_refused_by_name_before_anything_runs(make: Make) -> None:
    groups = [{"name": "able", "count": 3}, {"name": "tiny", "count": 1, "upload": "1kB"}]
    with pytest.raises(BudgetInfeasible, match=r"'tiny-0' cannot train one layer.*upload"):
        plan(make(groups))


def test_every_example_goes_to_one_device_and_dirichlet_mixes_differ(make: Make) -> None:
    groups = [{"name": "a", "count": 4}, {"name": "b", "count": 4, "data": 0.5}]
    for partition in ("iid", "dirichlet"):
        config = make(groups, partition=partition)
        labels = examples(config).labels * 10
        parts = divide(labels, config.devices.devices(), config)
        assert [len(part) for part in parts] == [50] * 4 + [25] * 4
        taken = [index for part in parts for index in part]
        assert len(set(taken)) == len(taken)
        shares = [np.mean([labels[index] for index in part]) for part in parts]
        assert (max(shares) - min(shares) > 0.5) == (partition == "dirichlet")
    assert len(examples(make(max_train=24)).labels) == 24
    with pytest.raises(DataError, match="40 training examples for 60 devices"):
        divide(labels[:40], make([{"name": "a", "count": 60}]).devices.devices(), config)


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


def test_a_proximal_term_keeps_devices_near_where_they_began(make: Make, planned: Any) -> None:
    caff = planned(make())
    start, moved = started(make()), []
    for strength in (0.0, 5.0):
        config = make(rounds=1, proximal=strength, local_epochs=3, output=f"{make().output}-{strength}")
        run(Planned(config, caff.data, caff.tables, caff.choice))
        end = result(config)
        moved.append(sum(float(np.square(end[name] - value).sum()) for name, value in start.items()))
    assert 0 < moved[1] < 0.8 * moved[0]


def test_what_a_device_sends_is_clipped_and_blurred(make: Make, planned: Any) -> None:
    caff = planned(make())
    how = {"clipping_norm": 0.01, "sensitivity": 1e-9, "epsilon": 1.0, "delta": 1e-5}
    config = make([{"name": "all", "count": 1}], rounds=1, local_dp=how)
    found = plan(config)
    assert found.tables.costs[2, 2].memory == caff.tables.costs[2, 2].memory + caff.tables.costs[2, 2].upload
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
    assert sent == found.tables.costs[2, 2].upload - sum(4 * int(np.prod(shape)) for shape in head.values())
    for device in log[0]["devices"]:
        assert device["examples"] == 7
        assert device["layers"] != 2 or device["bytes_up"] - sent < 128 * len(network(config).trained_shapes(Part(2)))
    assert [record.get("on_devices", {}).get("devices") for record in log] == [None, 4, 4]
    scored = log[-1]["on_devices"]
    assert 0 <= scored["worst_tenth"] <= scored["mean"] <= 1
    own = {path.parent.name: load_file(path) for path in sorted((config.output / "devices").glob("*/*.safetensors"))}
    assert set(own) == {"0", "1", "2", "3"}
    assert all(set(arrays) == set(head) for arrays in own.values())
    assert not same_bits(own["0"], own["1"])

    cut = config.model_copy(update={"output": tmp_path / "cut"})

    class Killed(Exception):
        pass

    def kill(record: Any) -> None:
        if record["round"] == 1:
            raise Killed

    with pytest.raises(Killed):
        serve(DirectGrid(4), planned(cut), resume=False, say=kill)
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
            say=kill,
        )
    again = run(planned(cut), resume=True)
    assert again[-1]["on_devices"] == scored
    assert same_bits(result(config), result(cut))
    with pytest.raises(ConfigError, match="under lora adapters train"):
        make(personal=0, rule="lora")
    with pytest.raises(ConfigError, match="must leave a block of the smallest depth, 2"):
        make(personal=2)


@pytest.fixture(scope="module")
def speakers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Documents of unlike length, and two models of their characters: with the embeddings in the head, and without."""
    folder = tmp_path_factory.mktemp("speakers")
    (folder / "train").mkdir()
    for number in range(5):
        (folder / "train" / f"{number}.txt").write_text(TEXT * (number + 1), encoding="utf-8")
    (folder / "train" / "9.txt").write_text("the cat\n", encoding="utf-8")  # less than a block
    (folder / "validation.txt").write_text(TEXT[40:] + "the end.\n", encoding="utf-8")
    for depth in (1, 2):
        make_language_model(folder / f"depth-{depth}", tie_word_embeddings=False, num_hidden_layers=depth)
    return folder, make_language_model(folder / "tied"), folder / "depth-{depth}"


def test_a_fleet_learns_a_language_a_document_a_device(make: Make, speakers: tuple[Path, Path, Path]) -> None:
    folder, tied, untied = speakers
    how: dict[str, Any] = {"task": "language-modeling", "data": str(folder / "train"), "partition": "natural"}
    how |= {"validation": str(folder / "validation.txt"), "max_length": 16, "evaluate_every": 5}
    how |= {"rounds": 5, "learning_rate": 0.02, "final_learning_rate": 0.01, "norm_bound": 1e9, "local_epochs": 2}
    with pytest.raises(UnsupportedModel, match="tie_word_embeddings: false"):
        run(plan(make(**how, model=str(tied))))
    config = make(**how, model=str(untied), depths=[1, 2])
    found = plan(config)
    assert [network.model[-7:] for network in found.networks] == ["depth-1", "depth-2"]
    blocks = [len(TEXT) * (number + 1) // 16 for number in range(5)]
    parts = divide(found.data.labels, config.devices.devices(config.seed), config)
    assert [len(part) for part in parts] == [blocks[0] + blocks[4], *blocks[1:4]], "the fifth document is the first's"
    log = run(found)
    assert [record["replies"] for record in log] == [4] * 5
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert 1 < log[0]["metrics"]["perplexity"] < len(set(TEXT))
    assert log[-1]["on_devices"]["devices"] == 4
    assert 0 < log[-1]["on_devices"]["worst_tenth"] < 1
    model = AutoModelForCausalLM.from_pretrained(config.output / "model")
    assert model.config.num_hidden_layers == 2
    assert (config.output / "model" / "tokenizer.json").is_file()
    with pytest.raises(DataError, match="5 documents for 6 devices"):
        plan(make([{"name": "all", "count": 6}], **how, model=str(untied)))
    with pytest.raises(ConfigError, match="it is for task language-modeling"):
        make(partition="natural")


@pytest.mark.parametrize("rule", ["rotating", pytest.param("cocofl", marks=pytest.mark.slow)])
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


def test_a_fleet_learns_images_at_another_size(make: Make, tmp_path: Path) -> None:
    paint(tmp_path / "lights" / "train", 40, 0)
    paint(tmp_path / "lights" / "validation", 12, 1)
    paths = {"model": str(make_vit(tmp_path / "vit")), "data": str(tmp_path / "lights")}
    config = make(**paths, image_size=32, augmentation="none", rounds=3, local_epochs=5)
    found = plan(config)
    assert [share.layers for share in found.choice.shares] == [2, 2, 1, 1]
    log = run(found)
    assert all(record["replies"] == 4 for record in log)
    assert log[-1]["loss"] < log[0]["loss"]
    model = AutoModelForImageClassification.from_pretrained(config.output / "model")
    assert (model.config.image_size, model.config.num_labels) == (32, 2)
    assert (config.output / "model" / "preprocessor_config.json").is_file()


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
