"""Whose data a device trains on: partitions, its own, texts by speaker, images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoModelForImageClassification

from federation import DirectGrid, Make, run
from frostline.errors import (
    ConfigError,
    DataError,
    PlanError,
    UnsupportedModel,
)
from frostline.federated.data import divide, examples
from frostline.federated.server_app import plan, serve
from language_models import TEXT, make_language_model
from tiny_pictures import make_vit, paint


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
    few = tmp_path / "few.tsv"
    few.write_text("label\ttext\ngood\tword\nbad\tother word\n" * 2, encoding="utf-8")
    (tmp_path / "held.tsv").write_text(few.read_text(encoding="utf-8").replace("word", "line"), encoding="utf-8")
    held = str(tmp_path / "held.tsv")
    some = make([{"name": "all", "count": 9}], partition="own", output="-", data=str(few), validation=held)
    assert len(plan(some).choice.shares) == 9, "the server's own may be fewer than devices"
    named = {device: {"data": str(place)} for device, place in places.items()}
    with pytest.raises(
        PlanError, match="says it is device 7 of a fleet of 4: start it with a partition-id from 0 to 3"
    ):
        go(named | {2: {"partition-id": 7}})
    with pytest.raises(PlanError, match="says it is device none of a fleet of 4"):
        go(named | {2: {"partition-id": ""}})
    one_class = "label\ttext\n" + "good\tword\n" * 6
    places[3].write_text(one_class, encoding="utf-8")
    (record,) = go(more | {3: {"data": str(places[3])}})
    assert record["replies"] == 4
    assert [device["examples"] for device in record["devices"]] == [3, 4, 5, 6]


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
        plan(make([{"name": "all", "count": 6}], **how, model=str(untied), output="-"))
    few = examples(make(**how, model=str(untied), output="-", max_train=10))
    assert set(few.labels) == set(range(5)), "some of every document"
    assert len(few.labels) == len(few.encoded.train) == 10
    with pytest.raises(ConfigError, match="it is for task language-modeling"):
        make(partition="natural")


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
