"""GaLore: Adam in a low-rank subspace of each weight's gradient (Zhao et al., arXiv 2403.03507).

Published: the gradient G (m x n) of an attention or FFN weight is projected onto its `rank` first singular vectors, on
the shorter side; Adam's moments live there; the step is projected back and scaled. The singular vectors are taken anew
`every` steps from the gradient of that step, the moments stay. Biases, norms, embeddings and head: plain AdamW. Its
GLUE runs have rank 4, scale 4 and every 500; its pre-training scale 0.25 and every 200.

Written from the paper, in the form that the authors' package has (galore-torch 1.0, GaLoreAdamW: no bias correction of
eps = 1e-6, weight decay after the step); a test compares the two where the package is installed. Not through the
package: it cannot be imported without bitsandbytes, whose import alone would add to this method's memory, and it keeps
its projection in an object that no checkpoint without pickles can hold. Gradients of full size exist until the step,
as in the package without its per-layer hooks; `scale` is 1 unless given, so that one learning rate means the same for
all weights.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from frostline import methods
from frostline.anatomy import Anatomy
from frostline.methods import base
from frostline.methods.full import Full

PROJECTED = frozenset({"query", "key", "value", "query_key_value", "attention_output", "ffn_in", "ffn_out"})


def basis_of(gradient: Tensor, rank: int) -> Tensor:
    """Return the first singular vectors on the shorter side: (rank, n) for m >= n, else (m, rank)."""
    exact = gradient if gradient.dtype in (torch.float32, torch.float64) else gradient.float()
    left, _, right = torch.linalg.svd(exact, full_matrices=False)
    basis: Tensor = right[:rank] if gradient.shape[0] >= gradient.shape[1] else left[:, :rank]
    # A copy, so that the rest of the decomposition goes; in one layout, so that a resumed run rounds as this one does.
    return basis.to(gradient.dtype).clone(memory_format=torch.contiguous_format)


def project(full: Tensor, basis: Tensor) -> Tensor:
    """Return `full` (m, n) in the subspace: (m, rank) for m >= n, else (rank, n)."""
    return full @ basis.T if full.shape[0] >= full.shape[1] else basis.T @ full


def project_back(low: Tensor, basis: Tensor, shape: torch.Size) -> Tensor:
    """Return a matrix of the subspace in the weight's own `shape`."""
    return low @ basis if shape[0] >= shape[1] else basis @ low


class GaLoreAdamW(Optimizer):
    """AdamW; groups that have a `rank` keep their moments in the subspace.

    Args:
        groups: parameter groups with `weight_decay`, and for projected weights `rank`, `every` and `scale`.
        lr: learning rate.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Move every weight that has a gradient; closures are not taken."""
        for group in self.param_groups:
            (beta1, beta2), rate = group["betas"], group["lr"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                gradient, state = weight.grad, self.state[weight]
                done = state.get("step", 0)
                if "rank" in group:
                    if done % group["every"] == 0:
                        state["basis"] = basis_of(gradient, group["rank"])
                    gradient = project(gradient, state["basis"])
                if done == 0:
                    for key in ("exp_avg", "exp_avg_sq"):
                        state[key] = torch.zeros_like(gradient, memory_format=torch.contiguous_format)
                state["step"] = done = done + 1
                mean = state["exp_avg"].mul_(beta1).add_(gradient, alpha=1 - beta1)
                square = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
                update = mean / square.sqrt().add_(group["eps"])
                if "rank" in group:
                    update = project_back(update, state["basis"], weight.shape).mul_(group["scale"])
                weight.add_(update, alpha=-rate * math.sqrt(1 - beta2**done) / (1 - beta1**done))
                if group["weight_decay"] > 0:
                    weight.mul_(1 - rate * group["weight_decay"])


@methods.register
class GaLore(Full):
    """Everything trains; attention and FFN weights by Adam in a subspace of `rank` dimensions."""

    name = "galore"
    summary = "every parameter, Adam's moments of attention and FFN in a subspace of `rank`"
    source = "GaLore, arXiv 2403.03507"

    class Settings(base.Settings):
        """`rank`, and `every` (the paper's T) and `scale` (its alpha)."""

        rank: int = Field(64, ge=1, description="dimensions of the subspace")
        every: int = Field(200, ge=1, description="steps between two choices of the subspace")
        scale: float = Field(1.0, gt=0, description="of the projected weights' step")

    def prepare(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Bind to a model and find the weights to project."""
        super().prepare(model, anatomy)
        parameters = dict(model.named_parameters())
        units = [unit for unit in anatomy.in_region("blocks") if unit.kind in PROJECTED and len(unit.shape) == 2]
        self._projected = {id(parameters[name]) for unit in units for name in unit.parameters}

    def optimizer(self, groups: list[dict[str, Any]], learning_rate: float) -> Optimizer:
        """Return the AdamW above, every group split into projected and plain weights."""
        split: list[dict[str, Any]] = []
        for group in groups:
            chosen = [p for p in group["params"] if id(p) in self._projected]
            plain = [p for p in group["params"] if id(p) not in self._projected]
            if chosen:
                split.append({**group, "params": chosen, **self.settings.model_dump()})
            if plain:
                split.append({**group, "params": plain})
        return GaLoreAdamW(split, learning_rate)
