"""What a task asks for: one of some classes (classification), a number (regression), the next token of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Kind = Literal["classification", "regression", "language-modeling"]
AskedKind = Literal["auto", "classification", "regression", "language-modeling"]
"""What a caller may ask for; `auto` lets the data tell."""


def kind_of(label_names: Sequence[str]) -> Kind:
    """Return the kind of a task or a model with these classes; without any it gives numbers."""
    return "classification" if label_names else "regression"
