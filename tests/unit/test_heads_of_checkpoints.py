"""What becomes of the head of a classifier that is trained on: other classes, or the same in another order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from frostline.errors import ConfigError
from frostline.models import load_classifier, locate

NAMES = ("entailment", "neutral", "contradiction")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of texts with three classes."""
    folder = tmp_path_factory.mktemp("models") / "nli"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(3)
    config = BertConfig(**sizes, num_labels=3, id2label=dict(enumerate(NAMES)))
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(locate("minilm")).save_pretrained(folder)
    return folder


def logits(model: Any) -> dict[str, float]:
    model.eval()
    with torch.inference_mode():
        found = model(input_ids=torch.arange(100, 108)[None]).logits[0]
    return {str(name).lower(): float(found[index]) for index, name in model.config.id2label.items()}


@pytest.mark.parametrize("names", [NAMES, NAMES[::-1], ("Neutral", "Contradiction", "Entailment")])
def test_classes_keep_their_scores_in_any_order(checkpoint: Path, names: tuple[str, ...]) -> None:
    stock = BertForSequenceClassification.from_pretrained(checkpoint)
    loaded = load_classifier(str(checkpoint), names)
    assert loaded.label_names == names
    assert logits(loaded.model) == logits(stock)


@pytest.mark.parametrize("names", [("bad", "good"), ("a", "b", "c", "d"), ()])
def test_another_number_of_classes_makes_a_new_head(checkpoint: Path, names: tuple[str, ...]) -> None:
    stock = BertForSequenceClassification.from_pretrained(checkpoint)
    loaded = load_classifier(str(checkpoint), names)
    assert loaded.model.classifier.weight.shape == (len(names) or 1, 16)
    assert torch.equal(loaded.model.bert.pooler.dense.weight, stock.bert.pooler.dense.weight)


def test_a_body_that_does_not_fit_its_config_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    broken = BertForSequenceClassification.from_pretrained(checkpoint)
    broken.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(tmp_path)
    config = BertConfig.from_pretrained(tmp_path)
    config.intermediate_size = 24
    config.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"has no weights for 'bert\.encoder"):
        load_classifier(str(tmp_path), ("bad", "good"))
