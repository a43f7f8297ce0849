"""LoRA through PEFT (Hu et al., arXiv 2106.09685): low-rank adapters beside frozen weights, and the head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraModel
from pydantic import Field, field_validator
from torch import nn
from transformers.pytorch_utils import Conv1D

from frostline.anatomy import KINDS, Anatomy, Unit
from frostline.errors import UnsupportedModel, nearest
from frostline.methods import base

_TARGETS = ("query", "key", "value", "key_value", "query_key_value", "attention_output", "ffn_in", "ffn_out")
_TOGETHER = {
    "query": ("query_key_value",),
    "key": ("key_value", "query_key_value"),
    "value": ("key_value", "query_key_value"),
}


class Lora(base.ConstantMethod):
    """Adapters of `rank` on the `targets` of every block train, and the head; merged into the weights at the end."""

    name = "lora"
    summary = "low-rank adapters on the `targets` of every block, and the head"
    source = "LoRA, arXiv 2106.09685, through PEFT"

    marker: ClassVar[str] = ".lora_"  # in the names of all adapters' parameters, and of no others

    class Settings(base.Settings):
        """`rank` and `alpha` as in the paper; `targets` are kinds of unit, found by structure and not by name.

        Where queries, keys or values have no matrix of their own (GPT-2), they mean the one that gives them.
        """

        rank: int = Field(8, ge=1, description="rank of the adapters")
        alpha: float = Field(16, gt=0, description="scale: the adapter's output is multiplied by alpha / rank")
        dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the adapters")
        targets: tuple[str, ...] = Field(("query", "value"), min_length=1, description=f"among {', '.join(_TARGETS)}")

        @field_validator("targets")
        @classmethod
        def _known(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
            for target in targets:
                if target not in _TARGETS:
                    raise ValueError(f"{target!r} is no target{nearest(target, set(_TARGETS) & set(KINDS))}")
            return targets

    def prepare(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Put the adapters into the model, in place; UnsupportedModel where it has no unit of a target's kind."""
        modules = dict(self._targeted(type(model).__name__, anatomy, target) for target in self.settings.targets)
        trainable = {name: p.requires_grad for name, p in model.named_parameters()}
        with torch.random.fork_rng(devices=[]):  # the adapters' first values come from the seed; PEFT draws them on CPU
            torch.default_generator.manual_seed(self.seed)
            self._peft: Any = self.adapt(model, modules)
        self._adapters: tuple[Unit, ...] = ()
        adapters = []
        for name, parameter in model.named_parameters():
            if self.marker not in name:
                parameter.requires_grad_(trainable[name.replace(".base_layer.", ".")])
                continue
            block = next(d for d, block in enumerate(anatomy.blocks) if name.startswith(f"{block}."))
            adapters.append(Unit.of_parameter(name, block, "blocks", "adapter", tuple(parameter.shape)))
        self._adapters = tuple(adapters)
        super().prepare(model, anatomy)

    def _targeted(self, model: str, anatomy: Anatomy, target: str) -> tuple[str, list[str]]:
        """Return the kind of weight that a target means in this model, and the names of its modules."""
        units = anatomy.in_region("blocks")
        there = {unit.kind for unit in units}
        kind = next((kind for kind in (target, *_TOGETHER.get(target, ())) if kind in there), None)
        if kind is None:
            raise UnsupportedModel(
                f"method {self.name!r}: no weight of kind {target!r} was found in {model}; choose targets among "
                f"{', '.join(sorted(there & set(_TARGETS))) or 'none: no kind that it knows is there'}."
            )
        return kind, [unit.name.removesuffix(".weight") for unit in units if unit.kind == kind]

    def adapt(self, model: nn.Module, modules: Mapping[str, list[str]]) -> Any:
        """Put PEFT's layers in place of `modules` (names by kind of weight) and return PEFT's model.

        Other adapters of PEFT's override this, and `marker`.
        """
        names = [name for found in modules.values() for name in found]
        config = LoraConfig(
            r=self.settings.rank,
            lora_alpha=self.settings.alpha,
            lora_dropout=self.settings.dropout,
            target_modules=names,
            fan_in_fan_out=all(isinstance(model.get_submodule(name), Conv1D) for name in names),  # or PEFT warns
        )
        return LoraModel(model, config, "frostline")

    def units(self) -> tuple[Unit, ...]:
        """Return the adapters and the head's units."""
        return (*self._adapters, *self.anatomy.in_region("head"))

    def trained(self, anatomy: Anatomy) -> tuple[Unit, ...]:
        """Return the adapters and the head's units."""
        return (*self._adapters, *anatomy.in_region("head"))

    def restore(self, model: nn.Module) -> None:
        """Merge the adapters into the weights they stand beside, and take them out."""
        self._peft.merge_and_unload()
