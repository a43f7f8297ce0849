"""WTA-CRS: a Linear layer keeps a sample of its input's rows for its weight gradient (Liu et al., arXiv 2305.15265).

Published: dW = sum_i dY_i^T X_i over the n tokens i of the batch is estimated from k = `share` * n of them, without
bias. With p_i in proportion to ||X_i|| ||dY_i||, the tokens of greatest p, the winners, are kept as they are, and the
other places go to draws from the rest, each weighted by (mass of the rest) / (draws * p_i); the number of winners c is
the one that makes (1 - their mass) / (k - c) least. Forward, dX and the bias's gradient are exact. Applied to query,
key, value and both FFN layers. ||dY_i|| is unknown before backward: the paper keeps the one that each training sample
had in the epoch before.

Written from the paper. Ours:
    - ||dY_i|| is a running mean by the token's position in its text, learnt in backward: no sample has a name here,
      and fine-tuning is short. A tenth of the probability goes by ||X_i|| alone, so that every token that counts can
      be drawn. Before the first backward pass it all goes by ||X_i||; inputs that are not (batch, position, width)
      stay with that.
    - layers that read one and the same tensor (query, key, value) share one draw, so its rows are kept once. Each
      gradient is still without bias.
    - kept in 32 bits or whatever the input has; the attention's output layer is left out, its input being kept by
      the attention itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from frostline import methods
from frostline.anatomy import Anatomy
from frostline.errors import UnsupportedModel
from frostline.methods import base
from frostline.methods.base import Parameters, Replacement
from frostline.methods.full import Full

TARGETS = ("query", "key", "value", "query_key_value", "ffn_in", "ffn_out")
_BY_SIZE_ALONE, _NEW = 0.1, 0.1  # share of the probability; weight of the newest gradient in the running mean


def choose(importance: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return which rows stand for all, and their weights.

    Args:
        importance: of each row, (n,), not negative; p is in proportion to it.
        count: rows to return, 1 <= count < n; fewer come back if all the others have no importance.
        generator: of the draws.

    Returns:
        index (count,) with the winners first, and weight (count,), 1 for a winner.
    """
    total = importance.sum()
    p = importance / total if total > 0 else torch.full_like(importance, 1 / importance.numel())
    order = p.argsort(descending=True, stable=True)
    before = F.pad(p[order[: count - 1]].cumsum(0), (1, 0))  # mass of the first c, c = 0 .. count - 1
    places = torch.arange(count, 0, -1, device=p.device)
    winners = int(((1 - before) / places).argmin())
    rest = order[winners:]
    mass = p[rest].sum()
    if mass <= 0:
        return order[:winners], torch.ones_like(p[:winners])
    drawn = rest[torch.multinomial(p[rest], count - winners, replacement=True, generator=generator)]
    weights = torch.cat([torch.ones_like(p[:winners]), mass / ((count - winners) * p[drawn])])
    return torch.cat([order[:winners], drawn]), weights


class SampledLinear(torch.autograd.Function):
    """y = x W^T + b; saves `rows` of x (k, in), their `index` (k,) among all rows and their `scale` (k,)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rows: Tensor, index: Tensor, scale: Tensor, tell: Any
    ) -> Tensor:
        """Return the exact output (..., out); `tell(dy)` sees the error signal in backward."""
        ctx.save_for_backward(weight, rows, index, scale)
        ctx.tell = tell
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Return the exact gradients of x and b, and the estimate of W's."""
        weight, rows, index, scale = ctx.saved_tensors
        ctx.tell(dy)
        dy = dy.to(weight.dtype)  # autocast
        flat = dy.reshape(-1, dy.shape[-1])
        dx = dy @ weight if ctx.needs_input_grad[0] else None
        dw = (flat[index] * scale.unsqueeze(1)).T @ rows.to(weight.dtype) if ctx.needs_input_grad[1] else None
        db = flat.sum(0) if ctx.needs_input_grad[2] else None
        return dx, dw, db, None, None, None, None


class Draw(NamedTuple):
    """What one tensor's readers share: whose running mean chose, and the rows."""

    owner: str
    rows: Tensor
    places: Tensor
    scale: Tensor


