"""A split Linear is the plain Linear, to the outside and to rounding; only the learners have gradients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from frostline.methods.split_linear import SplitColumns, SplitRows
from tiny_models import same_bits

Case = tuple[int, int, list[int], tuple[int, ...], bool]
EXACT = {"rtol": 0.0, "atol": 1e-12}  # sums of few float64 products in another order


def plain(inputs: int, outputs: int, *, bias: bool = True, dtype: torch.dtype = torch.float64) -> nn.Linear:
    torch.manual_seed(inputs * 31 + outputs)
    return nn.Linear(inputs, outputs, bias=bias, dtype=dtype)


def conv1d(linear: nn.Linear) -> Conv1D:
    """Return the same map as a layer of GPT-2's, whose weight lies the other way."""
    turned = Conv1D(linear.out_features, linear.in_features).to(linear.weight.dtype)
    turned.load_state_dict({"weight": linear.weight.detach().t().contiguous(), "bias": linear.bias.detach()})
    return turned


def rows(linear: nn.Linear, learners: list[int], **how: Any) -> SplitRows:
    return SplitRows(copy.deepcopy(linear), learners, reorder=how.pop("reorder", True), **how)


def columns(linear: nn.Linear, learners: list[int]) -> SplitColumns:
    return SplitColumns(copy.deepcopy(linear), learners)


def draw_input(shape: tuple[int, ...], features: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, features, dtype=dtype, generator=torch.Generator().manual_seed(3))


@st.composite
def cases(draw: st.DrawFn, *, nodes: str) -> Case:
    inputs, outputs = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    learners = draw(st.sets(st.integers(0, (inputs if nodes == "columns" else outputs) - 1)))
    shape = draw(st.lists(st.integers(0, 3), max_size=2).map(tuple))
    return inputs, outputs, sorted(learners), shape, draw(st.booleans())


