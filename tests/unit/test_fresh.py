"""Configs from keys that are checked by name, folders with random weights, and what `frostline pretrain` is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, ViTImageProcessorPil

from frostline.errors import ConfigError
from frostline.fresh import at_depth, fresh_config, head_to_pretrain, with_labels, write_fresh
from frostline.heads import CLASSIFICATION
from frostline.tasks.characters import character_tokenizer
from frostline.training.pretraining import make_pretraining

GPT2: dict[str, Any] = {"type": "gpt2", "n_layer": 3, "n_embd": 16, "n_head": 2}
VIT: dict[str, Any] = {"type": "vit", "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


def test_keys_may_have_their_own_name_or_the_common_one() -> None:
    own, common = fresh_config(GPT2), fresh_config({"type": "gpt2", "num_hidden_layers": 3, "hidden_size": 16})
    assert (own.n_layer, own.n_embd, own.n_head) == (3, 16, 2)
    assert (common.n_layer, common.n_embd) == (3, 16)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"n_layer": 2}, "has no type; write for instance model: {type: gpt2"),
        ({"type": "gtp2"}, "transformers has no model type 'gtp2'; did you mean 'gpt2'"),
        ({**GPT2, "n_layers": 2}, "unknown key 'n_layers' of the model type 'gpt2'; did you mean 'n_layer'"),
        ({**GPT2, "patch_size": 2}, "unknown key 'patch_size' of the model type 'gpt2'"),
        ({**GPT2, "vocab_size": 9}, "the key 'vocab_size' of a model to pretrain follows from the data"),
        ({**GPT2, "architectures": []}, "unknown key 'architectures'"),
        ({**GPT2, "n_head": "two"}, "Field 'n_head' expected int, got str"),
    ],
)
def test_keys_that_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        fresh_config(keys)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_head_follows_from_what_the_model_reads() -> None:
    assert head_to_pretrain(fresh_config(GPT2)) == "language-modeling"
    assert head_to_pretrain(fresh_config(VIT)) == "classification"
    with pytest.raises(ConfigError, match="'t5' can be pretrained neither on images nor on next tokens"):
        head_to_pretrain(fresh_config({"type": "t5"}))


def test_depth_changes_the_blocks_alone() -> None:
    config = fresh_config(GPT2)
    assert [at_depth(config, depth).n_layer for depth in (1, 7, None)] == [1, 7, 3]
    assert config.n_layer == 3
    with pytest.raises(ConfigError, match="'swin' does not say by one number how many blocks"):
        at_depth(fresh_config({"type": "swin"}), 2)


def test_a_backbone_of_another_depth_has_other_stages() -> None:
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 3}
    changed = at_depth(fresh_config({"type": "dinov2", **sizes}), 2)
    assert (changed.num_hidden_layers, changed.hidden_size) == (2, 16)
    assert changed.stage_names == ["stem", "stage1", "stage2"]
    assert changed.out_features == ["stage2"]


@pytest.mark.parametrize("kind", ["segformer", "resnet"])
def test_models_of_images_of_any_size_are_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"'{kind}' reads images of any size"):
        make_pretraining({"model": {"type": kind}, "data": "x", "output": "y"})


def test_a_type_with_two_classifiers_has_the_usual_one(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 1}
    config = fresh_config({"type": "deit", **sizes, "image_size": 16, "patch_size": 8})
    processor = ViTImageProcessorPil(size={"height": 16, "width": 16})
    write_fresh(config, CLASSIFICATION, processor, tmp_path / "deit", 0)
    made = json.loads((tmp_path / "deit" / "config.json").read_text())
    assert made["architectures"] == ["DeiTForImageClassification"]


def test_folder_holds_a_random_model_by_its_seed(tmp_path: Path) -> None:
    tokenizer, config = character_tokenizer(["abc"]), fresh_config(GPT2)
    config.vocab_size = len(tokenizer)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_fresh(config, "language-modeling", tokenizer, tmp_path / name, seed)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1] != weights[2]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    assert torch.isfinite(
        model(**AutoTokenizer.from_pretrained(tmp_path / "a")("cab", return_tensors="pt")).logits
    ).all()


def test_a_config_that_fits_no_model_is_refused(tmp_path: Path) -> None:
    config = fresh_config({**GPT2, "n_head": 3})
    with pytest.raises(ConfigError, match="a gpt2 from scratch cannot be built from its config"):
        write_fresh(config, "language-modeling", character_tokenizer(["a"]), tmp_path / "x", 0)


def test_labels_are_the_datas() -> None:
    config = with_labels(fresh_config(VIT), ["cat", "dog", "hen"])
    assert (config.num_labels, config.id2label[2], config.label2id["dog"]) == (3, "hen", 1)


def test_what_is_left_out_follows() -> None:
    found = make_pretraining({"model": GPT2, "output": "networks", "max_length": 48})
    assert (found.depths, found.head, found.model.n_positions) == ((3,), "language-modeling", 48)
    assert (found.train.method, found.train.task, found.train.learning_rate) == ("full", "language-modeling", 1e-3)
    assert str(found.folder(3)) == "networks/depth-3"
    found = make_pretraining(
        {"model": {**GPT2, "n_positions": 64}, "depths": [6, 2], "output": "x", "learning_rate": 1}
    )
    assert (found.depths, found.model.n_positions, found.train.learning_rate) == ((2, 6), 64, 1)
    assert make_pretraining({"model": VIT, "output": "x", "image_size": 32}).model.image_size == 32


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"model": "gpt2"}, "model='gpt2' is refused: write for instance model: {type: gpt2"),
        ({}, "model=None is refused"),
        ({"model": GPT2, "depth": 2}, "unknown key 'depth'; did you mean 'depths'"),
        ({"model": GPT2, "depths": [2, 2]}, "depths=[2, 2] is refused: give different numbers"),
        ({"model": GPT2, "depths": [0]}, "depths=[0] is refused"),
        ({"model": GPT2, "depths": []}, "depths=[] is refused"),
        ({"model": GPT2, "depths": [True]}, "depths=[True] is refused"),
        ({"model": GPT2, "method": "far"}, "method='far' is not for pretraining, which moves all weights"),
        ({"model": GPT2, "task": "regression"}, "task='regression' is not for pretraining"),
        ({"model": GPT2, "epochs": 0}, "epochs=0 is refused"),
    ],
)
def test_values_that_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make_pretraining({"output": "x", **values})
    assert says in str(refused.value)
