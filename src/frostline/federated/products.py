"""Adapters averaged by what they add to their weights, and not factor by factor (FlexLoRA, arXiv 2402.11505).

The average of products is not the product of averages. A server that averages products takes them apart again by a
singular value decomposition, whose first r terms are the best adapter of rank r: what each device gets is the corner of
the factors that its rank has.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from frostline.federated.merging import Arrays
from frostline.federated.parts import padded

_FIRST, _SECOND, _PRODUCT = ".lora_A.", ".lora_B.", ".lora_BA."


def named(names: Iterable[str]) -> list[str]:
    """Return the names that `multiplied` gives to arrays of these names."""
    return [name.replace(_FIRST, _PRODUCT) for name in names if _SECOND not in name]


def multiplied(arrays: Arrays) -> dict[str, NDArray[np.generic]]:
    """Return the arrays with each pair of factors, A (rank, in) and B (out, rank), replaced by B A (out, in)."""
    found = {name: value for name, value in arrays.items() if _FIRST not in name and _SECOND not in name}
    for name, first in arrays.items():
        if _FIRST in name:
            found[name.replace(_FIRST, _PRODUCT)] = np.asarray(arrays[name.replace(_FIRST, _SECOND)] @ first)
    return found


def factored(arrays: Arrays, like: Arrays) -> dict[str, NDArray[np.generic]]:
    """Return the arrays with each product replaced by the factors of its best approximation, the strongest term first.

    Args:
        arrays: as `multiplied` gives them.
        like: has the factors' shapes and dtypes, by their own names.

    Returns:
        A with orthonormal rows, so that a term that adds nothing yet can still learn, as an adapter that begins; B
        times A is the product, as near as the rank allows. A rank beyond what the product can have is zeros.
    """
    found = {name: value for name, value in arrays.items() if _PRODUCT not in name}
    for name, product in arrays.items():
        if _PRODUCT in name:
            first, second = name.replace(_PRODUCT, _FIRST), name.replace(_PRODUCT, _SECOND)
            rank, dtype = len(like[first]), like[first].dtype
            left, strengths, right = np.linalg.svd(product, full_matrices=False)
            found[first] = padded(np.ascontiguousarray(right[:rank], dtype), like[first].shape)
            found[second] = padded(np.ascontiguousarray(left[:, :rank] * strengths[:rank], dtype), like[second].shape)
    return found
