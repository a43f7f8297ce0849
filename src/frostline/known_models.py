"""Dimensions of well-known models, so that they can be planned for without a network; no weights."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from transformers import AutoConfig


@cache
def _configs() -> dict[str, dict[str, Any]]:
    entries = json.loads(files("frostline").joinpath("known_models.json").read_text(encoding="utf-8"))
    return {name.lower(): entry["config"] for entry in entries for name in entry["names"]}


def known_names() -> tuple[str, ...]:
    """Return the names that `known_config` knows, in lower case."""
    return tuple(_configs())


def known_config(name: str) -> Any | None:
    """Return a config with the dimensions of a well-known model, or None.

    Args:
        name: a Hub name, with its owner or without, in any case, or a short form: `deit-tiny`.
    """
    found = _configs().get(name.lower())
    if found is None:
        return None
    dimensions = dict(found)
    return AutoConfig.for_model(dimensions.pop("model_type"), **dimensions)
