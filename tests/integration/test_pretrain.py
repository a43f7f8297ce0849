"""`frostline pretrain`: small networks for characters and for images, which everything else loads."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import yaml
from PIL import Image
from transformers import AutoModelForCausalLM, AutoModelForImageClassification, AutoTokenizer, pipeline

from frostline.errors import FrostlineError
from language_models import TEXT

GPT2 = "{type: gpt2, n_embd: 16, n_head: 2}"
VIT = "{type: vit, hidden_size: 16, num_attention_heads: 2, intermediate_size: 32, image_size: 16, patch_size: 8}"
SHORT = ["max_length=16", "batch_size=4", "epochs=4", "learning_rate=0.02"]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "story.txt"
    path.write_text(TEXT * 3)
    return path


@pytest.fixture(scope="module")
def networks(command: Any, story: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with networks of one and two blocks, trained on the story's characters."""
    folder = tmp_path_factory.mktemp("networks")
    done = command("pretrain", f"model={GPT2}", "depths=[2, 1]", f"data={story}", *SHORT, "--output", folder)
    assert done.code == 0, done.stderr
    return folder


def picture_rows(classes: list[str], count: int, seed: int) -> datasets.Dataset:
    """Return images whose brightness is their class."""
    generator = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {"img": [], "fine_label": []}
    for index in range(count):
        label = index % len(classes)
        stream = io.BytesIO()
        pixels = generator.integers(80 * label, 80 * label + 60, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(stream, "png")
        rows["img"].append({"bytes": stream.getvalue(), "path": None})
        rows["fine_label"].append(label)
    features = datasets.Features({"img": datasets.Image(), "fine_label": datasets.ClassLabel(names=classes)})
    return datasets.Dataset.from_dict(rows, features=features)


def test_networks_of_several_depths_are_plain_models_that_have_learnt(networks: Path, record: Any) -> None:
    assert sorted(path.name for path in networks.iterdir()) == [
        "depth-1",
        "depth-1-random",
        "depth-2",
        "depth-2-random",
    ]
    for depth in (1, 2):
        model = AutoModelForCausalLM.from_pretrained(networks / f"depth-{depth}")
        assert (model.config.n_layer, model.config.n_positions) == (depth, 16)
        values = record(networks / f"depth-{depth}")
        assert (values["config"]["method"], values["config"]["model"]) == (
            "full",
            str(networks / f"depth-{depth}-random"),
        )
        assert values["metrics"]["perplexity"] < 10  # a guess among the text's 19 characters and 3 more is 22
    tokenizer = AutoTokenizer.from_pretrained(networks / "depth-1")
    assert tokenizer.decode(tokenizer("the cat\n")["input_ids"]) == "the cat\n"
    assert len(tokenizer) == model.config.vocab_size == len(set(TEXT)) + 3


def test_start_is_the_same_network_before_its_training(command: Any, networks: Path, story: Path) -> None:
    def perplexity(folder: Path) -> float:
        found = json.loads(command("eval", folder, "--data", story, "--json").stdout)
        return float(found["perplexity"])

    assert perplexity(networks / "depth-2-random") > 2 * perplexity(networks / "depth-2")


def test_train_goes_on_from_one_with_its_task_and_with_another(
    command: Any, train: Any, networks: Path, story: Path, task: Path, tmp_path: Path
) -> None:
    keys = {"model": str(networks / "depth-2"), "max_length": 16, "max_steps": 2}
    values = train(
        tmp_path / "more", **keys, data=str(story), task="language-modeling", method="layers", settings={"count": 1}
    )
    assert values["status"] == "finished"
    values = train(tmp_path / "classes", **keys, data=str(task), method="slimfit", settings={"rate": 0.5})
    assert values["data"]["label_names"] == ["bad", "good"]
    assert json.loads(command("predict", tmp_path / "classes", "the day was sad").stdout)["label"] in ("bad", "good")


def test_a_federation_loads_one(command: Any, networks: Path, task: Path, tmp_path: Path) -> None:
    from frostline.federated.network import Network
    from frostline.models import load_classifier

    keys = {"model": str(networks / "depth-2"), "depths": [1, 2], "data": str(task), "output": str(tmp_path / "out")}
    keys |= {"fleet": {"groups": [{"name": "strong", "count": 2}]}, "batch_size": 4, "max_length": 16}
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(keys))
    done = command("federate", tmp_path / "fleet.yaml", "--plan", "--json")
    assert json.loads(done.stdout)["depth"] == 2
    whole = load_classifier(keys["model"], ("bad", "good")).model
    state = Network(keys["model"], 1, 2).start(whole, seed=0)
    whole = AutoModelForCausalLM.from_pretrained(networks / "depth-2").state_dict()
    name = "transformer.h.0.mlp.c_fc.weight"
    assert (state[name] == whole[name].numpy()).all()
    assert not any(".h.1." in key for key in state)


