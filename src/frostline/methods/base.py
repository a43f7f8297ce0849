"""What a method is: data plus a few small functions, which the tuner calls around every step.

    prepare(model, anatomy)          once; may change the model's structure (LoRA) or remember its weights (FAR)
    units(), always()                what the schedule decides over, and what trains at every step
    candidates()                     everything that can ever train: the optimizer holds it from the start
    active(step)                     the units that train at this step
    reconfigure(model, step)         before a step; changes the structure when it is time (FAR)
    before(step, parameters)         before a step, its active units thawed
    observe(step, parameters)        after the optimizer's step
    optimizer(groups, learning_rate) an optimizer of the method's own (GaLore, LOMO); mostly none
    restore(model)                   the plain model again
    state_dict(), load_state_dict()  JSON values only

Only `active` must be written; see CONTRIBUTING.md for a method in one file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn
from torch.optim import Optimizer

from frostline.anatomy import Anatomy, Unit
from frostline.config import told
from frostline.errors import ConfigError, nearest

Parameters = Mapping[str, nn.Parameter]


class Settings(BaseModel):
    """Settings of a method; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Replacement:
    """A parameter that took the place of another in the model, so that the optimizer can follow.

    Attributes:
        old, new: the parameters; `new` holds a part of `old`'s elements.
        shape: of `old` when it was whole.
        take: picks that part out of a tensor shaped like `old` (of an optimizer's moment, say).
    """

    old: nn.Parameter
    new: nn.Parameter
    shape: tuple[int, ...]
    take: Callable[[Tensor], Tensor]


class Method(ABC):
    """A schedule: which units are active at which step.

    Args:
        settings: an instance of this class's `Settings`.
        seed: of every random choice the method makes.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    Settings: ClassVar[type[Settings]] = Settings
    # Whether its optimizer moves each weight during backward: then nothing can clip the gradients or add them up.
    updates_in_backward: ClassVar[bool] = False
    # Whether it puts other weights in the place of some while it trains: who holds the old ones does not know them.
    reconfigures: ClassVar[bool] = False

    anatomy: Anatomy

    def __init__(self, settings: Any, seed: int = 0) -> None:
        self.settings = settings
        self.seed = seed

    def prepare(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Bind the method to a model; called once, before anything else."""
        self.anatomy = anatomy

    def units(self) -> tuple[Unit, ...]:
        """Return the units that the schedule decides over, in forward order."""
        return self.anatomy.units

    def always(self) -> tuple[Unit, ...]:
        """Return the units outside the schedule that train at every step."""
        return ()

    @abstractmethod
    def active(self, step: int) -> frozenset[str]:
        """Return the names of the units that train at `step` (0, 1, ...)."""

    def candidates(self) -> frozenset[str]:
        """Return the names of all units that may ever train."""
        return frozenset(unit.name for unit in (*self.units(), *self.always()))

    def planned_parameters(self) -> int:
        """Return how many scalars train at a step once the schedule has settled, for the plan."""
        active = self.active(0)
        return sum(u.parameter_count for u in self.units() if u.name in active) + sum(
            u.parameter_count for u in self.always()
        )

    def heaviest(self) -> frozenset[str] | None:
        """Return, of the sets that the schedule may come to, the one with most to hold; None if the first has it.

        By it a plan bounds the peak of a schedule whose sets differ.
        """
        return None

    @classmethod
    def lighter(cls, blocks: int) -> tuple[dict[str, Any], ...]:
        """Return settings that train less and less, for the planner to try in turn; none if there is nothing to choose.

        Args:
            blocks: how many the model has.
        """
        return ()

    def reconfigure(self, model: nn.Module, step: int) -> tuple[Replacement, ...]:
        """Change the model's structure if `step` is the time for it; return what replaced what."""
        return ()

    def held(self) -> tuple[Tensor, ...]:
        """Return tensors of its own that wait between two steps, such as copies of weights: they count in a peak."""
        return ()

    def before(self, step: int, parameters: Parameters) -> None:
        """See the weights before the step."""

    def observe(self, step: int, parameters: Parameters) -> None:
        """See the weights after the optimizer's step."""

    def optimizer(self, groups: list[dict[str, Any]], learning_rate: float) -> Optimizer | None:
        """Return the method's own optimizer, or None: the caller's choice does.

        Args:
            groups: parameter groups as torch.optim takes them, each with its `weight_decay`.
            learning_rate: at its highest; a scheduler sets `param_groups[...]["lr"]` from there.
        """
        return None

    def restore(self, model: nn.Module) -> None:
        """Undo every change of structure; the weights keep what they learnt."""

    def set_total_steps(self, total_steps: int) -> None:
        """Learn how many optimizer steps the run has; methods that need no such number ignore it."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the schedule needs to go on, as JSON values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], model: nn.Module) -> tuple[Replacement, ...]:
        """Take up `state_dict()`'s values, the model's structure included; return what replaced what."""
        return ()


class ConstantMethod(Method):
    """A method whose active set never changes: the rest is frozen for good and no optimizer holds it."""

    def active(self, step: int) -> frozenset[str]:
        """Return the names of the units of `trained`."""
        return self._active

    def prepare(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Bind the method to a model and choose its units."""
        super().prepare(model, anatomy)
        self._active = frozenset(unit.name for unit in self.trained(anatomy))

    @abstractmethod
    def trained(self, anatomy: Anatomy) -> tuple[Unit, ...]:
        """Return the units that train."""

    def candidates(self) -> frozenset[str]:
        """Return the active set: nothing else ever trains."""
        return self._active


def validate_settings(method: type[Method], values: Mapping[str, Any]) -> Settings:
    """Return the method's settings from plain values.

    Raises:
        ConfigError: an unknown setting (names the nearest) or a value out of range (names its bounds).
    """
    fields = method.Settings.model_fields
    for key in values:
        if key not in fields:
            known = nearest(key, fields) if fields else "; it has no settings"
            raise ConfigError(f"method {method.name!r} has no setting {key!r}{known}")
    try:
        return method.Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        raise ConfigError(f"method {method.name!r}: {where}={first['input']!r} is refused: {told(first)}") from error