def plain_gradients(linear: nn.Linear, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return output and gradients (input, weight, bias) under a loss that weighs every output differently."""
    x = x.clone().requires_grad_()
    output = linear(x)
    (output * upstream(output)).sum().backward()
    assert x.grad is not None
    assert linear.weight.grad is not None
    return output.detach(), x.grad, linear.weight.grad, None if linear.bias is None else linear.bias.grad


def upstream(output: Tensor) -> Tensor:
    return torch.linspace(-1, 2, max(output.numel(), 1), dtype=output.dtype)[: output.numel()].view_as(output)


@settings(max_examples=60, deadline=None)
@given(cases(nodes="rows"))
def test_rows_equal_the_plain_layer_forward_and_backward(case: Case) -> None:
    inputs, outputs, learners, shape, bias = case
    linear = plain(inputs, outputs, bias=bias)
    split = rows(linear, learners)
    output, grad_input, grad_weight, grad_bias = plain_gradients(linear, draw_input(shape, inputs))
    x = draw_input(shape, inputs).requires_grad_()
    y = split(x)
    (y * upstream(y)).sum().backward()
    torch.testing.assert_close(y.detach(), output, **EXACT)
    torch.testing.assert_close(x.grad, grad_input, **EXACT)
    if learners:
        torch.testing.assert_close(split.weight.grad, grad_weight[learners], **EXACT)
    else:
        assert split.weight.grad is None
    if grad_bias is None:
        assert split.bias is None
    elif learners:
        torch.testing.assert_close(split.bias.grad, grad_bias[learners], **EXACT)


@settings(max_examples=60, deadline=None)
@given(cases(nodes="columns"))
def test_columns_equal_the_plain_layer_forward_and_backward(case: Case) -> None:
    inputs, outputs, learners, shape, bias = case
    linear = plain(inputs, outputs, bias=bias)
    split = columns(linear, learners)
    output, grad_input, grad_weight, grad_bias = plain_gradients(linear, draw_input(shape, inputs))
    x = draw_input(shape, inputs).requires_grad_()
    y = split(x[..., split.order])  # the layer before hands over learners first
    (y * upstream(y)).sum().backward()
    torch.testing.assert_close(y.detach(), output, **EXACT)
    torch.testing.assert_close(x.grad, grad_input, **EXACT)
    if learners:
        torch.testing.assert_close(split.weight.grad, grad_weight[:, learners].t(), **EXACT)
    else:
        assert split.weight.grad is None
    if grad_bias is not None:
        torch.testing.assert_close(split.bias.grad, grad_bias, **EXACT)


@pytest.mark.parametrize("learners", [[], [1], [0, 3], [0, 1, 2, 3]])
@pytest.mark.parametrize("make", [rows, columns])
class TestConv1D:
    """A layer whose weight lies the other way splits into the very layer that its twin splits into."""

    def test_it_computes_as_its_twin_does(self, make: Any, learners: list[int]) -> None:
        linear = plain(4, 4)
        split, twin = make(conv1d(linear), learners), make(linear, learners)
        for layer in (split, twin):
            layer(draw_input((2, 3), 4).requires_grad_()).square().sum().backward()
        assert [same_bits(p.detach(), q.detach()) for p, q in zip(split.parameters(), twin.parameters(), strict=True)]
        for p, q in zip(split.parameters(), twin.parameters(), strict=True):
            assert (p.grad is None) == (q.grad is None)
            assert p.grad is None or q.grad is None or same_bits(p.grad, q.grad)

    def test_to_the_outside_it_is_the_plain_layer(self, make: Any, learners: list[int]) -> None:
        linear, other = conv1d(plain(4, 4)), conv1d(plain(4, 4)).requires_grad_(False)
        with torch.no_grad():
            other.weight.mul_(3)
        before = copy.deepcopy(linear.state_dict())
        split = make(linear, learners)
        assert all(same_bits(split.state_dict()[name], value) for name, value in before.items())
        assert all(value.is_contiguous() for value in split.state_dict().values())
        split.load_state_dict(other.state_dict())
        restored = split.restore()
        assert type(restored) is Conv1D
        assert all(same_bits(restored.state_dict()[name], value) for name, value in other.state_dict().items())
        assert torch.equal(restored(draw_input((2,), 4)), other(draw_input((2,), 4)))

    def test_gradients_and_moments_are_cut_to_the_learners(self, make: Any, learners: list[int]) -> None:
        linear = conv1d(plain(4, 4))
        gradient = torch.arange(16.0, dtype=torch.float64).view(4, 4)
        (whole, *_) = make(linear, learners).replacements
        assert whole.shape == (4, 4)
        assert torch.equal(whole.take(gradient), gradient.t()[learners] if make is rows else gradient[learners])


def test_rows_without_reordering_give_learners_first() -> None:
    linear = plain(3, 5)
    split = rows(linear, [4, 1], reorder=False)
    assert split.order.tolist() == [1, 4, 0, 2, 3]
    x = draw_input((2,), 3)
    torch.testing.assert_close(split(x), linear(x)[:, [1, 4, 0, 2, 3]], **EXACT)


def test_rows_take_inputs_in_the_order_of_the_layer_before() -> None:
    lin1, lin2 = plain(3, 5), plain(5, 4)
    first = rows(lin1, [4, 1], reorder=False)
    second = rows(lin2, [2], input_order=first.order)
    x = draw_input((2, 3), 3)
    torch.testing.assert_close(second(torch.relu(first(x))), lin2(torch.relu(lin1(x))), **EXACT)
    lin2(torch.relu(lin1(x))).square().sum().backward()
    second(torch.relu(first(x))).square().sum().backward()
    assert lin2.weight.grad is not None
    torch.testing.assert_close(second.weight.grad[:, first.inverse], lin2.weight.grad[[2]], **EXACT)
    torch.testing.assert_close(second.replacements[0].take(lin2.weight.grad), second.weight.grad, **EXACT)


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
@pytest.mark.parametrize("make", [rows, columns])
def test_gradcheck_on_weight_bias_and_input(make: Any, shape: tuple[int, ...]) -> None:
    split = make(plain(4, 3), [0, 2])
    x = draw_input(shape, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda *_: split(x), (x, split.weight, split.bias))


@pytest.mark.parametrize("learners", [[], [1], [0, 3], [0, 1, 2, 3]])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("make", [rows, columns])
class TestPlainFace:
    """Checkpoints speak of the original layer."""

    def test_state_dict_has_the_plain_names_shapes_and_bits(self, make: Any, bias: bool, learners: list[int]) -> None:
        linear = plain(4, 4, bias=bias)
        state, own = make(linear, learners).state_dict(), linear.state_dict()
        assert list(state) == list(own)
        assert all(same_bits(state[name], own[name]) for name in own)
        assert all(value.is_contiguous() for value in state.values())

    def test_load_state_dict_round_trips(self, make: Any, bias: bool, learners: list[int]) -> None:
        other = nn.Linear(4, 4, bias=bias, dtype=torch.float64)
        split = make(plain(4, 4, bias=bias), learners)
        split.load_state_dict(other.state_dict(), strict=True)
        assert all(same_bits(split.state_dict()[name], value) for name, value in other.state_dict().items())
        x = draw_input((2,), 4)
        torch.testing.assert_close(split(x if make is rows else x[:, split.order]), other(x), **EXACT)

    def test_restore_gives_the_same_parameters_bit_for_bit(self, make: Any, bias: bool, learners: list[int]) -> None:
        linear = plain(4, 4, bias=bias)
        before, parameters = copy.deepcopy(linear.state_dict()), dict(linear.named_parameters())
        split = SplitRows(linear, learners) if make is rows else SplitColumns(linear, learners)
        assert linear.weight.numel() == 0  # the weight is not held twice
        restored = split.restore()
        assert restored is linear
        assert {name: id(p) for name, p in restored.named_parameters()} == {n: id(p) for n, p in parameters.items()}
        assert all(same_bits(restored.state_dict()[name], value) for name, value in before.items())
        assert restored.weight.requires_grad

    def test_zero_learners_train_no_node(self, make: Any, bias: bool, learners: list[int]) -> None:
        split = make(plain(4, 4, bias=bias), learners)
        assert split.weight.requires_grad == bool(learners)
        assert split.weight.shape[0] == len(learners)


@pytest.mark.parametrize("make", [rows, columns])
class TestLoading:
    """What a state dict lacks is reported as for any module."""

    def test_missing_keys_are_named(self, make: Any) -> None:
        split = make(plain(4, 4), [1])
        with pytest.raises(RuntimeError, match=r'Missing key\(s\).*"weight"'):
            split.load_state_dict({"bias": torch.zeros(4)}, strict=True)
        result = split.load_state_dict({"bias": torch.ones(4)}, strict=False)
        assert result.missing_keys == ["weight"]
        assert split.state_dict()["bias"].tolist() == [1, 1, 1, 1]

    def test_unexpected_keys_are_named(self, make: Any) -> None:
        split = make(plain(4, 4, bias=False), [1])
        with pytest.raises(RuntimeError, match=r'Unexpected key\(s\).*"bias"'):
            split.load_state_dict({"weight": torch.zeros(4, 4), "bias": torch.zeros(4)}, strict=True)

    def test_other_shapes_are_refused(self, make: Any) -> None:
        split = make(plain(4, 3), [1])
        before = copy.deepcopy(split.state_dict())
        with pytest.raises(RuntimeError, match="size mismatch for weight"):
            split.load_state_dict({"weight": torch.zeros(4, 3), "bias": torch.zeros(3)})
        assert same_bits(split.state_dict()["weight"], before["weight"])

    def test_inside_a_model_the_prefix_is_kept(self, make: Any) -> None:
        model = nn.Sequential(make(plain(4, 4), [1]))
        assert list(model.state_dict()) == ["0.weight", "0.bias"]
        with pytest.raises(RuntimeError, match=r'"0\.weight"'):
            model.load_state_dict({"0.bias": torch.zeros(4)})


def _to_double(split: nn.Module) -> nn.Module:
    return split.to(torch.float64)


def _there_and_back(split: nn.Module) -> nn.Module:
    return split.half().double()


@pytest.mark.parametrize(
    "move", [_to_double, nn.Module.double, copy.deepcopy, lambda split: copy.deepcopy(split).double(), _there_and_back]
)
@pytest.mark.parametrize("learners", [[], [0, 2]])
@pytest.mark.parametrize("make", [rows, columns])
def test_a_move_or_a_copy_keeps_it_right(make: Any, learners: list[int], move: Any) -> None:
    linear = plain(4, 3, dtype=torch.float32)
    with torch.no_grad():
        for p in linear.parameters():
            p.copy_((p * 64).round() / 64)  # exact in half precision too
    split = move(make(linear, learners))
    dtype = split.nodes.dtype
    reference = copy.deepcopy(linear).to(dtype)
    x = draw_input((5,), 4, dtype)
    given = x if make is rows else x[:, split.order]
    close = {"rtol": 0.0, "atol": 1e-6 if dtype == torch.float32 else 1e-12}
    torch.testing.assert_close(split(given), reference(x), **close)
    # The learners' parameter is still what the layer computes with, and what it gives back.
    with torch.no_grad():
        split.weight.mul_(2)
    if learners:
        with torch.no_grad():
            (reference.weight if make is rows else reference.weight.t())[learners] *= 2
    torch.testing.assert_close(split(given), reference(x), **close)
    assert same_bits(split.state_dict()["weight"], reference.weight.detach())
    restored = split.restore()
    assert restored.weight.dtype == dtype
    assert same_bits(restored.weight.detach(), reference.weight.detach())


def test_a_copy_is_independent_of_its_original() -> None:
    split = columns(plain(4, 3), [1])
    twin = copy.deepcopy(split)
    with torch.no_grad():
        twin.weight.fill_(7)
    twin(draw_input((2,), 4))
    assert not (split.state_dict()["weight"] == 7).any()
    assert (twin.state_dict()["weight"][:, 1] == 7).all()


def test_learners_and_frozen_nodes_share_one_storage() -> None:
    for split in (rows(plain(4, 3), [0, 2]), columns(plain(4, 3), [0, 2])):
        assert split.weight.data_ptr() == split.nodes.data_ptr()
        assert split.weight.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("make", [rows, columns])
def test_under_autocast_it_computes_in_the_plain_layers_dtype(make: Any, dtype: torch.dtype) -> None:
    linear = plain(64, 32, dtype=dtype)
    split = make(linear, [1, 5, 30])
    x = draw_input((8,), 64, dtype)
    given = (x if make is rows else x[:, split.order]).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, got = linear(x), split(given)
        got.square().sum().backward()
        expected.square().sum().backward()
    assert got.dtype == expected.dtype
    # bfloat16 has 8 bits: two roundings of values near 1 differ by 2^-7
    torch.testing.assert_close(got, expected, rtol=2**-6, atol=2**-6)
    assert split.weight.grad.dtype == split.weight.dtype == dtype
    assert given.grad is not None
    assert given.grad.dtype == dtype
    assert linear.weight.grad is not None
    plain_grad = linear.weight.grad[[1, 5, 30]] if make is rows else linear.weight.grad.t()[[1, 5, 30]]
    torch.testing.assert_close(split.weight.grad, plain_grad, rtol=0.05, atol=0.1)


# What waits for the backward pass


def kept_bytes(split: SplitRows | SplitColumns, x: Tensor) -> tuple[int, bool]:
    """Return the bytes kept beside the layer's own tensors, and whether the input itself is among them."""
    own = {t.untyped_storage().data_ptr() for t in (*split.parameters(), *split.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        split(x)
    return sum(kept.values()), x.untyped_storage().data_ptr() in kept


@pytest.mark.parametrize("learners", [0, 1, 3, 10])
def test_columns_keep_the_learners_share_of_their_input(learners: int) -> None:
    x = draw_input((2, 7), 10, torch.float32).requires_grad_()
    kept, whole_input = kept_bytes(columns(plain(10, 4, dtype=torch.float32), list(range(learners))), x)
    assert kept == 2 * 7 * learners * 4
    assert not whole_input or learners == 10


@pytest.mark.parametrize(("learners", "expected"), [(0, 0), (1, 2 * 7 * 10 * 4), (4, 2 * 7 * 10 * 4)])
def test_rows_keep_their_input_whole_without_a_copy(learners: int, expected: int) -> None:
    x = draw_input((2, 7), 10, torch.float32).requires_grad_()
    kept, whole_input = kept_bytes(rows(plain(10, 4, dtype=torch.float32), list(range(learners)), reorder=False), x)
    assert (kept, whole_input) == (expected, learners > 0)


def test_printing_shows_the_sizes() -> None:
    assert repr(rows(plain(4, 3), [0, 2])) == "SplitRows(in_features=4, out_features=3, learners=2)"
