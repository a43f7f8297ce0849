"""AdamW whose moments are kept in 8 bits a value (Dettmers et al., arXiv 2110.02861), through bitsandbytes.

Published: both moments as 8-bit codes of a dynamic, non-linear scale with one 32-bit maximum for every block of values
(2048 in the paper, 256 in the package), computed in 32 bits; tensors below 4096 values and the embeddings ("stable
embedding") stay in 32 bits.

Here: the package's defaults, so embeddings are in 8 bits too. On a CPU the package has no fused kernel: a step takes a
whole tensor's moments to 32 bits and back, so its temporary memory is a few times the model's largest tensor. The
package hides its codes from FSDP in a nested dictionary; `state_dict` lays them flat, so that checkpoints are files of
tensors.
"""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import nn
from torch.optim import Optimizer

from frostline import methods
from frostline.anatomy import Anatomy
from frostline.errors import ConfigError
from frostline.methods import base
from frostline.methods.full import Full

# Where `make test-peers` puts the package: out of .venv, in which PEFT would import it for every LoRA run.
BESIDE = Path(__file__).resolve().parents[2] / "build" / "peers"


def storable(adamw: type[Any]) -> type[Any]:
    """Return bitsandbytes' class with a flat `state_dict`: tensors and numbers by parameter."""

    class Storable(adamw):
        """The same optimizer; `load_state_dict` takes the flat form as it is."""

        def state_dict(self) -> dict[str, Any]:
            """Return the state without the package's inner dictionary."""
            state = super().state_dict()
            for entries in state["state"].values():
                entries.update(entries.pop(self._FSDP_WRAPPED_QUANT_STATE_KEY, {}))
            return dict(state)

    return Storable


@methods.register
class AdamW8bit(Full):
    """Everything trains, by AdamW with 8-bit moments."""

    name = "adamw8bit"
    summary = "every parameter, the moments in 8 bits"
    source = "8-bit optimizers, arXiv 2110.02861, through bitsandbytes"

    class Settings(base.Settings):
        """`smallest`: tensors with fewer values keep 32-bit moments."""

        smallest: int = Field(4096, ge=0, description="values below which a tensor keeps 32-bit moments")

    def prepare(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Find the package; ConfigError where it is not installed."""
        if BESIDE.is_dir() and str(BESIDE) not in sys.path:
            sys.path.append(str(BESIDE))
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of kernels that only inference has
        try:
            self._package = importlib.import_module("bitsandbytes.optim")
        except ImportError as error:
            raise ConfigError(
                f"method 'adamw8bit' needs bitsandbytes ({error}): pip install 'frostline[peers]'"
            ) from error
        super().prepare(model, anatomy)

    def optimizer(self, groups: list[dict[str, Any]], learning_rate: float) -> Optimizer:
        """Return bitsandbytes' AdamW8bit."""
        made: Optimizer = storable(self._package.AdamW8bit)(
            groups, lr=learning_rate, min_8bit_size=self.settings.smallest
        )
        return made
