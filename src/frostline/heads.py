"""Heads by name: which of transformers' `AutoModelFor...` makes a model that gives such answers."""

from __future__ import annotations

from typing import Any

from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)

from frostline.errors import ConfigError, UnsupportedModel, nearest

CLASSIFICATION = "classification"
QUESTION_ANSWERING = "question-answering"
TOKEN_CLASSIFICATION = "token-classification"
LANGUAGE_MODELING = "language-modeling"

_FACTORIES: dict[str, tuple[Any, ...]] = {
    CLASSIFICATION: (AutoModelForSequenceClassification, AutoModelForImageClassification),
    QUESTION_ANSWERING: (AutoModelForQuestionAnswering,),
    TOKEN_CLASSIFICATION: (AutoModelForTokenClassification,),
    LANGUAGE_MODELING: (AutoModelForCausalLM,),
}
_CLASSES: dict[str, Any] = {
    QUESTION_ANSWERING: MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
    TOKEN_CLASSIFICATION: MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    LANGUAGE_MODELING: MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
}
HEADS = tuple(_FACTORIES)


def factory_of(name: str, config: Any, head: str = CLASSIFICATION) -> Any:
    """Return the `AutoModelFor...` that makes a model of a config with a head.

    Args:
        name: of the model, for messages.
        config: its config.
        head: one of `HEADS`.

    Raises:
        ConfigError: there is no such head.
        UnsupportedModel: transformers has no such model with that head.
    """
    if head not in HEADS:
        raise ConfigError(f"there is no head {head!r}{nearest(head, HEADS)}")
    for factory in _FACTORIES[head]:
        if type(config) in factory._model_mapping:
            return factory
    what = "classifies neither texts nor images" if head == CLASSIFICATION else f"has no head for {head}"
    raise UnsupportedModel(f"model {name!r} ({config.model_type}) {what} in transformers.")


def head_of(class_name: str) -> str:
    """Return the head of a model class of transformers: `classification` unless its name says otherwise."""
    return next((head for head, classes in _CLASSES.items() if class_name in classes.values()), CLASSIFICATION)
