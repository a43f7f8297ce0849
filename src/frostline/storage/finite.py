"""Refuses activations that are not finite, which a code would turn into silent garbage, by the name of their site.

On a CPU at once. A GPU would have to be waited for at every site, so there the answers are collected and looked at
together, before the optimizer's step.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from frostline.errors import StorageError

_waiting: list[tuple[Tensor, str, str]] = []


def note_finite(finite: Tensor, way: str, site: str) -> None:
    """Take note whether all of an activation's values are finite.

    Args:
        finite: a boolean scalar, on any device.
        way: how the activation is kept, for the message.
        site: who keeps it.

    Raises:
        StorageError: they are not; on a CPU. For other devices see `require_finite`.
    """
    if isinstance(finite, FakeTensor) or torch.compiler.is_compiling():
        return
    if finite.device.type == "cpu":
        _require(bool(finite), way, site)
    else:
        _waiting.append((finite, way, site))


def require_finite() -> None:
    """Raise StorageError for the first site noted since the last call, on another device than a CPU, that is not."""
    noted = list(_waiting)
    _waiting.clear()
    if noted:
        answers = torch.stack([finite for finite, _, _ in noted]).tolist()
        for finite, (_, way, site) in zip(answers, noted, strict=True):
            _require(finite, way, site)


def _require(finite: bool, way: str, site: str) -> None:
    if not finite:
        raise StorageError(
            f"{site}: the activation holds an infinite value or NaN, which storage {way!r} cannot keep. Lower the "
            "learning rate, look at the data, or keep this site as `exact` to see where the values come from."
        )
