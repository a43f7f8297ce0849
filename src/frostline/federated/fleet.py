"""The fleet: groups of devices with their limits, as YAML; presets of the papers, and boards by name."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from frostline.errors import ConfigError, nearest
from frostline.federated.groups import MOST_DEVICES, Group, data_file, make_group
from frostline.federated.limits import Limit


@dataclass(frozen=True, slots=True)
class Device:
    """One device of a fleet.

    Attributes:
        index: its place in the fleet, from 0; also the partition of the data that it has.
        group, name: as the fleet names them.
        memory: at the peak, bytes; `reserved` of them are not for tensors.
        flops: of a round.
        upload, download: bytes of a round.
        availability: chance of being there when a round begins.
        data: examples, to those of a device with all its part.
    """

    index: int
    group: str
    name: str
    memory: Limit | None = None
    reserved: int = 0
    flops: Limit | None = None
    upload: Limit | None = None
    download: Limit | None = None
    availability: float = 1.0
    data: float = 1.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """Groups of devices, in order."""

    groups: tuple[Group, ...]

    def devices(self, seed: int = 0) -> tuple[Device, ...]:
        """Return every device, group by group; the seed draws what a group gives as a range."""
        found: list[Device] = []
        for group in self.groups:
            flops = group.flops
            if group.seconds is not None and group.flops_per_second is not None:
                flops = Limit(amount=group.seconds * group.flops_per_second.of(0))
            for number in range(group.count):
                share = random.Random(f"data {seed} {len(found)}").uniform(*group.data)
                limits = (group.memory, group.reserved, flops, group.upload, group.download)
                name = f"{group.name}-{number}"
                found.append(Device(len(found), group.name, name, *limits, group.availability, share))
        return tuple(found)


def make_fleet(values: object) -> Fleet:
    """Return the fleet of plain values.

    Args:
        values: `{groups: [{name: ..., count: ...}, ...]}`, or `{preset: thirds, count: 90}`.

    Raises:
        ConfigError: an unknown key, preset, board or unit, an impossible number; names the group.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"fleet={values!r} is refused: write groups: with a list under it, or preset: and count:")
    for key in values:
        if key not in ("groups", "preset", "count"):
            raise ConfigError(f"fleet: unknown key {key!r}{nearest(str(key), ('groups', 'preset', 'count'))}")
    if ("preset" in values) == ("groups" in values) or ("count" in values) != ("preset" in values):
        raise ConfigError("fleet: write either groups:, or preset: with count:, the number of devices.")
    entries = _preset(values["preset"], values["count"]) if "preset" in values else values["groups"]
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"fleet: groups={entries!r} is refused: write a list of groups, one or more.")
    groups = tuple(make_group(entry, place) for place, entry in enumerate(entries))
    names = [group.name for group in groups]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"fleet: two groups are called {twice!r}; give each a name of its own.")
    if (total := sum(group.count for group in groups)) > MOST_DEVICES:
        raise ConfigError(f"fleet: {total:,} devices are refused: {MOST_DEVICES:,} at most.")
    return Fleet(groups)


@cache
def presets() -> dict[str, list[dict[str, Any]]]:
    """Return the groups of each preset, without their counts."""
    found: dict[str, list[dict[str, Any]]] = data_file("presets.yaml")
    return found


def _preset(name: object, count: object) -> list[dict[str, Any]]:
    if not isinstance(name, str) or name not in presets():
        raise ConfigError(f"fleet: preset {name!r} is unknown{nearest(str(name), presets())}")
    groups = presets()[name]
    if not isinstance(count, int) or isinstance(count, bool) or not len(groups) <= count <= MOST_DEVICES:
        raise ConfigError(
            f"fleet: count={count!r} is refused: preset {name!r} has {len(groups)} groups; give {len(groups)} devices "
            f"or more, up to {MOST_DEVICES:,}."
        )
    each, rest = divmod(count, len(groups))
    return [group | {"count": each + (place < rest)} for place, group in enumerate(groups)]