def test_images(command: Any, record: Any, train: Any, tmp_path: Path) -> None:
    for name, classes, count in (("train", ["dark", "grey", "light"], 60), ("test", ["dark", "grey", "light"], 12)):
        picture_rows(classes, count, len(name)).to_parquet(tmp_path / f"{name}.parquet")
    words = [f"model={VIT}", "depths=[1, 2]", f"data={tmp_path / 'train.parquet'}", "augmentation=none"]
    words += [f"validation={tmp_path / 'test.parquet'}", "batch_size=8", "epochs=5", "learning_rate=0.01"]
    done = command("pretrain", *words, "--output", tmp_path / "nets")
    assert done.code == 0, done.stderr
    folder = tmp_path / "nets" / "depth-2"
    model = AutoModelForImageClassification.from_pretrained(folder)
    assert (model.config.num_hidden_layers, model.config.image_size) == (2, 16)
    assert model.config.id2label == {0: "dark", 1: "grey", 2: "light"}
    assert record(folder)["metrics"]["accuracy"] > 0.6
    (found,) = pipeline("image-classification", model=str(folder), device="cpu")([Image.new("RGB", (20, 20), "white")])
    assert found[0]["label"] == "light"
    # Fine-tuned for other classes, at another size.
    picture_rows(["night", "day"], 20, 3).to_parquet(tmp_path / "other.parquet")
    keys = {"model": str(folder), "data": str(tmp_path / "other.parquet"), "max_steps": 2, "image_size": 24}
    assert train(tmp_path / "tuned", **keys)["data"]["label_names"] == ["night", "day"]


def test_stopped_call_goes_on_and_ends_the_same(command: Any, story: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from frostline.training import pretraining

    words = [f"model={GPT2}", "depths=[1, 2]", f"data={story}", *SHORT, "epochs=2"]
    assert command("pretrain", *words, "--output", tmp_path / "whole").code == 0
    stock, calls = pretraining.run, []

    def dies(config: Any, **options: Any) -> Any:
        calls.append(config.output.name)
        if len(calls) == 2:
            raise FrostlineError("the lights went out.")
        return stock(config, **options)

    monkeypatch.setattr(pretraining, "run", dies)
    assert command("pretrain", *words, "--output", tmp_path / "stopped").said == "frostline: the lights went out."
    monkeypatch.setattr(pretraining, "run", stock)
    assert "--resume goes on with it" in command("pretrain", *words, "--output", tmp_path / "stopped").said
    done = command("pretrain", *words, "--output", tmp_path / "stopped", "--resume")
    assert "is finished already" in done.stdout
    for name in ("depth-1", "depth-2", "depth-2-random"):
        first, second = ((tmp_path / side / name / "model.safetensors").read_bytes() for side in ("whole", "stopped"))
        assert first == second, name


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["model={type: gtp2}"], "transformers has no model type 'gtp2'; did you mean 'gpt2'"),
        (
            ["model={type: gpt2, n_layers: 2}"],
            "unknown key 'n_layers' of the model type 'gpt2'; did you mean 'n_layer'",
        ),
        (["model={type: gpt2"], "cannot be read"),
        (["model=gpt2"], "write for instance model: {type: gpt2"),
        (["model={type: gpt2, n_embd: 16, n_head: 3}"], "a gpt2 from scratch cannot be built from its config"),
        (
            ["model={type: bert, hidden_size: 16, num_attention_heads: 2}"],
            "sees the tokens behind the one it is asked for",
        ),
        ([f"model={GPT2}", "learning_rat=1"], "unknown key 'learning_rat'; did you mean 'learning_rate'"),
        ([f"model={GPT2}", "max_length=2000"], "less than one block of max_length=2000"),
        ([f"model={GPT2[:-1]}, n_positions: 8}}"], "max_length=16 is more than the model's 8 positions"),
        ([f"model={VIT}"], "story.txt"),
        ([f"model={GPT2}", "--resume", "--overwrite"], "contradict each other"),
    ],
)
def test_what_is_refused_leaves_nothing(command: Any, story: Path, tmp_path: Path, words: list[str], says: str) -> None:
    done = command("pretrain", f"data={story}", *SHORT, *words, "depths=[1]", "--output", tmp_path / "nets")
    assert done.code == 2
    assert says in done.said
    assert not (tmp_path / "nets").exists() or not list((tmp_path / "nets").iterdir())
