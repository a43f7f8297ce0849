"""What each part of a model costs while it trains, and what waits however little trains: by tracing, without memory.

Levels are places in forward order: 0 the embeddings, 1 the first block, and so on; the head is the last. Going down a
level costs what waits there whether its weights train or not (static); a weight that trains costs what its gradient
needs besides (dynamic), the gradient itself, and the optimizer's state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from frostline.anatomy import Anatomy, Site, Unit
from frostline.anatomy.batches import example_batch
from frostline.anatomy.sites import sites
from frostline.profile.flops import module_flops
from frostline.storage import Attached, Choice, Storage

__all__ = ["Profile", "Weights", "level_of", "profile"]


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of one module, which train together.

    Attributes:
        units: names of its units.
        level: 0 for the embeddings, the depth + 1 for a block, the last for the head.
        bytes: of the weights themselves, and so of their gradients.
        dynamic: bytes of activations that wait only while these weights train. What several modules share counts for
            each of them.
        flops: floating-point operations of the module's forward pass. Backward takes as many for the error signal
            through it, if anything below trains, and as many for its own gradients.
    """

    units: tuple[str, ...]
    level: int
    bytes: int
    dynamic: int
    flops: int


@dataclass(frozen=True, slots=True)
class Profile:
    """The bytes that decide the peak of a training step, and the operations that decide its time.

    Attributes:
        weights: by module, in forward order.
        static: of each level, bytes that wait while a weight there or below trains.
        flops: of each level, floating-point operations of its forward pass, those between its modules included.
        storage: how activations wait.
    """

    weights: dict[str, Weights]
    static: tuple[int, ...]
    flops: tuple[int, ...]
    storage: Storage

    def waiting_from(self, level: int) -> int:
        """Return the static bytes of all levels from `level` up."""
        return sum(self.static[level:])


def profile(
    model: nn.Module,
    anatomy: Anatomy,
    batch: Mapping[str, Any] | None = None,
    *,
    storage: Choice = "exact",
    device: str | None = None,
) -> Profile:
    """Return the profile of a plain model, by two traces on fake tensors.

    Args:
        model: any device, meta included; it is left as it was.
        anatomy: of that model.
        batch, device: as for `frostline.anatomy.sites.sites`.
        storage: as for `prepare`.

    Raises:
        UnsupportedModel: the forward pass cannot be traced.
        ConfigError: storage is asked for a module that keeps nothing.
    """
    chosen = Storage.of(storage)
    done = module_flops(model, example_batch(model) if batch is None else batch)
    own = _without_children(done)
    attached = None if chosen.is_exact else Attached(model, anatomy, chosen)
    try:
        found = sites(model, batch, device=device)
    finally:
        if attached is not None:
            attached.detach()
    sizes = {name: parameter.nbytes for name, parameter in model.named_parameters()}
    levels = len(anatomy.blocks) + 2
    of_module: dict[str, list[Unit]] = {}
    for unit in anatomy.units:
        of_module.setdefault(unit.name.rpartition(".")[0], []).append(unit)
    static = [0] * levels
    dynamic = dict.fromkeys(of_module, 0)
    for site in found:
        readers = {name for name in (site.module, *site.sharers) if name in dynamic}
        for name in readers:
            dynamic[name] += site.dynamic or 0
        static[_level(site, levels)] += (site.static or 0) + (0 if readers else site.dynamic or 0)
    weights = {
        name: Weights(
            tuple(unit.name for unit in units),
            level_of(units[0], levels),
            sum(sizes[parameter] for unit in units for parameter in unit.parameters),
            dynamic[name],
            own.get(name, 0),
        )
        for name, units in of_module.items()
    }
    return Profile(weights, tuple(static), _by_level(anatomy, weights, done), chosen)


def _without_children(done: Mapping[str, int]) -> dict[str, int]:
    """Return the operations of each module less those of the modules in it."""
    own = dict(done)
    for name in done:
        parent = name
        while parent:
            parent = parent.rpartition(".")[0]
            if parent in own:
                own[parent] -= done[name]
                break
    return own


def _by_level(anatomy: Anatomy, weights: Mapping[str, Weights], done: Mapping[str, int]) -> tuple[int, ...]:
    """Return the operations of each level; a block that runs several times stands for each of its depths."""
    blocks = [done.get(name, 0) // anatomy.blocks.count(name) for name in anatomy.blocks]
    embeddings = sum(module.flops for module in weights.values() if module.level == 0)
    return embeddings, *blocks, done.get("", 0) - embeddings - sum(blocks)


def level_of(unit: Unit, levels: int) -> int:
    """Return the level of a unit, of so many levels."""
    return _level(unit, levels)


def _level(place: Unit | Site, levels: int) -> int:
    if place.block is not None:
        return place.block + 1
    return 0 if place.region == "embeddings" else levels - 1
