"""IA3 (Liu et al., arXiv 2205.05638) and VeRA (Kopiczko et al., arXiv 2310.11454), both through PEFT.

Published:
    IA3    learned vectors scale keys, values and what goes into the second FFN layer; everything else is frozen
    VeRA   LoRA whose two matrices are random, frozen and shared by all layers; two vectors a layer are learned

Here: the targets are kinds of weight, found by structure, where PEFT goes by module names; the head trains besides; the
vectors are merged into the weights at the end. VeRA's random matrices come from the run's seed and are not in the
checkpoints. IA3 was published with T-Few's recipe (T0, two extra losses); only its vectors are here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from peft import IA3Config, VeraConfig
from peft.tuners.ia3 import IA3Model
from peft.tuners.vera import VeraModel
from pydantic import Field
from torch import nn

from frostline import methods
from frostline.methods import base
from frostline.methods.lora import Lora


@methods.register
class Ia3(Lora):
    """One vector a target, and the head; a second FFN layer is scaled at its input, any other at its output."""

    name = "ia3"
    summary = "vectors that scale the `targets` of every block, and the head"
    source = "IA3, arXiv 2205.05638, through PEFT"
    marker = ".ia3_l."

    class Settings(base.Settings):
        """`targets` are kinds of unit, found by structure."""

        targets: tuple[str, ...] = Field(("key", "value", "ffn_out"), min_length=1, description="kinds of weight")

    def adapt(self, model: nn.Module, modules: Mapping[str, list[str]]) -> Any:
        """Put PEFT's IA3 layers into the model."""
        names = [name for found in modules.values() for name in found]
        config = IA3Config(target_modules=names, feedforward_modules=modules.get("ffn_out", []))
        return IA3Model(model, config, "frostline")


@methods.register
class Vera(Lora):
    """Two vectors a target around shared random matrices of `rank`, and the head."""

    name = "vera"
    summary = "vectors around random matrices that all `targets` share, and the head"
    source = "VeRA, arXiv 2310.11454, through PEFT"
    marker = ".vera_lambda_"

    class Settings(base.Settings):
        """`rank` of the random matrices, much above LoRA's; `initial` is the paper's d_init."""

        rank: int = Field(256, ge=1, description="rank of the shared random matrices")
        initial: float = Field(0.1, gt=0, description="first value of the vector between the matrices")
        dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the adapters")
        targets: tuple[str, ...] = Field(("query", "value"), min_length=1, description="kinds of weight")

    def adapt(self, model: nn.Module, modules: Mapping[str, list[str]]) -> Any:
        """Put PEFT's VeRA layers into the model."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the matrices are not saved: the seed gives them again
            config = VeraConfig(
                r=self.settings.rank,
                d_initial=self.settings.initial,
                vera_dropout=self.settings.dropout,
                target_modules=[name for found in modules.values() for name in found],
                projection_prng_key=self.seed,
                save_projection=False,
            )
        return VeraModel(model, config, "frostline")
