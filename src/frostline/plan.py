"""The decision as a value: which method with which settings, and how the rest waits. Plain JSON, saved with a run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from frostline.errors import PlanError

PLAN_VERSION = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What a tuner does to a model.

    Attributes:
        method, settings, seed: the schedule.
        optimizer_state: `keep`, `release` or `offload` the optimizer's state of frozen units.
        storage: how saved activations wait for backward: a preset, or what differs from one; `exact` is stock PyTorch.
        model: class name of the model it was made for.
        blocks: how many blocks that model has.
        total_parameters: scalars in the model.
        candidate_parameters: scalars that may ever train; the optimizer holds them from the start.
        trainable_parameters: scalars that train at a step once the schedule has settled; where the set goes on
            changing, the average over units that are active equally often.
        fused_backward: whether each weight moves within backward, as soon as its gradient is there.
        version: of this format.
    """

    method: str
    settings: dict[str, Any]
    seed: int
    optimizer_state: str
    storage: str | dict[str, str]
    model: str
    blocks: int
    total_parameters: int
    candidate_parameters: int
    trainable_parameters: int
    fused_backward: bool = False
    version: int = PLAN_VERSION

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Plan:
        """Return the plan that `to_json` gave; PlanError if the values are not a plan of this version."""
        if values.get("version") != PLAN_VERSION:
            raise PlanError(f"this plan has version {values.get('version')!r}; version {PLAN_VERSION} is understood.")
        try:
            return cls(**values)
        except TypeError as error:
            raise PlanError(f"these values are no plan: {error}") from error

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a `plan.json`; PlanError if it is none."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PlanError(f"{path} cannot be read as a plan: {error}") from error
        if not isinstance(values, dict):
            raise PlanError(f"{path} holds no plan but a {type(values).__name__}.")
        return cls.from_json(values)

    def same_schedule(self, other: Plan) -> bool:
        """Tell whether a checkpoint made under `other` can go on under this plan."""
        keys = ("method", "settings", "seed", "storage", "model", "blocks", "total_parameters")
        return all(getattr(self, key) == getattr(other, key) for key in keys)