@methods.register
class WtaCrs(Full):
    """Everything trains; the `targets` keep a `share` of their input's rows and estimate their weight gradients."""

    name = "wtacrs"
    summary = "every parameter; layers keep a `share` of their inputs' rows"
    source = "WTA-CRS, arXiv 2305.15265"

    class Settings(base.Settings):
        """`share` is the paper's k / |D|."""

        share: float = Field(0.3, gt=0, le=1, description="of the input's rows that are kept; 1 is exact")
        targets: tuple[str, ...] = Field(TARGETS, min_length=1, description=f"among {', '.join(TARGETS)}")

    def prepare(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Give the target layers their forward pass; UnsupportedModel if one is no Linear, or there is none."""
        super().prepare(model, anatomy)
        self._layers: dict[str, nn.Linear] = {}
        for unit in anatomy.in_region("blocks"):
            name = unit.name.removesuffix(".weight")
            if unit.kind in self.settings.targets:
                layer = model.get_submodule(name)
                if not isinstance(layer, nn.Linear):
                    raise UnsupportedModel(f"method 'wtacrs': {name!r} is a {type(layer).__name__}, not a Linear.")
                self._layers[name] = layer
        if not self._layers:
            raise UnsupportedModel(
                f"method 'wtacrs': no weight among targets={list(self.settings.targets)} was found in "
                f"{type(model).__name__}."
            )
        self._seen: dict[str, Tensor] = {}  # layer -> mean ||dY|| by position, negative where none was seen yet
        self._generators: dict[torch.device, torch.Generator] = {}
        self._step = 0
        self._last: tuple[weakref.ref[Tensor], int, Draw] | None = None
        for name, layer in self._layers.items():
            layer.forward = partial(self._forward, name, layer)  # taken back in restore

    def restore(self, model: nn.Module) -> None:
        """Give the layers their own forward pass back."""
        for layer in self._layers.values():
            del layer.forward

    def before(self, step: int, parameters: Parameters) -> None:
        """Start the step's draws from its own seed, so that a resumed run draws the same."""
        self._step, self._last = step, None
        self._generators.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the running means."""
        return {"seen": {name: mean.tolist() for name, mean in self._seen.items()}}

    def load_state_dict(self, state: Mapping[str, Any], model: nn.Module) -> tuple[Replacement, ...]:
        """Take up the running means."""
        self._seen = {
            name: torch.tensor(mean, dtype=torch.float32, device=self._layers[name].weight.device)
            for name, mean in state["seen"].items()
        }
        return ()

    def _forward(self, name: str, layer: nn.Linear, x: Tensor) -> Tensor:
        total = x.numel() // x.shape[-1]
        count = max(1, round(self.settings.share * total))
        if count >= total or not (torch.is_grad_enabled() and layer.weight.requires_grad):
            return F.linear(x, layer.weight, layer.bias)
        last = self._last
        if last is None or last[0]() is not x or last[1] != x._version:
            with torch.no_grad():
                index, scale = choose(self._importance(name, x), count, self._generator(x.device))
                draw = Draw(name, x.detach().reshape(-1, x.shape[-1])[index], index, scale.to(x.dtype))
            self._last = last = (weakref.ref(x), x._version, draw)
        draw = last[2]
        tell = partial(self._observe, draw.owner)
        function: Any = SampledLinear  # its `apply` has no types
        y: Tensor = function.apply(x, layer.weight, layer.bias, draw.rows, draw.places, draw.scale, tell)
        return y

    def _importance(self, name: str, x: Tensor) -> Tensor:
        size: Tensor = torch.linalg.vector_norm(x, dim=-1).float()
        seen = self._seen.get(name)
        if seen is None or x.dim() != 3:
            return size.reshape(-1)
        known = seen[seen >= 0]
        signal = known.mean().repeat(x.shape[1])
        length = min(len(seen), len(signal))
        signal[:length] = torch.where(seen[:length] >= 0, seen[:length], signal[:length])
        product = size * signal
        by_both = product / product.sum().clamp_min(1e-30)
        by_size = size / size.sum().clamp_min(1e-30)
        return torch.lerp(by_both, by_size, _BY_SIZE_ALONE).reshape(-1)

    def _observe(self, name: str, dy: Tensor) -> None:
        self._last = None  # backward has begun: what was drawn for the last layer is no longer held here
        if dy.dim() != 3:
            return
        new = torch.linalg.vector_norm(dy, dim=-1).float().mean(0)
        seen = self._seen.get(name, new.new_empty(0))
        if len(seen) < len(new):
            seen = F.pad(seen, (0, len(new) - len(seen)), value=-1.0)
        known = seen[: len(new)]
        seen[: len(new)] = torch.where(known >= 0, known.lerp(new, _NEW), new)
        self._seen[name] = seen

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self.seed * 1_000_003 + self._step)
        return self._generators[device]
