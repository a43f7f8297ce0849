"""FAR, freeze and reconfigure: after a short priming the FFN nodes that learnt least freeze (arXiv 2205.01541).

During priming (`ceil(priming * total_steps)` steps) everything trains. Then, once and per layer, the
`ceil(retention * n)` of n nodes that moved most by L1 norm go on as learners and the rest freezes; the layers are
reconfigured so that a frozen node has no gradient and no optimizer state, and merged back at the end.

Two definitions of a node:
    output   one output feature of either FFN layer: its row and bias (the paper's; the rows of lin2 are chosen apart)
    hidden   one hidden unit: row j of lin1, and of the gate where there is one, with column j of lin2, chosen
             together; lin2 then keeps only the learners' share of its input for backward (ours)

Remembered during priming: the FFN weights at the start, released at the decision. Ours: embeddings, attention, norms
and head stay trainable (from the paper's parameter counts); the learners' moments are carried over.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from frostline.anatomy import Anatomy, FeedForward, Unit
from frostline.anatomy.linears import Linear, by_rows
from frostline.errors import ConfigError, PlanError, UnsupportedModel
from frostline.methods import base
from frostline.methods.base import Replacement
from frostline.methods.split_linear import SplitColumns, SplitRows


class Far(base.Method):
    """Freezes the FFN nodes that learnt least during priming and reconfigures the layers."""

    name = "far"
    summary = "everything at first, then the `retention` of FFN nodes that learnt most, and all else"
    source = "FAR, arXiv 2205.01541"
    reconfigures = True

    class Settings(base.Settings):
        """`retention` and `priming` are shares in [0, 1) of nodes and of steps; `total_steps` is for plain loops."""

        retention: float = Field(0.1, ge=0, lt=1, description="share of the FFN nodes that go on learning, in [0, 1)")
        priming: float = Field(0.01, ge=0, lt=1, description="share of the steps before the decision, in [0, 1)")
        nodes: Literal["output", "hidden"] = Field(
            "hidden", description="what a node is: an output row or a hidden unit"
        )
        choose: Literal["learned", "random"] = Field("learned", description="which nodes stay; random is the control")
        total_steps: int | None = Field(None, ge=1, description="optimizer steps of the run; a Trainer says it itself")

    @classmethod
    def lighter(cls, blocks: int) -> tuple[dict[str, Any], ...]:
        """Return the paper's two retentions."""
        return ({"retention": 0.4}, {"retention": 0.1})

    def prepare(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Bind to a model and remember its FFN weights; a block without an FFN pair raises UnsupportedModel."""
        super().prepare(model, anatomy)
        frozen_layers = {name.rpartition(".")[0] for name in anatomy.frozen}
        with_pair = {pair.block for pair in anatomy.feed_forwards if not frozen_layers & {*pair.layers}}
        for depth, block in enumerate(anatomy.blocks):
            if depth not in with_pair:
                linears = [u.name for u in anatomy.in_blocks(range(depth, depth + 1)) if len(u.shape) > 1]
                raise UnsupportedModel(
                    f"method 'far' needs in every block a pair of Linear layers with only elementwise functions "
                    f"between them, and trainable; {block!r} has none among {', '.join(linears) or 'its weights'}."
                )
        if self.settings.choose == "learned" and self.settings.priming == 0:
            raise ConfigError(
                "method 'far': priming=0 leaves nothing to choose by; use choose='random' or priming > 0."
            )
        self._total_steps: int | None = self.settings.total_steps
        self._learners: dict[str, list[int]] = {}
        self._splits: dict[str, SplitRows | SplitColumns] = {}
        self._start: dict[str, Tensor] = {}
        if self.settings.choose == "learned":
            self._start = {name: _weight(model, name).clone() for name in self._layers()}
        self._units = anatomy.units

    def set_total_steps(self, total_steps: int) -> None:
        """Take the run's length from whoever drives it, unless the settings say it."""
        if self.settings.total_steps is None:
            self._total_steps = total_steps

    def units(self) -> tuple[Unit, ...]:
        """Return all parameters; once reconfigured, a group of learners and one of frozen nodes for each layer."""
        return self._units

    def active(self, step: int) -> frozenset[str]:
        """Return everything that is not a group of frozen nodes."""
        return frozenset(unit.name for unit in self._units if unit.parameters)

    def planned_parameters(self) -> int:
        """Return the scalars that train after the decision."""
        total = sum(unit.parameter_count for unit in self.anatomy.units)
        if self._learners:
            return total - sum(unit.parameter_count for unit in self._units if not unit.parameters)
        for pair in self.anatomy.feed_forwards:
            inner = pair.hidden - self._learner_count(pair.hidden)
            outer = pair.width - self._learner_count(pair.width)
            total -= sum(inner * (pair.width + self._has_bias(layer)) for layer in pair.widening)
            if self.settings.nodes == "hidden":
                total -= inner * pair.width
            else:
                total -= outer * (pair.hidden + self._has_bias(pair.lin2))
        return total

    def _has_bias(self, layer: str) -> bool:
        return any(unit.name == f"{layer}.bias" for unit in self.anatomy.units)

    def reconfigure(self, model: nn.Module, step: int) -> tuple[Replacement, ...]:
        """Decide and split when priming is over."""
        if self._learners or step < self._priming_steps():
            return ()
        return self._split(model, self._choose(model))

    def held(self) -> tuple[Tensor, ...]:
        """Return the starting weights, while priming lasts."""
        return tuple(self._start.values())

    def restore(self, model: nn.Module) -> None:
        """Merge every split layer back into the plain one."""
        for name, split in self._splits.items():
            model.set_submodule(name, split.restore())
        self._splits = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the chosen learners by layer, or what tells the starting weights apart while priming lasts."""
        return {"learners": self._learners, "start": self._fingerprint()}

    def load_state_dict(self, state: Mapping[str, Any], model: nn.Module) -> tuple[Replacement, ...]:
        """Split as the state says; PlanError if the model did not start from the same weights."""
        if state["learners"]:
            if self._learners and self._learners != state["learners"]:
                raise PlanError("method 'far': this model is already reconfigured, with other learners.")
            return () if self._learners else self._split(model, state["learners"])
        if self._learners:
            raise PlanError("method 'far': this model is already reconfigured, and the state is of before.")
        own = self._fingerprint()
        for name, total in state["start"].items():
            if own.get(name) != total:
                raise PlanError(f"method 'far': {name!r} did not start from the weights this run started from.")
        return ()

    def _fingerprint(self) -> dict[str, float]:
        return {name: float(weight.double().sum()) for name, weight in self._start.items()}

    def _priming_steps(self) -> int:
        if self.settings.priming == 0:
            return 0
        if self._total_steps is None:
            raise ConfigError("method 'far' must know the length of the run: give total_steps=<optimizer steps>.")
        priming: float = self.settings.priming
        steps = math.ceil(priming * self._total_steps - 1e-9)
        if steps >= self._total_steps:
            raise ConfigError(
                f"method 'far': priming={priming} takes all {self._total_steps} steps; train longer or prime less."
            )
        return steps

    def _layers(self) -> list[str]:
        return [name for pair in self.anatomy.feed_forwards for name in pair.layers]

    def _learner_count(self, nodes: int) -> int:
        retention: float = self.settings.retention
        return math.ceil(retention * nodes - 1e-9)  # 0.07 * 100 is 7.000000000000001, and a share is meant in decimals

    def _choose(self, model: nn.Module) -> dict[str, list[int]]:
        chosen: dict[str, list[int]] = {}
        for pair in self.anatomy.feed_forwards:
            rows = [self._moved(model, layer, 1) for layer in pair.widening]
            if self.settings.nodes == "hidden":
                parts = [part for part in (*rows, self._moved(model, pair.lin2, 0)) if part is not None]
                together = torch.stack(parts).sum(0) if parts else None
                chosen |= dict.fromkeys(pair.widening, self._top(pair.lin1, pair.hidden, together))
            else:
                for layer, moved in zip(pair.widening, rows, strict=True):
                    chosen[layer] = self._top(layer, pair.hidden, moved)
                chosen[pair.lin2] = self._top(pair.lin2, pair.width, self._moved(model, pair.lin2, 1))
        return chosen

    def _moved(self, model: nn.Module, name: str, over: int) -> Tensor | None:
        """Return how far each output feature of a layer moved (summed over 1), or each input feature (over 0)."""
        start = self._start.pop(name, None)
        if start is None:
            return None
        weight = _weight(model, name)
        return by_rows(_linear(model, name), (weight - start.to(weight.device)).abs_().float()).sum(over)

    def _top(self, name: str, nodes: int, moved: Tensor | None) -> list[int]:
        count = self._learner_count(nodes)
        if moved is None or isinstance(moved, FakeTensor):
            return sorted(random.Random(f"{self.seed}/{name}").sample(range(nodes), count))
        return sorted(torch.topk(moved, count).indices.tolist())

    def _split(self, model: nn.Module, learners: Mapping[str, list[int]]) -> tuple[Replacement, ...]:
        replacements: list[Replacement] = []
        self._start = {}
        for pair in self.anatomy.feed_forwards:
            for name, split in self._splits_of(model, pair, learners):
                model.set_submodule(name, split)
                self._splits[name] = split
                replacements += split.replacements
        self._learners = {name: list(indices) for name, indices in learners.items()}
        self._units = self._units_after(self.anatomy)
        return tuple(replacements)

    def _splits_of(
        self, model: nn.Module, pair: FeedForward, learners: Mapping[str, list[int]]
    ) -> Iterator[tuple[str, SplitRows | SplitColumns]]:
        """Yield the split layers of a pair. Nodes in between lie learners first, but where two layers choose apart."""
        apart = self.settings.nodes == "output" and pair.gate is not None
        order = None
        for name in pair.widening:
            split = SplitRows(_linear(model, name), learners[name], reorder=apart)
            order = None if apart else split.order
            yield name, split
        lin2 = _linear(model, pair.lin2)
        if self.settings.nodes == "hidden":
            yield pair.lin2, SplitColumns(lin2, learners[pair.lin1])
        else:
            yield pair.lin2, SplitRows(lin2, learners[pair.lin2], input_order=order, reorder=True)

    def _units_after(self, anatomy: Anatomy) -> tuple[Unit, ...]:
        units: list[Unit] = []
        layers = {name: pair for pair in anatomy.feed_forwards for name in pair.layers}
        for unit in anatomy.units:
            layer, _, tensor = unit.name.rpartition(".")
            split = self._splits.get(layer)
            if split is None or (tensor == "bias" and isinstance(split, SplitColumns)):
                units.append(unit)
            elif tensor == "weight":
                units += _groups(layer, split, layers[layer])
        return tuple(units)


def _linear(model: nn.Module, layer: str) -> Linear:
    module = model.get_submodule(layer)
    assert isinstance(module, Linear)
    return module


def _weight(model: nn.Module, layer: str) -> Tensor:
    weight: Tensor = _linear(model, layer).weight
    return weight.detach()


def _groups(layer: str, split: SplitRows | SplitColumns, pair: FeedForward) -> list[Unit]:
    """Return the units of a split layer: its learners, whose parameters live, and its frozen nodes, which have none."""
    rows = isinstance(split, SplitRows)
    own = ["weight", "bias"] if rows and split.bias is not None else ["weight"]
    scalars = (split.in_features if rows else split.out_features) + len(own) - 1
    learners, frozen = split.learner_count, split.order.numel() - split.learner_count
    names = tuple(f"{layer}.{tensor}" for tensor in own) if learners else ()
    groups = [
        Unit(f"{layer}.learners", pair.block, "blocks", "nodes", (learners,), learners * scalars, names),
        Unit(f"{layer}.frozen", pair.block, "blocks", "nodes", (frozen,), frozen * scalars, ()),
    ]
    return [unit for unit in groups if unit.parameter_count]
