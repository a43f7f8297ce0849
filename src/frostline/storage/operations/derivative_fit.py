"""Where the cells of the derivative codes come from.

    python -m frostline.storage.operations.derivative_fit

prints the table `CELLS` of derivative_codes.py. A code of b bits puts each input x into one of 2^b cells, and the
backward pass multiplies by the cell's level in place of f'(x). For inputs of density p the best levels are the
conditional means E[f'(x) | cell], which make the code unbiased under p, and the best cells minimise

    E[(f'(x) - level(x))^2] = E[f'^2] - sum over cells of P(cell) level^2      (Lloyd 1982, Max 1960)

Each cell of the optimum is an interval of f'(x). As f' is not monotone (GELU' falls to -0.13 at x = -1.4 and returns
to 0), a cell may be two intervals of x: far to the left, where f' is about 0, lies the cell of x = -0.7 as well. The
ramps (see derivative_codes.py) can say this: one rises to the right over the middle, and where that gains more than
3 % a second one rises again to the left. `optimum` is the least error of any cells, by dynamic programming, to see
what the ramps cost.

p is the normal density of mean -0.75 and deviation 1.25. What an FFN hands its activation lies left of zero: in
MiniLM on TREC, means of -0.5 to -1.1 and deviations of 0.7 to 1.2 by block, with a long left tail that carries much
of the gradient (`python benchmarks/storage/activation.py --inputs minilm --text` TREC's lines).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from frostline.storage.operations.derivative_codes import Array, Ramp, cells_of, density, derivative, levels_of

KINDS = ("gelu", "silu", "quick_gelu")


def error(kind: str, ramps: Sequence[Ramp], bits: int) -> float:
    """Return the relative L2 error of the derivative."""
    values, weights = derivative(kind), density()
    kept = np.asarray(levels_of(kind, tuple(ramps), bits))[cells_of(ramps, bits)]
    return float(np.sqrt((weights * (values - kept) ** 2).sum() / (weights * values**2).sum()))


def optimum(kind: str, bits: int) -> float:
    """Return the relative L2 error of the best cells of all."""
    order = np.argsort(derivative(kind))
    values, weights = derivative(kind)[order], density()[order]
    mass, first, second = (_sums(weights * power) for power in (np.ones_like(values), values, values**2))
    between = mass[None] - mass[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = second[None] - second[:, None] - (first[None] - first[:, None]) ** 2 / between
    cost = np.where(between > 0, cost, np.where(between < 0, np.inf, 0.0))
    best = cost[0]
    for _ in range(2**bits - 1):
        best = (best[:, None] + cost).min(0)
    return float(np.sqrt(best[-1] / second[-1]))


def fit(kind: str, bits: int) -> tuple[Ramp, ...]:
    """Return the ramps of least error: a second one only where it gains more than 3 %."""
    cells = 2.0**bits
    if bits == 1:  # one threshold, in the middle of the ramp
        return _least(kind, 1, lambda p: [(p[0] - 0.5, p[0] + 0.5, cells)], [[-0.5], [0.0]])
    one = _least(kind, bits, lambda p: [(p[0], p[1], cells)], [[-1.0, 1.0], [-1.5, 1.5]])
    if bits == 2:
        return one
    starts = [[-m, 0.85 * m, -1.3 * m, width, cells / 8] for m, width in product((1.0, 1.15, 1.7), (1.0, 2.0))]
    two = _least(kind, bits, lambda p: [(p[0], p[1], cells), (p[2], p[2] - p[3], p[4])], starts)
    return two if error(kind, two, bits) < 0.97 * error(kind, one, bits) else one


def _least(
    kind: str, bits: int, ramps: Callable[[Any], Sequence[Ramp]], starts: Sequence[Sequence[float]]
) -> tuple[Ramp, ...]:
    from scipy.optimize import minimize

    def loss(p: Any) -> float:
        main, *second = ramps(p)
        if main[1] - main[0] < 0.1 or any(r[0] - r[1] < 0.1 or r[2] < 0 for r in second):
            return 9.0
        return error(kind, (main, *second), bits)

    options = {"xatol": 1e-4, "fatol": 1e-7, "maxiter": 2000}
    found = [minimize(loss, start, method="Nelder-Mead", options=options) for start in starts]
    best = min(found, key=lambda result: float(result.fun)).x.tolist()
    return tuple((round(start, 3), round(end, 3), round(rise, 3)) for start, end, rise in ramps(best))


def _sums(terms: Array) -> Array:
    return np.concatenate([[0.0], np.cumsum(terms)])


if __name__ == "__main__":
    for kind in KINDS:
        for bits in (1, 2, 3, 4, 5):
            found = fit(kind, bits)
            print(f'    ("{kind}", {bits}): {found},  # {error(kind, found, bits):.4f}, best {optimum(kind, bits):.4f}')
