"""Texts become tokens by what the tokenizer alone knows."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from frostline.config import make_config
from frostline.tasks import task_of


def test_encoding_pickles_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` pickles all that the mapped function refers to, for a hash: of a model that would copy its weights."""
    config = make_config({"output": "-", "max_train": 16, "max_length": 16})
    task = task_of(config)
    data = task.read(config)
    loaded = task.load(config.model, data.label_names, config)
    pickled = []

    def reduce(module: nn.Module, protocol: Any) -> Any:
        pickled.append(type(module).__name__)
        return object.__reduce_ex__(module, protocol)

    monkeypatch.setattr(nn.Module, "__reduce_ex__", reduce)
    encoded = task.encode(data, loaded, config)
    assert len(encoded.train) == 16
    assert pickled == []
