"""What a task asks for: one of some classes (classification) or a number (regression)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Kind = Literal["classification", "regression"]
AskedKind = Literal["auto", "classification", "regression"]
"""What a caller may ask for; `auto` lets the data tell."""


def kind_of(label_names: Sequence[str]) -> Kind:
    """Return the kind of a task or a model with these classes; without any it gives numbers."""
    return "classification" if label_names else "regression"
