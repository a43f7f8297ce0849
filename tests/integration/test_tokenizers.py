"""Tokenizers that are not all that a model wants: without a padding token, of another vocabulary, on the left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from frostline.models import Loaded, require_tokens
from frostline.tasks import task_of_model


def changed(folder: Path, copy: Path, **changes: Any) -> Path:
    """Copy a model with other keys in its tokenizer's config; None takes one away."""
    shutil.copytree(folder, copy)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (copy / name).is_file():
            values = json.loads((copy / name).read_text()) | changes
            (copy / name).write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    return copy


def test_texts_are_padded_with_their_end_where_there_is_nothing_else(train: Any, tiny: Path, tmp_path: Path) -> None:
    model = changed(tiny, tmp_path / "model", pad_token=None, eos_token="[SEP]")
    record = train(tmp_path / "run", model=str(model), max_steps=3)
    assert record["status"] == "finished"
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["pad_token_id"] == 3, "[SEP], as the Trainer aligns the two"


def test_a_tokenizer_that_cannot_pad_is_refused(command: Any, tiny: Path, task: Path, tmp_path: Path) -> None:
    model = changed(tiny, tmp_path / "model", pad_token=None)
    done = command("train", "--model", model, "--data", task, "--output", tmp_path / "run", "max_steps=2")
    assert done.code == 2
    assert "has no token to pad with" in done.said
    assert not (tmp_path / "run").exists()


def test_a_vocabulary_that_is_too_large_is_refused(command: Any, new_model: Any, task: Path, tmp_path: Path) -> None:
    small = new_model(tmp_path / "small", vocab_size=12)
    done = command(
        "train", "--model", small, "--data", task, "--output", tmp_path / "run", "max_steps=2", "max_length=16"
    )
    assert done.code == 2
    assert "the model has only 12 tokens: they do not belong together" in done.said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_decoders_as_they_are_published_classify(train: Any, tiny: Path, tmp_path: Path, kind: str) -> None:
    """Without a padding token in the config, and with one that ends texts in the tokenizer."""
    import transformers

    folder = changed(tiny, tmp_path / "model", pad_token=None, eos_token="[SEP]")
    if kind == "gpt2":
        config: Any = transformers.GPT2Config(vocab_size=60, n_embd=16, n_layer=2, n_head=2, n_positions=32)
        model: Any = transformers.GPT2Model(config)
    else:
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = transformers.LlamaConfig(vocab_size=60, max_position_embeddings=32, **sizes)
        model = transformers.LlamaModel(config)
    assert config.pad_token_id is None
    for file in folder.glob("*.safetensors"):
        file.unlink()
    model.save_pretrained(folder)
    record = train(tmp_path / "run", model=str(folder), max_steps=3)
    assert record["status"] == "finished"
    assert task_of_model(tmp_path / "run").load(str(tmp_path / "run")).model.config.pad_token_id is not None


def test_eval_and_predict_say_what_they_cut(command: Any, train: Any, task: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", max_length=4, max_steps=2)
    done = command("eval", tmp_path / "run")
    assert done.code == 0
    assert "texts are longer than 4 tokens and were cut" in done.stderr
    done = command("predict", tmp_path / "run", "the cat and the dog are here", "the")
    assert "warning: 1 of 2 texts are longer than 4 tokens and were cut." in done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_a_padding_token_that_the_model_lacks_is_refused(command: Any, tiny: Path, task: Path, tmp_path: Path) -> None:
    """As when one is added to a tokenizer, and the embeddings are not resized."""
    import transformers

    model = changed(tiny, tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(model)
    done = command("train", "--model", model, "--data", task, "--output", tmp_path / "run", "max_steps=2")
    assert done.code == 2
    assert "gives token 35, but the model has only 35 tokens" in done.said


def test_characters_need_no_table_of_tokens() -> None:
    import transformers

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = transformers.CanineModel(transformers.CanineConfig(**sizes, num_hash_buckets=64, num_hash_functions=2))
    require_tokens(Loaded(model, None, ""), [[10**6], []])
