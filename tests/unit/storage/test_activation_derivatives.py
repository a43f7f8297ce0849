"""Codes of derivatives: cells and levels are the best ones, and what is packed comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from frostline.storage.operations import derivative_fit
from frostline.storage.operations.activation_kinds import multiply_by_derivative
from frostline.storage.operations.derivative_codes import CELLS, GRID, cells_of, code_of, density, derivative
from frostline.storage.operations.lookup import pack, piece_length, table, unpack

KINDS = ("gelu", "gelu_tanh", "silu", "quick_gelu")
BITS = (1, 2, 3, 4, 5)

# Relative L2 error of the gradient, inputs of N(0, 1): what derivative_codes.py states, rounded up.
ERRORS = {
    "gelu": (0.306, 0.136, 0.069, 0.037, 0.024),
    "gelu_tanh": (0.306, 0.136, 0.069, 0.037, 0.024),
    "silu": (0.321, 0.155, 0.078, 0.041, 0.022),
    "quick_gelu": (0.292, 0.129, 0.064, 0.035, 0.021),
}


def _gradient(kind: str, bits: int, input: Tensor, grad: Tensor) -> Tensor:
    code = code_of(kind, bits)
    return code.multiply(grad, code.encode(input, "here"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", BITS)
def test_error_of_the_gradient(kind: str, bits: int) -> None:
    generator = torch.Generator().manual_seed(0)
    input, grad = (torch.randn(300_000, generator=generator) for _ in range(2))
    exact = multiply_by_derivative(kind, grad, input)
    kept = _gradient(kind, bits, input, grad)
    assert (kept - exact).norm() / exact.norm() < ERRORS[kind][bits - 1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_derivative_is_the_kernel_s(kind: str) -> None:
    points = torch.from_numpy(GRID)
    torch.testing.assert_close(
        torch.from_numpy(derivative(kind)), multiply_by_derivative(kind, torch.ones_like(points), points)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", BITS)
def test_the_code_is_unbiased_where_it_was_fitted(kind: str, bits: int) -> None:
    kept = _gradient(kind, bits, torch.from_numpy(GRID), torch.ones(len(GRID), dtype=torch.float64)).numpy()
    assert abs((density() * (kept - derivative(kind))).sum()) < 3e-3  # points on an edge


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", BITS)
def test_each_value_gets_its_cell_s_level(kind: str, bits: int) -> None:
    code = code_of(kind, bits)
    expected = np.asarray(code.levels)[cells_of(code.ramps, bits)]
    kept = code.multiply(torch.ones(len(GRID)), code.encode(torch.from_numpy(GRID).float(), "here")).numpy()
    assert np.mean(~np.isclose(kept, expected, atol=1e-6)) < 0.01  # but for points on an edge


@pytest.mark.parametrize(("kind", "bits"), [("gelu", 1), ("gelu", 2), ("gelu", 3), ("silu", 3)])
def test_a_new_fit_agrees(kind: str, bits: int) -> None:
    own, new = (
        derivative_fit.error(kind, ramps, bits) for ramps in (CELLS[kind, bits], derivative_fit.fit(kind, bits))
    )
    assert own <= 1.005 * new


@pytest.mark.parametrize("kind", derivative_fit.KINDS)
@pytest.mark.parametrize("bits", BITS)
def test_the_cells_are_close_to_the_best_of_all(kind: str, bits: int) -> None:
    close = 1.11 if bits < 5 else 1.4  # cells of equal width cost more, the more cells there are
    assert derivative_fit.error(kind, CELLS[kind, bits], bits) < close * derivative_fit.optimum(kind, bits)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_packing_comes_back(bits: int, eights: int, seed: int) -> None:
    codes = torch.from_numpy(np.random.default_rng(seed).integers(0, 2**bits, 8 * eights).astype(np.int8))
    packed = torch.empty(eights * bits, dtype=torch.uint8)
    pack(codes.clone(), bits, packed, torch.empty_like(codes))
    at = unpack(packed, bits, torch.empty(4 * eights, dtype=torch.int32))
    values = table([float(v) for v in range(2**bits)], bits, codes.device).index_select(0, at).view(torch.float32)
    assert torch.equal(values, codes.float())


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(KINDS),
    st.integers(1, 5),
    st.integers(0, 50),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]),
)
def test_any_size_and_dtype(kind: str, bits: int, count: int, dtype: torch.dtype) -> None:
    input = torch.linspace(-60000, 60000, count).to(dtype)
    code = code_of(kind, bits)
    packed = code.encode(input, "here")
    assert packed.numel() == code.size(count) == bits * -(-count // 8)
    kept = code.multiply(torch.ones_like(input), packed)
    assert kept.dtype == dtype
    assert kept.shape == input.shape
    levels = torch.tensor(code.levels).to(dtype)
    assert torch.isin(kept, levels).all()


def test_more_than_one_piece() -> None:
    count = 2 * piece_length(torch.empty(2**20)) + 5
    input, grad = torch.randn(count), torch.randn(count)
    whole = _gradient("gelu", 3, input, grad)
    parts = [_gradient("gelu", 3, i, g) for i, g in zip(input.split(1000), grad.split(1000), strict=True)]
    assert torch.equal(whole, torch.cat(parts))


def test_a_grad_of_other_strides() -> None:
    input, grad = torch.randn(6, 8), torch.randn(8, 6).t()
    assert torch.equal(_gradient("silu", 4, input, grad), _gradient("silu", 4, input, grad.contiguous()))
    spread = torch.ones(()).expand(6, 8)
    assert torch.equal(_gradient("silu", 4, input, spread), _gradient("silu", 4, input, spread.contiguous()))
