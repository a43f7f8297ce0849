"""Linear keeps its input once for all who read it, and nothing while its weight is frozen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from frostline.errors import StorageError
from frostline.storage.codecs import Exact
from frostline.storage.operations.linear import linear
from storage_checks import gradients, saved_bytes


def _layer(dtype: torch.dtype = torch.float64) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(6, 4, dtype=dtype)


def _turned() -> Conv1D:
    torch.manual_seed(0)
    return Conv1D(4, 6).double()


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 3, 6), (0, 6)])
@pytest.mark.parametrize("trains", [("weight", "bias"), ("weight",), ("bias",), ()])
@pytest.mark.parametrize("make", [_layer, _turned])
def test_gradients_equal_stock(make: Any, shape: tuple[int, ...], trains: tuple[str, ...]) -> None:
    layer, input = make(), torch.randn(shape, dtype=torch.float64, requires_grad=True)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(name in trains)
    tensors = [input, *(p for p in layer.parameters() if p.requires_grad)]
    stock = gradients(layer(input), tensors)
    ours = linear(input, layer.weight, layer.bias, Exact(), "here", turned=make is _turned)
    assert torch.equal(ours, layer(input))
    for mine, theirs in zip(gradients(ours, tensors), stock, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [_layer, _turned])
def test_its_output_may_be_changed_in_place_as_stocks(make: Any) -> None:
    """DeBERTa divides a view of it."""
    layer, input = make(), torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    tensors = [input, *layer.parameters()]

    def divided(output: Tensor) -> Tensor:
        heads = output.view(2, 3, 2, 2).permute(0, 2, 1, 3)
        heads /= 3
        return heads

    stock = gradients(divided(layer(input)), tensors)
    ours = gradients(divided(linear(input, layer.weight, layer.bias, Exact(), "here", turned=make is _turned)), tensors)
    for mine, theirs in zip(ours, stock, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_a_frozen_weight_keeps_nothing() -> None:
    layer, input = _layer(), torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    layer.weight.requires_grad_(False)
    hidden = input * 1
    assert saved_bytes(lambda: linear(hidden, layer.weight, layer.bias, Exact(), "here"), layer) == 0


def test_query_key_and_value_keep_their_input_once() -> None:
    layer, input = _layer(), torch.randn(5, 6, dtype=torch.float64)

    def three() -> list[Tensor]:
        return [linear(input, layer.weight, layer.bias, Exact(), name) for name in ("query", "key", "value")]

    assert saved_bytes(three, layer) == input.nbytes


@pytest.mark.parametrize("make", [_layer, _turned])
def test_under_autocast_as_stock(make: Any) -> None:
    layer, input = make().float(), torch.randn(5, 6, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        stock, ours = layer(input), linear(input, layer.weight, layer.bias, Exact(), "here", turned=make is _turned)
    assert ours.dtype is stock.dtype is torch.bfloat16
    assert torch.equal(ours, stock)
    tensors = [input, *layer.parameters()]
    for mine, theirs in zip(gradients(ours, tensors), gradients(stock, tensors), strict=True):
        assert mine.dtype is theirs.dtype
        torch.testing.assert_close(mine, theirs)


def test_an_input_changed_in_place_is_noticed() -> None:
    layer, input = _layer(), torch.randn(5, 6, dtype=torch.float64)
    output = linear(input, layer.weight, layer.bias, Exact(), "here")
    input.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_an_offer_is_void_after_a_change_in_place() -> None:
    layer, input = _layer(), torch.randn(5, 6, dtype=torch.float64)
    with torch.no_grad():
        linear(input, layer.weight, layer.bias, Exact(), "here")
    torch.autograd.graph.increment_version(input)
    output = linear(input, layer.weight, layer.bias, Exact(), "here")
    stock = gradients(layer(input), [layer.weight])
    torch.testing.assert_close(gradients(output, [layer.weight]), stock)


def test_a_second_derivative_is_refused() -> None:
    layer, input = _layer(), torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    output = linear(input, layer.weight, layer.bias, Exact(), "here")
    with pytest.raises(StorageError, match="second derivative"):
        torch.autograd.grad(output.square().sum(), input, create_graph=True)
