"""Which rule says who trains what: CAFF's, or one of those that it is measured against.

caff        each device the last layers that its limits allow, of the depth with most of them (`choice.py`)
deepest     the same, of the deepest network of which all can train a layer: for depths that are cut from one network
fedavg      every device everything, whatever its limits: the upper bound
weakest     every device what all can train: FedAvg at the size of the weakest
strongest   everything, by the devices that can; the others are left out
head        every device the head alone
cocofl      each device as many blocks in a row as its limits allow, elsewhere in each round, at random (after CoCoFL,
            arXiv 2203.05468, whose frozen blocks are quantised besides)
rotating    the same, place after place
auto        the same, where the blocks moved most when they last trained (SlimFit's criterion, of rounds)
lora        every device adapters of one rank on all blocks of the deepest network for which all can, and the head
hetlora     the same, each device of the highest rank that its limits allow (HetLoRA, arXiv 2401.06432)
flexlora    the same, what the adapters add being averaged, and not their factors (FlexLoRA, arXiv 2402.11505)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from frostline.errors import BudgetInfeasible
from frostline.federated.choice import Choice, Share, broken, choose, refusal, share_of
from frostline.federated.fleet import Device
from frostline.federated.tables import Tables

Rule = Callable[[Sequence[Device], Tables, Sequence[int]], Choice]


def deepest(devices: Sequence[Device], tables: Tables, steps: Sequence[int]) -> Choice:
    """Return the deepest network of which every device can train a layer, each device its last ones as under CAFF.

    Raises:
        BudgetInfeasible: with every depth some device cannot train one layer; names one, and what binds it.
    """
    means = choose(devices, tables, steps).means
    depth = max(each for each, mean in means.items() if mean is not None)
    shares = tuple(share_of(device, depth, tables, count) for device, count in zip(devices, steps, strict=True))
    return Choice(depth, shares, means)


def fedavg(devices: Sequence[Device], tables: Tables, steps: Sequence[int]) -> Choice:
    """Return the deepest network, all of it trained by all: limits do not count."""
    depth = tables.depths[-1]
    shares = tuple(Share(device, depth, ()) for device in devices)
    return Choice(depth, shares, {each: float(each) for each in tables.depths})


def weakest(devices: Sequence[Device], tables: Tables, steps: Sequence[int]) -> Choice:
    """Return the network of which the weakest device can train most, of equals the deeper; no device trains more.

    Raises:
        BudgetInfeasible: with every depth some device cannot train one layer; names one, and what binds it.
    """
    found = {
        depth: [share_of(device, depth, tables, count) for device, count in zip(devices, steps, strict=True)]
        for depth in tables.depths
    }
    least = {depth: min(share.layers for share in shares) for depth, shares in found.items()}
    if not any(least.values()):
        raise BudgetInfeasible(refusal(devices, tables, steps, tables.costs[tables.depths[0], 1], "one layer"))
    depth = max(tables.depths, key=lambda each: (least[each], each))
    shares = tuple(replace(share, layers=least[depth]) for share in found[depth])
    return Choice(depth, shares, {each: float(count) if count else None for each, count in least.items()})


def strongest(devices: Sequence[Device], tables: Tables, steps: Sequence[int]) -> Choice:
    """Return the deepest network that any device can train whole, trained by those that can.

    Raises:
        BudgetInfeasible: none can.
    """
    means: dict[int, float | None] = {}
    best: Choice | None = None
    for depth in tables.depths:
        shares = tuple(share_of(device, depth, tables, count) for device, count in zip(devices, steps, strict=True))
        able = [share.layers == depth for share in shares]
        means[depth] = depth * sum(able) / len(able) if any(able) else None
        if any(able):
            taking = (replace(share, takes_part=whole) for share, whole in zip(shares, able, strict=True))
            best = Choice(depth, tuple(taking), means)
    if best is None:
        raise BudgetInfeasible(
            f"no device can train the whole network, not even of {tables.depths[0]} blocks: rule strongest leaves out "
            "all. Raise a limit, add a smaller depth, or take another rule."
        )
    return best


def windows(devices: Sequence[Device], tables: Tables, steps: Sequence[int]) -> Choice:
    """Return, for each device, the longest windows of blocks that it can train, one from each place that has one.

    The network is that with the largest mean of their lengths; of equals the deeper.

    Raises:
        BudgetInfeasible: with every depth some device cannot train one block anywhere; names one.
    """
    means: dict[int, float | None] = {}
    best: Choice | None = None
    for depth in tables.depths:
        shares = []
        for device, count in zip(devices, steps, strict=True):
            found = _windows(device, depth, tables, count)
            binds = share_of(device, depth, tables, count).binds
            shares.append(Share(device, max((t for t, _ in found), default=0), binds, windows=found))
        able = all(share.windows for share in shares)
        mean = sum(sum(t for t, _ in share.windows) / max(1, len(share.windows)) for share in shares) / len(shares)
        means[depth] = mean if able else None
        if able and (best is None or mean >= (means[best.depth] or 0.0)):
            best = Choice(depth, tuple(shares), means)
    if best is None:
        raise BudgetInfeasible(refusal(devices, tables, steps, tables.costs[tables.depths[0], 1], "one layer"))
    return best


def _windows(device: Device, depth: int, tables: Tables, steps: int) -> tuple[tuple[int, int], ...]:
    """Return (t, skip) of the windows that fit and lie in no other one that does, the highest first."""
    found: list[tuple[int, int]] = []
    for skip in range(depth):
        costs = {t: tables.windows[depth, t, skip] for t in range(1, depth - skip + 1)}
        longest = max((t for t, cost in costs.items() if not broken(device, cost, tables.full, steps)), default=0)
        if longest and not any(above <= skip and above + t >= skip + longest for t, above in found):
            found.append((longest, skip))
    return tuple(found)


def head(devices: Sequence[Device], tables: Tables, steps: Sequence[int]) -> Choice:
    """Return the deepest network of which every device can train the head.

    Raises:
        BudgetInfeasible: some device cannot with any; names it.
    """
    means: dict[int, float | None] = dict.fromkeys(tables.depths)
    best: Choice | None = None
    for depth in tables.depths:
        cost = tables.costs[depth, 0]
        if not any(broken(d, cost, tables.full, n) for d, n in zip(devices, steps, strict=True)):
            means[depth] = 0.0
            best = Choice(depth, tuple(Share(device, 0, ()) for device in devices), means)
    if best is None:
        raise BudgetInfeasible(refusal(devices, tables, steps, tables.costs[tables.depths[0], 0], "the head"))
    return best


def hetlora(devices: Sequence[Device], tables: Tables, steps: Sequence[int]) -> Choice:
    """Return the deepest network of which every device can train adapters, each of the highest rank that it can.

    Raises:
        BudgetInfeasible: some device cannot with any, even of the lowest rank; names it.
    """
    means: dict[int, float | None] = dict.fromkeys(tables.depths)
    best: Choice | None = None
    for depth in tables.depths:
        shares = tuple(_adapted(device, depth, tables, count) for device, count in zip(devices, steps, strict=True))
        if all(share.rank for share in shares):
            means[depth] = float(depth)
            best = Choice(depth, shares, means)
    if best is None:
        ranks = sorted(rank for depth, rank in tables.adapters if depth == tables.depths[0])
        cost = tables.adapters[tables.depths[0], ranks[0]]
        raise BudgetInfeasible(refusal(devices, tables, steps, cost, f"adapters of rank {ranks[0]}"))
    return best


def lora(devices: Sequence[Device], tables: Tables, steps: Sequence[int]) -> Choice:
    """Return the same with one rank for all: the highest that every device can."""
    found = hetlora(devices, tables, steps)
    rank = min(share.rank or 0 for share in found.shares)
    return replace(found, shares=tuple(replace(share, rank=rank) for share in found.shares))


def _adapted(device: Device, depth: int, tables: Tables, steps: int) -> Share:
    """Return the highest rank that a device can train; of limits, those that the next one would break."""
    ranks = sorted(rank for each, rank in tables.adapters if each == depth)
    over = {rank: broken(device, tables.adapters[depth, rank], tables.full, steps) for rank in ranks}
    fitting = [rank for rank in ranks if not over[rank]]
    higher = [rank for rank in ranks if not fitting or rank > fitting[-1]]
    binds = tuple(over[higher[0]]) if higher else ()
    return Share(device, depth, binds, rank=fitting[-1] if fitting else None)


RULES: dict[str, Rule] = {
    "caff": choose,
    "deepest": deepest,
    "fedavg": fedavg,
    "weakest": weakest,
    "strongest": strongest,
    "head": head,
    "cocofl": windows,
    "rotating": windows,
    "auto": windows,
    "lora": lora,
    "hetlora": hetlora,
    "flexlora": hetlora,
}
ADAPTED = frozenset({"lora", "hetlora", "flexlora"})
"""Rules under which adapters train, so that the tables must have their costs."""
WINDOWED = frozenset({"cocofl", "rotating", "auto"})
"""Rules under which windows of layers train."""
