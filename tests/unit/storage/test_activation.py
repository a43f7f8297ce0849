"""Activations: stock's own output, stock's gradient from what was kept, and one tensor kept for two operations."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers.activations import ACT2CLS, ACT2FN, GELUActivation

from frostline.errors import ConfigError, StorageError
from frostline.storage import codecs
from frostline.storage.codecs import Exact
from frostline.storage.operations.activation import (
    Derivative,
    StoredActivation,
    Way,
    activation,
    activation_way,
    kind_of,
)
from frostline.storage.operations.linear import linear
from storage_checks import gradients, saved_bytes

UNDERSTOOD = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
PLAIN: dict[str, Callable[[], nn.Module]] = {
    **{name: lambda name=name: ACT2FN[name] for name in UNDERSTOOD},
    "nn.GELU": nn.GELU,
    "nn.GELU(tanh)": lambda: nn.GELU("tanh"),
}


def _stored(module: nn.Module, way: Way, frozen: Way | None = None) -> nn.Module:
    module.__class__ = type("Stored", (StoredActivation, type(module)), {})
    vars(module).update(_storage=way, _storage_frozen=frozen or way, _site="here", _consumer_trains=None)
    return module


def test_kinds_of_every_activation_of_transformers() -> None:
    found = {name: kind_of(ACT2FN[name]) for name in ACT2CLS if name != "xielu"}
    assert {name: kind for name, kind in found.items() if kind} == UNDERSTOOD


def test_kind_is_told_by_the_forward_function() -> None:
    class Own(nn.GELU):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) + 1

    class Same(GELUActivation):
        pass

    assert kind_of(Own()) is None
    assert kind_of(Same()) == "gelu"
    assert kind_of(_stored(Same(), Exact())) == "gelu"
    assert kind_of(nn.ReLU(inplace=True)) is None
    assert kind_of(nn.Linear(1, 1)) is None


@pytest.mark.parametrize("name", PLAIN)
def test_output_and_gradient_equal_stock(name: str) -> None:
    torch.manual_seed(0)
    input = (3 * torch.randn(7, 33, dtype=torch.float64)).requires_grad_()
    stock, ours = PLAIN[name](), _stored(PLAIN[name](), Exact())
    assert torch.equal(ours(input), stock(input))
    torch.testing.assert_close(gradients(ours(input), [input]), gradients(stock(input), [input]), rtol=1e-9, atol=1e-9)


def test_gradcheck() -> None:
    input = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(_stored(nn.GELU(), Exact()), (input,))


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "silu", "quick_gelu", "relu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("way", ["exact", "derivative4", "derivative5"])
def test_forward_is_bit_identical_in_each_dtype(name: str, dtype: torch.dtype, way: str) -> None:
    input = torch.randn(5, 77).to(dtype).requires_grad_()
    ours = _stored(ACT2FN[name], activation_way(way))
    output = ours(input)
    assert torch.equal(output, ACT2FN[name](input))
    (grad,) = gradients(output, [input])
    (stock,) = gradients(ACT2FN[name](input), [input])
    assert grad.dtype == dtype
    bound = 0.01 if way == "exact" or name == "relu" else 0.08
    assert (grad.double() - stock.double()).norm() <= bound * stock.double().norm()


@pytest.mark.parametrize("way", ["exact", "derivative2"])
def test_a_view_as_input(way: str) -> None:
    base = torch.randn(6, 10, 4)
    straight, turned = base.clone().requires_grad_(), base.clone().requires_grad_()
    ours = _stored(nn.GELU(), activation_way(way))
    one = gradients(ours(straight.transpose(0, 2).contiguous()), [straight])
    other = gradients(ours(turned.transpose(0, 2)), [turned])
    torch.testing.assert_close(one, other)


def test_the_next_linear_keeps_nothing_of_its_own() -> None:
    layers = nn.Linear(16, 24), nn.Linear(24, 8)
    act = _stored(nn.GELU(), Exact())
    input = torch.randn(10, 16)

    def run(stored: bool) -> Tensor:
        hidden = linear(input, layers[0].weight, layers[0].bias, Exact(), "lin1")
        output = act(hidden) if stored else nn.functional.gelu(hidden)
        return linear(output, layers[1].weight, layers[1].bias, Exact(), "lin2")

    model = nn.ModuleList(layers)
    theirs, mine = saved_bytes(lambda: run(False), model), saved_bytes(lambda: run(True), model)
    assert theirs - mine == 10 * 24 * 4  # the output is had from the input
    weights = list(model.parameters())
    torch.testing.assert_close(gradients(run(True), weights), gradients(run(False), weights))


def test_an_offer_on_the_input_is_taken() -> None:
    base = torch.randn(9, 8, requires_grad=True)
    input = base * 1
    first = activation(input, torch.nn.functional.silu, "silu", Exact(), "one")
    second = activation(input, torch.nn.functional.gelu, "gelu", Exact(), "two")
    saved = {t.data_ptr() for y in (first, second) for t in y.grad_fn.saved_tensors}
    assert saved == {input.data_ptr()}


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
def test_a_derivative_takes_its_bits(bits: int) -> None:
    ours = _stored(nn.GELU(), Derivative(bits))
    input = torch.randn(100, 8, requires_grad=True)
    assert saved_bytes(lambda: ours(input), ours) == 100 * bits


@pytest.mark.parametrize("bits", [1, 4])
def test_relu_takes_one_bit_and_is_exact(bits: int) -> None:
    ours = _stored(nn.ReLU(), Derivative(bits))
    input = torch.randn(100, 8, requires_grad=True)
    assert saved_bytes(lambda: ours(input), ours) == 100
    assert torch.equal(*gradients(ours(input), [input]), *gradients(torch.relu(input), [input]))


def test_the_choice_follows_the_consumer() -> None:
    ours = _stored(nn.GELU(), Exact(), frozen=Derivative(2))
    input = torch.randn(64, 8, requires_grad=True)
    trains = True
    vars(ours)["_consumer_trains"] = lambda: trains
    assert saved_bytes(lambda: ours(input), ours) == 64 * 8 * 4
    trains = False
    assert saved_bytes(lambda: ours(input), ours) == 64 * 2


@pytest.mark.parametrize("way", ["exact", "derivative3"])
def test_nothing_is_kept_without_a_gradient(way: str) -> None:
    ours = _stored(nn.GELU(), activation_way(way))
    frozen = ours(torch.randn(4, 4))
    assert not frozen.requires_grad
    with torch.no_grad():
        assert ours(torch.randn(4, 4, requires_grad=True)).grad_fn is None


@pytest.mark.parametrize("way", [name for name in codecs.names() if name != "cpu"])
def test_backward_twice_gives_the_same(way: str) -> None:
    input = torch.randn(64, 64, requires_grad=True)
    output = _stored(nn.GELU(), codecs.get(way))(input)
    one, other = gradients(output, [input]), gradients(output, [input])
    assert torch.equal(one[0], other[0])


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("bits", [1, 3])
def test_what_is_not_finite_is_named(value: float, bits: int) -> None:
    input = torch.randn(700, 1000)
    input[699, 5] = value
    ours = _stored(nn.SiLU(), Derivative(bits))
    with pytest.raises(StorageError, match=f"here: .*derivative{bits}"):
        ours(input.requires_grad_())


def test_a_change_in_place_is_detected() -> None:
    base = torch.randn(4, 4, requires_grad=True)
    input = base * 1
    output = _stored(nn.GELU(), Exact())(input)
    input.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize("way", ["exact", "derivative2"])
def test_a_second_derivative_is_refused(way: str) -> None:
    input = torch.randn(4, 4, requires_grad=True)
    output = _stored(nn.GELU(), activation_way(way))(input)
    with pytest.raises(StorageError, match="second derivative"):
        torch.autograd.grad(output.square().sum(), input, create_graph=True)


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "silu", "quick_gelu", "relu"])
@pytest.mark.parametrize("way", ["exact", "derivative3"])
def test_fake_tensors(name: str, way: str) -> None:
    with FakeTensorMode():
        input = torch.empty(300, 1000, requires_grad=True)
        output = _stored(ACT2FN[name], activation_way(way))(input)
        output.sum().backward()
        assert input.grad is not None
        assert input.grad.shape == input.shape


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "silu"])
@pytest.mark.parametrize("way", ["exact", "derivative4", "derivative5"])
def test_autocast(name: str, way: str) -> None:
    torch.manual_seed(0)
    lin1, lin2 = nn.Linear(16, 64), nn.Linear(64, 16)
    input = torch.randn(32, 16)
    weights = [*lin1.parameters(), *lin2.parameters()]
    act = {"stock": ACT2FN[name], "ours": _stored(ACT2FN[name], activation_way(way))}

    def run(which: str) -> tuple[Tensor, list[Tensor]]:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = act[which](lin1(input))
            output = linear(hidden, lin2.weight, lin2.bias, Exact(), "lin2")
        return output, gradients(output, weights)

    (mine, my_gradients), (theirs, their_gradients) = run("ours"), run("stock")
    assert torch.equal(mine, theirs)
    for one, other in zip(my_gradients, their_gradients, strict=True):
        assert (one - other).norm() < 0.05 * other.norm()


def test_an_offer_is_recomputed_under_the_autocast_of_the_forward_pass() -> None:
    seen = []

    def forward(input: Tensor) -> Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return torch.relu(input)

    input = torch.randn(4, 4, requires_grad=True)
    weight = torch.randn(4, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = activation(input, forward, "relu", Exact(), "here")
        result = linear(output, weight, None, Exact(), "there")
    result.sum().backward()
    assert seen == [True, True]


def test_ways_by_name() -> None:
    assert activation_way("derivative2") == Derivative(2)
    assert activation_way("exact") == Exact()
    with pytest.raises(ConfigError, match="1 to 5 bits"):
        activation_way("derivative6")
    with pytest.raises(ConfigError, match="unknown"):
        activation_way("exakt")


def test_a_void_offer_is_not_taken() -> None:
    base = torch.randn(3, 3, requires_grad=True)
    input = base * 1
    activation(input, torch.relu, "relu", Exact(), "one")
    input.mul_(2)
    output = activation(input, torch.nn.functional.gelu, "gelu", Exact(), "two")
    theirs = gradients(torch.nn.functional.gelu(base * 2), [base])
    torch.testing.assert_close(gradients(output, [base]), theirs)
