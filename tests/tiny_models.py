"""Tiny random transformers, batches for them, and the plain training loop that the unit tests share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    ViTConfig,
    ViTForImageClassification,
)

from frostline import Tuner

torch.set_num_threads(1)  # tiny matrices: threads would only wait for each other, and sums change order with them

HIDDEN, INNER, HEADS, BLOCKS, VOCABULARY = 32, 48, 4, 2, 60
_SIZES: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_attention_heads": HEADS,
    "num_hidden_layers": BLOCKS,
}
_TEXT: dict[str, Any] = {"vocab_size": VOCABULARY, "max_position_embeddings": 20}

# Method -> settings under which it freezes, thaws and reconfigures within a few steps of a tiny model.
METHOD_SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("full", {}),
    ("head", {}),
    ("bitfit", {}),
    ("lora", {"rank": 2}),
    ("layers", {"count": 1}),
    ("random", {"rate": 0.75}),
    ("lisa", {"count": 1, "every": 1}),
    ("slimfit", {"rate": 0.75}),
    ("auto", {"every": 1}),
    ("far", {"retention": 0.25, "priming": 0.2, "total_steps": 10, "nodes": "hidden"}),
    ("far", {"retention": 0.25, "priming": 0.2, "total_steps": 10, "nodes": "output"}),
]
METHOD_IDS = [f"{name}-{settings['nodes']}" if "nodes" in settings else name for name, settings in METHOD_SETTINGS]


def family(name: str, attention: str = "sdpa", seed: int = 0) -> nn.Module:
    """Return a tiny classifier of a family: bert, distilbert, roberta, electra or vit."""
    how = {"attn_implementation": attention}
    torch.manual_seed(seed)
    if name == "bert":
        return BertForSequenceClassification(BertConfig(**_SIZES, **_TEXT, **how))
    if name == "distilbert":
        sizes = {"dim": HIDDEN, "hidden_dim": INNER, "n_heads": HEADS, "n_layers": BLOCKS}
        return DistilBertForSequenceClassification(DistilBertConfig(**sizes, **_TEXT, **how))
    if name == "roberta":
        return RobertaForSequenceClassification(RobertaConfig(**_SIZES, **_TEXT, **how))
    if name == "electra":
        return ElectraForSequenceClassification(ElectraConfig(embedding_size=16, **_SIZES, **_TEXT, **how))
    if name == "vit":
        return ViTForImageClassification(ViTConfig(image_size=16, patch_size=8, **_SIZES, **how))
    raise KeyError(name)


def tiny_bert(*, dropout: float = 0.0, seed: int = 0, **config: Any) -> BertForSequenceClassification:
    """Return a BERT classifier of 2 blocks, the same one for the same seed, in training mode."""
    torch.manual_seed(seed)
    drop = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    model = BertForSequenceClassification(BertConfig(**{**_SIZES, **_TEXT, **drop, **config}))
    return model.train()


def batch(index: int = 0, size: int = 4, length: int = 6) -> dict[str, Tensor]:
    """Return the batch of that index: token ids without padding, and labels."""
    generator = torch.Generator().manual_seed(1000 + index)
    tokens = torch.randint(1, VOCABULARY, (size, length), generator=generator)
    return {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "labels": torch.randint(0, 2, (size,), generator=generator),
    }


def make_optimizer(parameters: Iterable[nn.Parameter], kind: str = "adamw") -> Optimizer:
    """Return an optimizer that would move a frozen weight if it were let: weight decay, and momentum or moments."""
    if kind == "sgd":
        return SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1)
    return AdamW(parameters, lr=1e-3, weight_decay=0.1)


def train(
    model: nn.Module, tuner: Tuner, optimizer: Optimizer, steps: int, *, start: int = 0, set_to_none: bool = True
) -> None:
    """Run the loop that the documentation shows, from batch `start` on."""
    for index in range(start, start + steps):
        tuner.before_step()
        model(**batch(index)).loss.backward()
        optimizer.step()
        tuner.after_step()
        optimizer.zero_grad(set_to_none=set_to_none)


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the model's state dict."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Tell whether two tensors hold the same values bit for bit, the sign of zero included."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return first.reshape(-1).view(torch.uint8).equal(second.reshape(-1).view(torch.uint8))


def assert_same_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    """Fail unless both state dicts have the same names and bit-identical values."""
    assert list(first) == list(second)
    different = [name for name in first if not same_bits(first[name], second[name])]
    assert not different
