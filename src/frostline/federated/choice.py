"""Which network a fleet trains and how many layers each device: CAFF's l* and t_c, and what binds each device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frostline.budget import written
from frostline.errors import BudgetInfeasible
from frostline.federated.fleet import Device
from frostline.federated.parts import Part
from frostline.federated.tables import Cost, Tables
from frostline.planner.limits import Limits


@dataclass(frozen=True, slots=True)
class Share:
    """What one device trains.

    Attributes:
        device: which.
        layers: t, the last blocks that it trains; 0 if it cannot train one.
        binds: the limits that one layer more would break: memory, flops, upload, download; none if it trains all.
        takes_part: whether it is asked at all.
        rank: of adapters on all blocks, which train in place of the blocks' own weights; None for none.
        windows: (t, skip) of which it trains one in a round: t blocks below `skip` that stay as they are; `layers` is
            then the most of t. None of them: its last blocks.
    """

    device: Device
    layers: int
    binds: tuple[str, ...]
    takes_part: bool = True
    rank: int | None = None
    windows: tuple[tuple[int, int], ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """What it trains, in one round or another."""
        if self.windows:
            return tuple(Part(layers, skip=skip) for layers, skip in self.windows)
        return (Part(self.layers, self.rank),)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a fleet trains.

    Attributes:
        depth: l*, the blocks of the network.
        shares: of each device, in the fleet's order.
        means: of each depth, the mean of t over devices; None where some device cannot train one layer.
    """

    depth: int
    shares: tuple[Share, ...]
    means: dict[int, float | None]


def share_of(device: Device, depth: int, tables: Tables, steps: int = 1) -> Share:
    """Return the most layers of the network of that depth that a device can train.

    Args:
        device: with its limits; shares are of full fine-tuning of the deepest network on its own data.
        depth: a depth that the tables have.
        tables: the costs.
        steps: optimizer steps of the device in a round.
    """
    fitting = [t for t in range(1, depth + 1) if not broken(device, tables.costs[depth, t], tables.full, steps)]
    layers = max(fitting, default=0)
    more = broken(device, tables.costs[depth, layers + 1], tables.full, steps) if layers < depth else {}
    return Share(device, layers, tuple(more))


def choose(devices: Sequence[Device], tables: Tables, steps: Sequence[int] | None = None) -> Choice:
    """Return the network with the largest mean of trained layers over devices; of equals the deeper.

    Args:
        devices: of the fleet, one or more.
        tables: the costs.
        steps: optimizer steps of each device in a round; 1 each if None.

    Raises:
        BudgetInfeasible: with every depth some device cannot train one layer; names one, and what binds it.
    """
    counts = [1] * len(devices) if steps is None else list(steps)
    means: dict[int, float | None] = {}
    best: Choice | None = None
    for depth in tables.depths:
        shares = tuple(share_of(d, depth, tables, n) for d, n in zip(devices, counts, strict=True))
        feasible = all(share.layers for share in shares)
        mean = sum(share.layers for share in shares) / len(shares)
        means[depth] = mean if feasible else None
        if feasible and (best is None or mean >= (means[best.depth] or 0.0)):  # ascending: of equals, the deeper
            best = Choice(depth, shares, means)
    if best is None:
        raise BudgetInfeasible(refusal(devices, tables, counts, tables.costs[tables.depths[0], 1], "one layer"))
    return best


def broken(device: Device, cost: Cost, full: Cost, steps: int = 1) -> dict[str, tuple[float, float]]:
    """Return the limits of a device that a cost breaks, each with what is needed and what is there."""
    room: dict[str, tuple[float, float]] = {}
    if device.memory is not None:
        amount = device.memory.amount
        # Of real memory a margin stays free, for what a prediction may be off by; a share is of tensors alone.
        tensors = device.memory.of(full.memory) if amount is None else Limits(int(amount), device.reserved).tensors
        room["memory"] = (cost.memory, tensors)
    if device.flops is not None:
        room["flops"] = (cost.flops * steps, device.flops.of(full.flops * steps))
    if device.upload is not None:
        room["upload"] = (cost.upload, device.upload.of(full.upload))
    if device.download is not None:
        room["download"] = (cost.download, device.download.of(full.download))
    return {name: pair for name, pair in room.items() if pair[0] > pair[1]}


def memory_of(device: Device) -> int | None:
    """Return the bytes that a round may take of a device's memory, None if it is not given in bytes."""
    if device.memory is None or device.memory.amount is None:
        return None
    return int(device.memory.amount) - device.reserved


def refusal(devices: Sequence[Device], tables: Tables, counts: Sequence[int], cost: Cost, what: str) -> str:
    """Return why no depth suits every device: the first that cannot pay the least, for the smallest network."""
    depth = tables.depths[0]
    unable = [(d, n) for d, n in zip(devices, counts, strict=True) if broken(d, cost, tables.full, n)]
    if not unable:
        return (
            "no depth suits every device: each one leaves some device without a layer that it can train; add a depth "
            f"to {', '.join(map(str, tables.depths))}, or leave devices out."
        )
    device, steps = unable[0]
    why = broken(device, cost, tables.full, steps)
    told = ", ".join(
        f"{name} of {_amount(name, need)} with {_amount(name, has)} there" for name, (need, has) in why.items()
    )
    others = f" and {len(unable) - 1} more" if len(unable) > 1 else ""
    return (
        f"device {device.name!r}{others} cannot train {what}, even of the {depth} blocks: it needs {told}. Raise a "
        "limit, take a smaller batch or depth, or leave it out."
    )


def _amount(name: str, value: float) -> str:
    return f"{value:.3g} FLOPs" if name == "flops" else written(max(0, int(value)))
