"""Which of its parts a device trains in a round, where it has several: turn by turn, by chance, or what moves most."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from frostline.federated.choice import Share
from frostline.federated.config import FederateConfig
from frostline.federated.merging import Arrays
from frostline.federated.network import Network
from frostline.federated.parts import Part
from frostline.methods.distances import relative_change

Record = dict[str, Any]


@dataclass(slots=True)
class Turns:
    """The order in which parts come.

    Attributes:
        config: of the federation.
        network: of which the parts are.
        distances: of blocks, by how many lie above, the mean relative change in the last round that moved them:
            SlimFit's criterion (arXiv 2305.18513), of rounds in place of steps. Kept under rule `auto` alone.
    """

    config: FederateConfig
    network: Network
    distances: dict[int, float] = field(default_factory=dict)

    @classmethod
    def after(cls, log: Iterable[Record], config: FederateConfig, network: Network) -> Turns:
        """Return the turns as they stand after the rounds of a log."""
        turns = cls(config, network)
        for record in log:
            turns.distances |= {int(skip): distance for skip, distance in record.get("distances", {}).items()}
        return turns

    def part(self, share: Share, number: int) -> Part:
        """Return what a device trains in a round, counted from 1."""
        parts, place = share.parts, number - 1
        if self.config.rule == "cocofl":
            place = random.Random(f"part {self.config.seed} {number} {share.device.index}").randrange(len(parts))
        elif self.config.rule == "auto":
            place = max(range(len(parts)), key=lambda each: self._worth(parts[each]))  # of equals the highest
        return parts[place % len(parts)]

    def moved(self, parts: Iterable[Part], before: Arrays, after: Mapping[str, Any]) -> Record:
        """Take note of how far a round moved the blocks of some parts; return it for the round's record.

        Args:
            parts: that were trained.
            before: the network.
            after: the tensors that the round changed.
        """
        if self.config.rule != "auto":
            return {}
        blocks = {skip for part in parts for skip in range(part.skip, part.skip + part.layers)}
        found = {skip: self._distance(skip, before, after) for skip in sorted(blocks)}
        self.distances |= found
        return {"distances": {str(skip): distance for skip, distance in found.items()}}

    def _worth(self, part: Part) -> tuple[int, float]:
        """Return how many of its blocks have never trained, and how far the others moved."""
        known = [self.distances.get(skip) for skip in range(part.skip, part.skip + part.layers)]
        return known.count(None), sum(distance or 0.0 for distance in known)

    def _distance(self, skip: int, before: Arrays, after: Mapping[str, Any]) -> float:
        head = self.network.trained_shapes(Part(0))
        names = [name for name in self.network.trained_shapes(Part(1, skip=skip)) if name not in head]
        sizes = [before[name].size for name in names]
        changes = [
            relative_change(torch.from_numpy(before[name]), torch.from_numpy(after[name])) if name in after else 0.0
            for name in names
        ]
        return sum(size * change for size, change in zip(sizes, changes, strict=True)) / sum(sizes)
