"""Classification of images from the command line: a tiny ViT, folders of coloured pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny_models import METHOD_IDS, METHOD_SETTINGS
from tiny_pictures import make_vit, paint


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_vit(tmp_path_factory.mktemp("models") / "tiny-vit")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "lights"
    paint(folder / "train", 40, 0)
    paint(folder / "validation", 12, 1)
    return folder


@pytest.fixture(scope="module")
def learnt(train: Any, vit: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    output = tmp_path_factory.mktemp("runs") / "learnt"
    values = train(
        output, model=str(vit), data=str(pictures), epochs=12, learning_rate=0.01, image_size=32, augmentation="flip"
    )
    return {**values, "folder": output}


def test_run_learns_and_says_what_it_is(learnt: dict[str, Any], steps: Any) -> None:
    assert learnt["metrics"]["accuracy"] == 1.0
    assert learnt["data"]["label_names"] == ["above", "below"]
    assert (learnt["task"], learnt["pipeline"]) == ("classification", "image-classification")
    assert {row["tokens"] for row in steps(learnt["folder"])} == {str(8 * 16)}  # pictures x patches
    card = (learnt["folder"] / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: image-classification" in card


def test_the_images_of_a_model_of_texts_and_images(train: Any, pictures: Path, vit: Path, tmp_path: Path) -> None:
    from transformers import AutoImageProcessor, CLIPConfig, CLIPForImageClassification

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    vision = {**sizes, "image_size": 16, "patch_size": 8}
    CLIPForImageClassification(CLIPConfig(vision_config=vision)).save_pretrained(tmp_path / "clip")
    AutoImageProcessor.from_pretrained(vit, backend="pil").save_pretrained(tmp_path / "clip")
    found = train(tmp_path / "run", model=str(tmp_path / "clip"), data=str(pictures), max_steps=2)
    assert found["plan"]["model"] == "CLIPForImageClassification"


def test_eval_and_predict_agree_with_the_run(command: Any, learnt: dict[str, Any], pictures: Path) -> None:
    folder, held = learnt["folder"], pictures / "validation"
    own = json.loads(command("eval", folder, "--json").stdout)
    assert own == {"accuracy": 1.0, "examples": 12}
    assert json.loads(command("eval", folder, "--data", held, "--json").stdout) == own
    lines = [json.loads(line) for line in command("predict", folder, "--data", held).stdout.splitlines()]
    assert [Path(line["image"]).parent.name for line in lines] == [line["label"] for line in lines]
    one = json.loads(command("predict", folder, held / "below" / "1.png").stdout)
    assert (one["label"], one["image"]) == ("below", str(held / "below" / "1.png"))


def test_result_is_a_plain_model_at_its_size(command: Any, learnt: dict[str, Any], pictures: Path) -> None:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    path = pictures / "validation" / "above" / "0.png"
    model = AutoModelForImageClassification.from_pretrained(learnt["folder"])
    pixels = AutoImageProcessor.from_pretrained(learnt["folder"], backend="pil")(Image.open(path), return_tensors="pt")
    assert pixels["pixel_values"].shape == (1, 3, 32, 32)
    with torch.no_grad():
        score = model(**pixels).logits.softmax(-1).max()
    said = json.loads(command("predict", learnt["folder"], path).stdout)["score"]
    assert said == pytest.approx(float(score), abs=1e-6)


@pytest.mark.parametrize(("method", "settings"), METHOD_SETTINGS, ids=METHOD_IDS)
def test_every_method_trains(
    train: Any, vit: Path, pictures: Path, tmp_path: Path, method: str, settings: dict[str, Any]
) -> None:
    settings = {key: value for key, value in settings.items() if key != "total_steps"}
    values = train(
        tmp_path / "run",
        model=str(vit),
        data=str(pictures),
        image_size=32,
        method=method,
        settings=settings,
        storage="compact",
        max_steps=3,
        save_strategy="no",
        eval_strategy="no",
    )
    assert values["status"] == "finished"
    before, after = load_file(vit / "model.safetensors"), load_file(tmp_path / "run" / "model.safetensors")
    body = [name for name in after if name.startswith("vit.encoder.")]
    moved = [name for name in body if not before[name].equal(after[name])]
    assert bool(moved) is (method != "head")
    if method in ("full", "layers", "lora", "bitfit"):
        shares = {"full": 1.0, "layers": 1 / 2, "lora": 1 / 8, "bitfit": 1 / 2}  # lora: 2 of 16 tensors of a block
        assert len(moved) / len(body) == shares[method]


@pytest.mark.parametrize("storage", ["lossless", "slimfit", "smallest"])
def test_storage_changes_no_loss(
    train: Any, vit: Path, pictures: Path, tmp_path: Path, steps: Any, storage: str
) -> None:
    keys = {"model": str(vit), "data": str(pictures), "max_steps": 2, "save_strategy": "no", "eval_strategy": "no"}
    train(tmp_path / "exact", **keys)
    train(tmp_path / storage, storage=storage, **keys)
    first, other = (float(steps(tmp_path / name)[0]["loss"]) for name in ("exact", storage))
    assert first == pytest.approx(other, abs=1e-6)


def test_resumed_run_meets_the_same_augmented_pictures(
    train: Any, vit: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from frostline.training.recorder import Recorder

    keys = {"model": str(vit), "data": str(pictures), "save_strategy": "steps", "save_steps": 3, "epochs": 2}
    train(tmp_path / "whole", **keys)
    whole = Recorder.on_step_end

    def dies(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        whole(self, args, state, control, **kwargs)
        if state.global_step == 8:  # in the second epoch, two steps after a checkpoint
            raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "on_step_end", dies)
        with pytest.raises(RuntimeError, match="killed"):
            train(tmp_path / "run", **keys)
    train(tmp_path / "run", resume=True, **keys)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert [name for name in first if not first[name].equal(second[name])] == []


def test_best_weights_come_back(command: Any, train: Any, vit: Path, pictures: Path, tmp_path: Path) -> None:
    keys = {"load_best_model_at_end": True, "learning_rate": 0.3, "epochs": 3, "max_grad_norm": 0.0}
    train(tmp_path / "run", model=str(vit), data=str(pictures), **keys)  # so high a rate that the last is another
    checkpoints = tmp_path / "run" / "checkpoints"
    state = json.loads((checkpoints / "checkpoint-15" / "trainer_state.json").read_text())
    best = load_file(checkpoints / Path(state["best_model_checkpoint"]).name / "model.safetensors")
    last, final = (
        load_file(folder / "model.safetensors") for folder in (checkpoints / "checkpoint-15", tmp_path / "run")
    )
    assert state["best_global_step"] < 15
    assert all(best[name].equal(final[name]) for name in best)
    assert not last["vit.encoder.layer.0.output.dense.weight"].equal(final["vit.encoder.layer.0.output.dense.weight"])


def test_augmentation_engages(train: Any, vit: Path, pictures: Path, tmp_path: Path, steps: Any) -> None:
    losses = set()
    for how in (None, "crop", "none", "resized_crop"):
        keys = {} if how is None else {"augmentation": how}
        output = tmp_path / str(how)
        train(output, model=str(vit), data=str(pictures), max_steps=1, eval_strategy="no", save_strategy="no", **keys)
        losses.add(steps(output)[0]["loss"])
    assert len(losses) == 3  # left out, it is `crop`


def test_plan_is_for_the_size_of_the_run(vit: Path) -> None:
    from frostline.planner.request import Request, make_plan

    small, large = (
        make_plan(Request(str(vit), 4, "3GiB", image_size=size, runtime=0))["predicted"]["tensors"] for size in (16, 64)
    )
    assert large > 1.5 * small


@pytest.mark.slow
def test_run_within_a_budget(command: Any, vit: Path, pictures: Path, tmp_path: Path, record: Any) -> None:
    words = [f"model={vit}", f"data={pictures}", "image_size=32", "max_steps=2", "batch_size=4", "budget=3GiB"]
    done = command("train", *words, "--output", tmp_path / "run")
    assert done.code == 0, done.stderr
    values = record(tmp_path / "run")
    assert values["planned"]["request"]["image_size"] == 32
    assert values["prediction"]["measured"] < 3 * 2**30
    done = command("train", *words[:-1], "budget=20MiB", "--output", tmp_path / "small")
    assert done.code != 0
    assert "smallest" in done.said


def test_export_of_a_checkpoint_and_of_what_changed(
    command: Any, train: Any, vit: Path, pictures: Path, tmp_path: Path
) -> None:
    train(
        tmp_path / "run",
        model=str(vit),
        data=str(pictures),
        image_size=32,
        method="layers",
        settings={"count": 1},
        epochs=1,
    )
    checkpoint = tmp_path / "run" / "checkpoints" / "checkpoint-5"
    assert command("export", checkpoint, tmp_path / "plain").code == 0
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "plain"))
    assert all(first[name].equal(second[name]) for name in first)
    assert command("export", tmp_path / "run", tmp_path / "delta", "--delta").code == 0
    changed = set(load_file(tmp_path / "delta" / "delta.safetensors"))
    assert {"classifier.weight", "classifier.bias"} <= changed
    assert any(name.startswith("vit.layers.1.") for name in changed)
    assert not any(name.startswith("vit.layers.0.") for name in changed)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["image_size=20"], "an image size of 20 is refused"),
        (["text=caption"], "text='caption' names no column of images"),
        (["task=regression"], "task=regression is for texts"),
        (["augmentation=mirror"], "augmentation='mirror' is refused"),
        (["metric=pearson"], "metric 'pearson' is for regression"),
    ],
)
def test_bad_keys_are_refused_before_anything_is_written(
    command: Any, vit: Path, pictures: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    done = command("train", f"model={vit}", f"data={pictures}", *words, "--output", tmp_path / "run")
    assert done.code == 2
    assert said in done.said
    assert not (tmp_path / "run").exists()


def test_models_of_texts_refuse_keys_of_images(command: Any, tiny: Path, task: Path, tmp_path: Path) -> None:
    for word, said in (
        ("image_size=32", "image_size=32 is nothing for texts"),
        ("augmentation=flip", "augmentation='flip' is nothing for texts"),
        ("image=img", "image='img' names no column of texts"),
    ):
        done = command("train", f"model={tiny}", f"data={task}", word, "--output", tmp_path / "run")
        assert done.code == 2
        assert said in done.said


def test_model_without_an_image_processor_is_refused(command: Any, pictures: Path, tmp_path: Path) -> None:
    (make_vit(tmp_path / "vit") / "preprocessor_config.json").unlink()
    done = command("train", f"model={tmp_path / 'vit'}", f"data={pictures}", "--output", tmp_path / "run")
    assert done.code == 2
    assert "cannot be loaded for classification of images" in done.said
