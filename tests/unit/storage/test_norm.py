"""LayerNorm and RMSNorm keep the normalised input, offer their output, and give stock's gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frostline.storage.codecs import Exact
from frostline.storage.operations.linear import linear
from frostline.storage.operations.norm import StoredLayerNorm, StoredRMSNorm
from storage_checks import gradients, saved_bytes

NORMS = [nn.LayerNorm, nn.RMSNorm]


def _pair(cls: type[nn.Module], dtype: torch.dtype = torch.float64, **options: Any) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    stock = cls(6, dtype=dtype, **options)
    for parameter in stock.parameters():
        nn.init.normal_(parameter)
    ours = cls(6, dtype=dtype, **options)
    ours.load_state_dict(stock.state_dict())
    ours.__class__ = StoredLayerNorm if cls is nn.LayerNorm else StoredRMSNorm
    vars(ours).update(_storage=Exact(), _storage_frozen=Exact(), _site="here")
    return stock, ours


@pytest.mark.parametrize("cls", NORMS)
@pytest.mark.parametrize("options", [{}, {"elementwise_affine": False}, {"eps": 1e-2}])
@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 6)])
def test_gradients_equal_stock(cls: type[nn.Module], options: dict[str, Any], shape: tuple[int, ...]) -> None:
    stock, ours = _pair(cls, **options)
    input = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.equal(ours(input), stock(input))
    mine = gradients(ours(input), [input, *ours.parameters()])
    theirs = gradients(stock(input), [input, *stock.parameters()])
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_a_bias_is_enough_of_options() -> None:
    stock, ours = _pair(nn.LayerNorm, bias=False)
    input = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.equal(ours(input), stock(input))
    torch.testing.assert_close(gradients(ours(input), [input]), gradients(stock(input), [input]))


@pytest.mark.parametrize("trains", ["weight", "bias"])
def test_each_weight_alone(trains: str) -> None:
    stock, ours = _pair(nn.LayerNorm)
    input = torch.randn(5, 6, dtype=torch.float64)
    for norm in (stock, ours):
        for name, parameter in norm.named_parameters():
            parameter.requires_grad_(name == trains)
    torch.testing.assert_close(
        gradients(ours(input), [getattr(ours, trains)]), gradients(stock(input), [getattr(stock, trains)])
    )
    if trains == "bias":  # its gradient is the sum of the output's
        assert saved_bytes(lambda: ours(input), ours) <= 5 * 8  # the deviations


@pytest.mark.parametrize("cls", NORMS)
def test_a_zero_weight_divides_nothing(cls: type[nn.Module]) -> None:
    stock, ours = _pair(cls)
    for norm in (stock, ours):
        with torch.no_grad():
            norm.weight[2] = 0
    input = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    layer = nn.Linear(6, 3, dtype=torch.float64)
    mine = gradients(linear(ours(input), layer.weight, layer.bias, Exact(), "next"), [input, layer.weight])
    theirs = gradients(layer(stock(input)), [input, layer.weight])
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("cls", NORMS)
def test_the_next_linear_keeps_nothing_of_its_own(cls: type[nn.Module]) -> None:
    _, ours = _pair(cls)
    layer = nn.Linear(6, 3, dtype=torch.float64)
    model = nn.ModuleList([ours, layer])
    input = torch.randn(50, 6, dtype=torch.float64, requires_grad=True)

    def both() -> Tensor:
        return linear(ours(input), layer.weight, layer.bias, Exact(), "next")

    assert saved_bytes(both, model) == saved_bytes(lambda: ours(input), model)


@pytest.mark.parametrize("cls", NORMS)
def test_nothing_is_kept_without_gradients(cls: type[nn.Module]) -> None:
    stock, ours = _pair(cls)
    input = torch.randn(5, 6, dtype=torch.float64)
    ours.requires_grad_(False)
    assert saved_bytes(lambda: ours(input), ours) == 0
    assert torch.equal(ours(input), stock(input))


@pytest.mark.parametrize("cls", NORMS)
def test_bfloat16(cls: type[nn.Module]) -> None:
    stock, ours = _pair(cls, dtype=torch.bfloat16)
    input = torch.randn(50, 6, dtype=torch.bfloat16, requires_grad=True)
    assert torch.equal(ours(input), stock(input))
    exact = cls(6, dtype=torch.float64)
    exact.load_state_dict(stock.state_dict())
    wide = input.detach().double().requires_grad_()
    truth = gradients(exact(wide), [wide, exact.weight])
    mine = gradients(ours(input), [input, ours.weight])
    theirs = gradients(stock(input), [input, stock.weight])
    for one, other, true in zip(mine, theirs, truth, strict=True):
        assert one.dtype is other.dtype
        assert (one - true).norm() <= max(1.5 * (other - true).norm(), torch.finfo(torch.bfloat16).eps * true.norm())
