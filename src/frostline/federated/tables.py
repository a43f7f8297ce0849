"""What training the last t of l blocks takes: CAFF's tables M(l,t), U(l,t), O(l,t), from rehearsed steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch.optim import Optimizer

from frostline.errors import UnsupportedModel
from frostline.federated.network import Network, model_of
from frostline.federated.parts import Part, is_adapter
from frostline.federated.remembered import remembered
from frostline.federated.uploads import HEADER, Upload, size
from frostline.heads import CLASSIFICATION
from frostline.meter.steps import Steps
from frostline.models import quiet
from frostline.planner.rehearsal import rehearse
from frostline.skeletons import shaped_batch


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
        full: of full fine-tuning of the deepest network, with stock storage, which shares refer to.
        adapters: of (l, r): adapters of rank r on all l blocks trained, with the head.
        windows: of (l, t, skip): t blocks trained below `skip` that stay as they are, with the head.
    """

    costs: dict[tuple[int, int], Cost]
    full: Cost
    adapters: dict[tuple[int, int], Cost] = field(default_factory=dict)
    windows: dict[tuple[int, int, int], Cost] = field(default_factory=dict)

    def of(self, depth: int, part: Part) -> Cost:
        """Return the cost of training a part of the network of that depth."""
        if part.rank is not None:
            return self.adapters[depth, part.rank]
        return self.windows[depth, part.layers, part.skip] if part.skip else self.costs[depth, part.layers]

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
    head: str = CLASSIFICATION,
    make_optimizer: Callable[[list[torch.nn.Parameter]], Optimizer] | None = None,
    storage: str | dict[str, str] = "exact",
    ranks: Iterable[int] = (),
    windows: bool = False,
    upload: Upload = "exact",
    keeps_start: bool = False,
    personal: int | None = None,
) -> Tables:
    """Return the tables of a model cut to each depth; every entry is a step rehearsed on tensors without memory.

    Args:
        model: as for `frostline.skeletons`; `{depth}` in it stands for the number of blocks.
        batch_size, sequence_length, image_size: as for `frostline.skeletons`.
        depths: blocks of the networks to choose from; each keeps its model's first ones.
        labels: classes of the head; the config's if None.
        head: what the model answers, one of `frostline.heads.HEADS`.
        make_optimizer: the devices' optimizer, which holds what trains; AdamW if None.
        storage: how saved activations wait on the devices.
        ranks: of adapters that may train in place of layers.
        windows: whether layers may train below others that do not.
        upload: how trained weights travel.
        personal: how many of the last blocks stay with a device, with the head; None for nothing.
        keeps_start: whether a device has what it trains twice: also as it was.

    Raises:
        ConfigError: there is no such model, or it has no such depth.
        UnsupportedModel: a step of it cannot be rehearsed, or its config does not say how many blocks it has.
    """
    quiet()
    networks = {
        depth: Network(model_of(model, depth), depth, labels, image_size, head) for depth in sorted(set(depths))
    }
    downloads = {depth: _checked_bytes(network) for depth, network in networks.items()}
    shape: dict[str, Any] = {"batch_size": batch_size, "sequence_length": sequence_length, "image_size": image_size}
    how: dict[str, Any] = {**shape, "count": 1}
    described = {
        depth: [network.fingerprint(), network.skeleton().config.to_dict()] for depth, network in networks.items()
    }

    def cost(depth: int, method: str, settings: dict[str, Any], storage: str | dict[str, str]) -> Cost:
        network = networks[depth]

        def source(steps: Steps) -> tuple[Any, dict[str, torch.Tensor]]:
            made = network.skeleton()
            return made, shaped_batch(made, batch_size, sequence_length, image_size)

        def make() -> dict[str, int]:
            steps = Steps(
                model, **how, storage=storage, make_optimizer=make_optimizer, method=method, settings=settings
            )
            found = rehearse(steps, source=source, anatomy=network.anatomy())
            return asdict(Cost(found.peak, found.work.flops, found.upload, downloads[depth]))

        do = [method, settings, storage]
        key = {**how, "network": described[depth], "optimizer": repr(make_optimizer), "do": do}
        return Cost(**remembered(key, make))

    def part_cost(depth: int, part: Part) -> Cost:
        whole = cost(depth, part.method, part.settings, storage)
        if keeps_start:
            whole = replace(whole, memory=whole.memory + whole.upload)
        trained, stays = networks[depth].trained_shapes(part), networks[depth].personal_shapes(personal)
        adapters = {name: shape for name, shape in trained.items() if is_adapter(name)}
        return replace(
            whole,
            upload=size({name: trained[name] for name in trained.keys() - stays.keys()}, upload),
            download=whole.download + size(adapters, "exact"),
        )

    costs = {(depth, t): part_cost(depth, Part(t)) for depth in networks for t in range(depth + 1)}
    adapters = {(depth, rank): part_cost(depth, Part(depth, rank)) for depth in networks for rank in ranks}
    places = [(depth, t, skip) for depth in networks for skip in range(depth) for t in range(1, depth - skip + 1)]
    below = {
        (depth, t, skip): part_cost(depth, Part(t, skip=skip)) if skip else costs[depth, t]
        for depth, t, skip in (places if windows else [])
    }
    full = cost(max(networks), "full", {}, "exact")
    weights = {name: tuple(value.shape) for name, value in networks[max(networks)].skeleton().named_parameters()}
    return Tables(costs, replace(full, upload=size(weights, "exact")), adapters, below)


def _checked_bytes(network: Network) -> int:
    """Return the bytes of the state of a network, once it is seen to have so many blocks as it should."""
    blocks = len(network.anatomy().blocks)
    if blocks != network.depth:
        raise UnsupportedModel(
            f"model {network.model!r} cut to {network.depth} blocks has {blocks}; its config counts something else."
        )
    return sum(value.nbytes + HEADER for value in network.skeleton().state_dict().values())
