"""What a task asks for: a class (classification), a number (regression), or what its head is named after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Kind = Literal["classification", "regression", "question-answering", "language-modeling", "token-classification"]
AskedKind = Literal[
    "auto", "classification", "regression", "question-answering", "language-modeling", "token-classification"
]
"""What a caller may ask for; `auto` lets the data tell classes from scores."""


def kind_of(label_names: Sequence[str]) -> Kind:
    """Return the kind of a task or a model with these classes; without any it gives numbers."""
    return "classification" if label_names else "regression"
