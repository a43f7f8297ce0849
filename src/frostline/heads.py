"""Heads by name: which of transformers' `AutoModelFor...` makes a model that gives such answers."""

from __future__ import annotations

from typing import Any, Final

from frostline.errors import ConfigError, UnsupportedModel, nearest

CLASSIFICATION: Final = "classification"
QUESTION_ANSWERING: Final = "question-answering"
TOKEN_CLASSIFICATION: Final = "token-classification"
LANGUAGE_MODELING: Final = "language-modeling"

_FACTORIES = {
    CLASSIFICATION: ("AutoModelForSequenceClassification", "AutoModelForImageClassification"),
    QUESTION_ANSWERING: ("AutoModelForQuestionAnswering",),
    TOKEN_CLASSIFICATION: ("AutoModelForTokenClassification",),
    LANGUAGE_MODELING: ("AutoModelForCausalLM",),
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
    import transformers

    if head not in HEADS:
        raise ConfigError(f"there is no head {head!r}{nearest(head, HEADS)}")
    for factory in (getattr(transformers, name) for name in _FACTORIES[head]):
        if type(config) in factory._model_mapping:
            return factory
    what = "classifies neither texts nor images" if head == CLASSIFICATION else f"has no head for {head}"
    raise UnsupportedModel(f"model {name!r} ({config.model_type}) {what} in transformers.")


def head_of(class_name: str) -> str:
    """Return the head of a model class of transformers: `classification` unless its name says otherwise."""
    from transformers.models.auto import modeling_auto as auto

    classes = {
        QUESTION_ANSWERING: auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
        TOKEN_CLASSIFICATION: auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
        LANGUAGE_MODELING: auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    }
    return next((head for head, names in classes.items() if class_name in names.values()), CLASSIFICATION)
