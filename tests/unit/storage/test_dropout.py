"""Dropout with stock's very mask, kept as the generator's state or in bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frostline.storage.operations.dropout import StoredDropout
from storage_checks import gradients, saved_bytes

WAYS = ["replay", "mask"]


def _stored(way: str, p: float = 0.3, **options: Any) -> StoredDropout:
    module = nn.Dropout(p, **options)
    module.__class__ = StoredDropout
    vars(module).update(_storage=way)
    assert isinstance(module, StoredDropout)
    return module


def _run(module: nn.Module, input: Tensor) -> Tensor:
    torch.manual_seed(5)
    output: Tensor = module(input)
    return output


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(7,), (33, 9), (2, 3, 40), (0, 4)])
def test_forward_and_gradient_are_stocks_to_the_bit(way: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    input = torch.randn(shape, dtype=dtype, requires_grad=True)
    stock, ours = _run(nn.Dropout(0.3), input), _run(_stored(way), input)
    assert torch.equal(ours, stock)
    torch.rand(2)
    (mine,), (theirs,) = gradients(ours, [input]), gradients(stock, [input])
    if way == "replay":
        assert torch.equal(mine, theirs)
    else:
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("way", WAYS)
def test_the_random_stream_goes_on_as_stocks(way: str) -> None:
    input = torch.randn(33, 9, requires_grad=True)
    _run(nn.Dropout(0.3), input)
    expected = torch.rand(1)
    output = _run(_stored(way), input)
    assert torch.equal(torch.rand(1), expected)
    state = torch.get_rng_state()
    output.sum().backward()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("way", WAYS)
def test_transposed_inputs_and_gradients(way: str) -> None:
    leaf = torch.randn(9, 33, dtype=torch.float64, requires_grad=True)
    stock, ours = _run(nn.Dropout(0.3), leaf.t()), _run(_stored(way), leaf.t())
    assert torch.equal(ours, stock)
    torch.testing.assert_close(gradients(ours, [leaf]), gradients(stock, [leaf]))


def test_what_is_kept() -> None:
    input = torch.randn(64, 64, requires_grad=True)
    module = nn.Module()
    assert saved_bytes(lambda: _run(_stored("replay"), input), module) == torch.get_rng_state().nbytes
    assert saved_bytes(lambda: _run(_stored("mask"), input), module) == 64 * 64 // 8


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_the_ends_of_the_range(way: str, p: float) -> None:
    input = torch.randn(5, 6, requires_grad=True)
    stock, ours = _run(nn.Dropout(p), input), _run(_stored(way, p), input)
    assert torch.equal(ours, stock)
    assert torch.equal(*(gradients(output, [input])[0] for output in (ours, stock)))


@pytest.mark.parametrize("way", WAYS)
def test_in_evaluation_and_in_place_it_is_stock(way: str) -> None:
    input = torch.randn(5, 6, requires_grad=True)
    assert torch.equal(_stored(way).eval()(input), input)
    changed = input * 1
    assert _run(_stored(way, inplace=True), changed) is changed
    torch.testing.assert_close(changed, F.dropout(_seeded(input), 0.3))


def _seeded(input: Tensor) -> Tensor:
    torch.manual_seed(5)
    return input
