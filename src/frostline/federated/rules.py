"""Which rule says who trains what: CAFF's, or one of those that it is measured against.

    caff        each device the last layers that its limits allow, of the depth with most of them (`choice.py`)
    fedavg      every device everything, whatever its limits: the upper bound
    weakest     every device what all can train: FedAvg at the size of the weakest
    strongest   everything, by the devices that can; the others are left out
    head        every device the head alone

Below one rule all devices take part in the same way, so a round of `fedavg` is Flower's FedAvg.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from frostline.errors import BudgetInfeasible
from frostline.federated.choice import Choice, Share, broken, choose, refusal, share_of
from frostline.federated.fleet import Device
from frostline.federated.tables import Tables

Rule = Callable[[Sequence[Device], Tables, Sequence[int]], Choice]


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
        raise BudgetInfeasible(refusal(devices, tables, steps))
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
        raise BudgetInfeasible(refusal(devices, tables, steps, layers=0))
    return best


RULES: dict[str, Rule] = {"caff": choose, "fedavg": fedavg, "weakest": weakest, "strongest": strongest, "head": head}
