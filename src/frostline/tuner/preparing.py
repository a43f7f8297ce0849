"""Puts a method on a live model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from frostline import methods
from frostline.anatomy import Anatomy, discover
from frostline.errors import ConfigError, PlanError, nearest
from frostline.methods.base import Method, validate_settings
from frostline.storage import Choice
from frostline.tuner.optimizer_state import POLICIES
from frostline.tuner.tuner import Tuner, is_prepared
from frostline.tuner.wrapping import require_plain


def prepare(
    model: nn.Module,
    method: str | type[Method] = "full",
    *,
    optimizer_state: str = "keep",
    storage: Choice = "exact",
    fused_backward: bool = False,
    seed: int = 0,
    example: Mapping[str, Any] | None = None,
    anatomy: Anatomy | None = None,
    **settings: Any,
) -> Tuner:
    """Put a method on a model, in place; make the optimizer after this call.

    Args:
        model: a transformer, loaded and on its device.
        method: a name from `frostline.methods.names()`, or a `Method` class of your own.
        optimizer_state: of frozen units: `keep`, `release` or `offload`.
        storage: how saved activations wait for backward: a preset (`exact`, `lossless`, `compact`, `slimfit`,
            `smallest`), or a mapping of what differs from one; see `frostline.storage.choice`.
        fused_backward: each weight moves within backward, and its gradient goes at once; rules out what needs the
            gradients together, such as clipping and gradient accumulation.
        seed: of every random choice the method makes.
        example: keyword arguments of one forward pass, for models for which none can be made up.
        anatomy: the model's, where it is known from another of the same structure; found by a trace if None.
        settings: the method's own, for instance `rate=0.9`.

    Returns:
        The tuner: `callback()` for a stock Trainer, or `attach`, `before_step` and `after_step` for a plain loop.

    Raises:
        ConfigError: an unknown method, setting or storage, or a value out of range.
        UnsupportedModel: the model's structure was not understood, or its weights are shards.
        StorageError: storage would be bypassed by a wrapper on the model.
        PlanError: the model is prepared already, or nothing in it would train.
    """
    cls = methods.get(method) if isinstance(method, str) else method
    if optimizer_state not in POLICIES:
        raise ConfigError(f"optimizer_state={optimizer_state!r} is unknown{nearest(optimizer_state, POLICIES)}")
    if fused_backward and cls.updates_in_backward:
        raise ConfigError(
            f"fused_backward=True is refused: method {cls.name!r} moves the weights during backward by itself; leave "
            "it out."
        )
    chosen = cls(validate_settings(cls, settings), seed)
    if is_prepared(model):
        raise PlanError("this model is prepared already; call finish() on its tuner first.")
    require_plain(model)
    found = discover(model, example) if anatomy is None else anatomy
    if found.unused and cls.name == "full":
        warnings.warn(
            f"{', '.join(found.unused)}: not used in the forward pass that was traced, so frozen, though all weights "
            "are to train. If it is used in yours, give a batch that uses it as example=.",
            stacklevel=2,
        )
    return Tuner(
        model,
        chosen,
        found,
        optimizer_state=optimizer_state,
        storage=storage,
        fused_backward=fused_backward,
    )
