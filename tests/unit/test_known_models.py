"""Well-known models by name, without a network: their sizes are the published ones."""

from __future__ import annotations

import pytest

from frostline.errors import ConfigError
from frostline.known_models import known_config, known_names
from frostline.skeletons import skeleton

# Millions of weights as published, the classifier's head included or not: it is small beside them.
PUBLISHED = {
    "bert-base-uncased": 110,
    "bert-large-uncased": 335,
    "distilbert-base": 66,
    "roberta-base": 125,
    "electra-small": 13.5,
    "electra-base": 110,
    "all-minilm-l6-v2": 22.7,
    "deit-tiny": 5.7,
    "deit-small": 22,
    "deit-base": 86,
    "vit-base-patch16-224": 86,
    "vit-base-patch16-384": 86,
    "vit-large": 304,
    "gpt2": 124,
    "llama-3.2-1b": 1236,
    "qwen2.5-0.5b": 494,
}


@pytest.mark.parametrize(("name", "millions"), PUBLISHED.items())
def test_a_model_has_the_size_that_is_published(name: str, millions: float) -> None:
    model = skeleton(name)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


def test_a_model_is_known_with_its_owner_and_in_any_case() -> None:
    assert known_config("google-bert/BERT-base-uncased").hidden_size == 768
    assert known_config("someone/bert-base-uncased") is None
    assert len(known_names()) == len(set(known_names()))


def test_another_name_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="did you mean 'bert-base-uncased'"):
        skeleton("bert-base-uncase")
