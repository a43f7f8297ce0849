"""What training the last t of l blocks takes: CAFF's tables M(l,t), U(l,t), O(l,t), from rehearsed steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.optim import Optimizer

from frostline.anatomy import discover
from frostline.errors import UnsupportedModel
from frostline.federated.network import Network
from frostline.federated.parts import Part
from frostline.federated.uploads import Upload, size
from frostline.meter.steps import Steps
from frostline.models import quiet
from frostline.planner.rehearsal import rehearse
from frostline.skeletons import shaped_batch, skeleton


@dataclass(frozen=True, slots=True)
class Cost:
    """What a device pays.

    Attributes:
        memory: bytes of all tensors at the peak of a step.
        flops: of one step.
        upload: bytes of the weights that train, those of t blocks and the head, as they travel.
        download: bytes of all weights and buffers, as others may have trained them.
    """

    memory: int
    flops: int
    upload: int
    download: int


@dataclass(frozen=True, slots=True)
class Tables:
    """CAFF's tables (arXiv 2411.07826).

    Attributes:
        costs: of (l, t): the network of l blocks, the last t of them trained with the head; 0 <= t <= l.
        full: of full fine-tuning of the deepest network, which shares refer to.
        adapters: of (l, r): adapters of rank r on all l blocks trained, with the head.
    """

    costs: dict[tuple[int, int], Cost]
    full: Cost
    adapters: dict[tuple[int, int], Cost] = field(default_factory=dict)

    @property
    def depths(self) -> tuple[int, ...]:
        """The depths l of the networks there are, ascending."""
        return tuple(sorted({depth for depth, _ in self.costs}))


def make_tables(
    model: str,
    depths: Iterable[int],
    *,
    batch_size: int,
    sequence_length: int | None = None,
    image_size: int | None = None,
    labels: int | None = None,
    make_optimizer: Callable[[list[torch.nn.Parameter]], Optimizer] | None = None,
    storage: str = "exact",
    ranks: Iterable[int] = (),
    upload: Upload = "exact",
) -> Tables:
    """Return the tables of a model cut to each depth; every entry is a step rehearsed on tensors without memory.

    Args:
        model, batch_size, sequence_length, image_size: as for `frostline.skeletons`.
        depths: blocks of the networks to choose from; each keeps the model's first ones.
        labels: classes of the head; the config's if None.
        make_optimizer: the devices' optimizer, which holds what trains; AdamW if None.
        storage: how saved activations wait on the devices.
        ranks: of adapters that may train in place of layers.
        upload: how trained weights travel.

    Raises:
        ConfigError: there is no such model, or it has no such depth.
        UnsupportedModel: a step of it cannot be rehearsed, or its config does not say how many blocks it has.
    """
    quiet()
    shape: dict[str, Any] = {"batch_size": batch_size, "sequence_length": sequence_length, "image_size": image_size}

    def cost(depth: int, method: str, settings: dict[str, Any]) -> Cost:
        def source(steps: Steps) -> tuple[Any, dict[str, torch.Tensor]]:
            made = skeleton(model, image_size=image_size, depth=depth, labels=labels)
            return made, shaped_batch(made, batch_size, sequence_length, image_size)

        chosen: dict[str, Any] = {"method": method, "settings": settings, "storage": storage, "count": 1}
        found = rehearse(Steps(model, **shape, **chosen, make_optimizer=make_optimizer), source=source)
        return Cost(found.peak, found.work.flops, found.upload, downloads[depth])

    def part_cost(depth: int, part: Part) -> Cost:
        whole = cost(depth, part.method, part.settings)
        if upload == "exact":
            return whole
        network = Network(model, depth, labels, image_size)
        return replace(whole, upload=size(network.trained_shapes(part), upload))

    downloads = {depth: _checked_bytes(model, depth, image_size, labels) for depth in sorted(set(depths))}
    pairs = [(depth, trained) for depth in downloads for trained in range(depth + 1)]
    parts = {(depth, trained): Part(trained) for depth, trained in pairs}
    adapted = {(depth, rank): Part(depth, rank) for depth in downloads for rank in ranks}
    costs, adapters = ({key: part_cost(key[0], part) for key, part in some.items()} for some in (parts, adapted))
    return Tables(costs, cost(max(downloads), "full", {}), adapters)


def _checked_bytes(model: str, depth: int, image_size: int | None, labels: int | None) -> int:
    """Return the bytes of the state of the network of that depth, once it is seen to have so many blocks."""
    network = skeleton(model, image_size=image_size, depth=depth, labels=labels)
    blocks = len(discover(network).blocks)
    if blocks != depth:
        raise UnsupportedModel(f"model {model!r} cut to {depth} blocks has {blocks}; its config counts something else.")
    return sum(value.nbytes for value in network.state_dict().values())
