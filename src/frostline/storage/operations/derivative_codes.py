"""Codes of an activation's derivative: 1 to 5 bits a value in place of the activation's input.

The backward pass of an elementwise f needs f'(x) and nothing else. Each input falls into one of 2^b cells, and each
cell has one level, E[f'(x) | cell] for x ~ N(-0.75, 1.25^2); the cells minimise the squared error (derivation, fit
and the reason for that density: derivative_fit.py).

Cells are described by ramps, so that a code is arithmetic and no search:

    code(x) = floor(sum over ramps (start, end, rise) of rise (clamp(x, start, end) - start) / (end - start))

One ramp makes cells of equal width between two open ones. A second one, from right to left, brings the inputs far to
the left, where GELU's derivative is near 0 again, back up to the cell of that level. Backward looks the levels of four
values up at once (lookup.py). Both go through the tensor in pieces that stay in cache, so that nothing but the code
and the gradient is as large as the input.

ReLU's derivative is one bit, and exact. Relative L2 error of the gradient (`python benchmarks/storage/activation.py`;
the blocks: `--inputs minilm --text` TREC's lines), beside the input kept in 4 bits:

    bits                        1          2          3          4          5          input as int4   as fixed2.1
    GELU, N(0, 1)               .30        .13        .068       .036       .023       .078            .112
    GELU, MiniLM's six blocks   .48-.68    .23-.30    .11-.15    .06-.08    .03-.04    .11-.20         .19-.28
    SiLU, N(0, 1)               .32        .15        .077       .040       .021       .062            .089
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from frostline.storage.codecs.memory_order import require_floats
from frostline.storage.finite import note_finite
from frostline.storage.operations.lookup import pack, piece_length, table, unpack

Ramp = tuple[float, float, float]  # start, end, rise
Array = NDArray[np.float64]

GRID: Array = np.arange(-8, 8, 0.01) + 0.005

# python -m frostline.storage.operations.derivative_fit
CELLS: dict[tuple[str, int], tuple[Ramp, ...]] = {
    ("gelu", 1): ((-0.587, 0.413, 2.0),),
    ("gelu", 2): ((-1.068, 0.951, 4.0),),
    ("gelu", 3): ((-1.17, 0.979, 8.0), (-0.958, -2.772, 1.413)),
    ("gelu", 4): ((-1.14, 1.021, 16.0), (-1.448, -2.448, 2.043)),
    ("gelu", 5): ((-1.115, 1.065, 32.0), (-1.564, -2.71, 4.487)),
    ("silu", 1): ((-0.725, 0.275, 2.0),),
    ("silu", 2): ((-1.632, 1.258, 4.0),),
    ("silu", 3): ((-1.701, 1.383, 8.0),),
    ("silu", 4): ((-1.76, 1.502, 16.0),),
    ("silu", 5): ((-1.896, 1.636, 32.0), (-2.402, -4.499, 3.47)),
    ("quick_gelu", 1): ((-0.581, 0.419, 2.0),),
    ("quick_gelu", 2): ((-1.011, 0.894, 4.0),),
    ("quick_gelu", 3): ((-0.983, 0.916, 8.0),),
    ("quick_gelu", 4): ((-1.137, 0.957, 16.0), (-1.504, -2.56, 2.026)),
    ("quick_gelu", 5): ((-1.112, 1.001, 32.0), (-1.509, -2.956, 4.182)),
}


@dataclass(frozen=True, slots=True)
class DerivativeCode:
    """How the derivative of one activation is kept.

    Attributes:
        bits: for each value.
        ramps: of the cells; none for ReLU, whose one threshold is 0.
        levels: the derivative in each cell.
    """

    bits: int
    ramps: tuple[Ramp, ...]
    levels: tuple[float, ...]

    def size(self, count: int) -> int:
        """Return the bytes of the code of `count` values."""
        return self.bits * -(-count // 8)

    def encode(self, input: Tensor, site: str) -> Tensor:
        """Return the code of `input` (any shape, floating point), uint8.

        Raises:
            StorageError: the input holds an infinite value or NaN, or is not dense floating point; names the site.
        """
        require_floats(input, f"derivative{self.bits}")
        values = input.detach().reshape(-1)
        code = values.new_empty(self.size(values.numel()), dtype=torch.uint8)
        length = piece_length(values)
        positions, spare = (values.new_empty(length, dtype=torch.float32) for _ in range(2))
        codes, scratch = (values.new_empty(length, dtype=torch.int8) for _ in range(2))
        if isinstance(code, FakeTensor):
            return code
        sums = []
        for piece, packed in zip(values.split(length), code.split(length // 8 * self.bits), strict=True):
            count, padded = piece.numel(), packed.numel() // self.bits * 8
            if self.ramps:
                piece = piece.float()  # bfloat16 would round the positions
                sums.append(piece.sum())  # not finite if any value is not
                codes[:count].copy_(self._positions(piece, positions[:count], spare[:count]))
            else:
                codes[:count].copy_(piece > 0)
            codes[count:padded].zero_()
            pack(codes[:padded], self.bits, packed, scratch[:padded])
        if sums:
            note_finite(torch.stack(sums).isfinite().all(), f"derivative{self.bits}", site)
        return code

    def multiply(self, grad: Tensor, code: Tensor) -> Tensor:
        """Return `grad` times the derivative, in `grad`'s shape and dtype, contiguous."""
        flat = grad.reshape(-1)
        product = torch.empty_like(flat)
        entries, length = table(self.levels, self.bits, code.device), piece_length(flat)
        indices = code.new_empty(length // 2, dtype=torch.int32)
        found = entries.new_empty(length // 2)
        if isinstance(product, FakeTensor):
            return product.view(grad.shape)
        pieces = (flat.split(length), product.split(length), code.split(length // 8 * self.bits))
        for piece, out, packed in zip(*pieces, strict=True):
            at = unpack(packed, self.bits, indices)
            levels = torch.index_select(entries, 0, at, out=found[: at.numel()]).view(torch.float32)
            torch.mul(piece, levels[: piece.numel()], out=out)
        return product.view(grad.shape)

    def _positions(self, piece: Tensor, out: Tensor, spare: Tensor) -> Tensor:
        """Write the codes before they are rounded down, which a copy to integers does, into `out`."""
        (start, end, rise), *others = self.ramps
        slope = rise / (end - start)
        if not others:
            return torch.mul(piece, slope, out=out).sub_(slope * start).clamp_(0, 2**self.bits - 0.5)
        zero = slope * start
        torch.clamp(piece, start, end, out=out).mul_(slope)
        for start, end, rise in others:
            slope = rise / (end - start)
            zero += slope * start
            out.add_(torch.clamp(piece, min(start, end), max(start, end), out=spare), alpha=slope)
        return out.sub_(zero).clamp_(0, 2**self.bits - 0.5)


def code_of(kind: str, bits: int) -> DerivativeCode:
    """Return the code of an activation (`gelu`, `gelu_tanh`, `silu`, `quick_gelu`, `relu`) in 1 to 5 bits."""
    if kind == "relu":
        return DerivativeCode(1, (), (0.0, 1.0))
    ramps = CELLS["gelu" if kind == "gelu_tanh" else kind, bits]
    return DerivativeCode(bits, ramps, levels_of(kind, ramps, bits))


@lru_cache
def levels_of(kind: str, ramps: tuple[Ramp, ...], bits: int) -> tuple[float, ...]:
    """Return E[f'(x) | cell] of each cell."""
    cells, weights = cells_of(ramps, bits), density()
    mass = np.bincount(cells, weights, 2**bits)
    total = np.bincount(cells, weights * derivative(kind), 2**bits)
    return tuple((total / np.maximum(mass, 1e-300)).tolist())


def cells_of(ramps: Sequence[Ramp], bits: int) -> NDArray[np.int64]:
    """Return the cell of each point of `GRID`."""
    position = np.zeros_like(GRID)
    for start, end, rise in ramps:
        position += rise * (np.clip(GRID, min(start, end), max(start, end)) - start) / (end - start)
    return np.clip(position, 0, 2**bits - 0.5).astype(np.int64)


def density() -> Array:
    """Return the weights of `GRID` for inputs of N(-0.75, 1.25^2), of sum 1."""
    weights: Array = np.exp(-(((GRID + 0.75) / 1.25) ** 2) / 2)
    return np.asarray(weights / weights.sum())


def derivative(kind: str) -> Array:
    """Return f' on `GRID`."""
    x = GRID
    if kind == "gelu":
        cumulative = np.array([(1 + math.erf(value / math.sqrt(2))) / 2 for value in x])
        return np.asarray(cumulative + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi))
    if kind == "gelu_tanh":
        scale, cubic = math.sqrt(2 / math.pi), 0.044715
        tanh = np.tanh(scale * (x + cubic * x**3))
        return np.asarray((1 + tanh) / 2 + x / 2 * (1 - tanh**2) * scale * (1 + 3 * cubic * x * x))
    steep = 1.702 if kind == "quick_gelu" else 1.0
    sigmoid = 1 / (1 + np.exp(-steep * x))
    return np.asarray(sigmoid * (1 + steep * x * (1 - sigmoid)))
