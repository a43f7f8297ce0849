"""A block that runs again in backward: stock's results, one input kept, gradients whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import frostline
from architectures import ARCHITECTURES
from frostline.errors import StorageError
from frostline.storage.codecs import Exact
from frostline.storage.operations.recompute import StoredBlock
from storage_checks import gradients, saved_bytes


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(6, 24), nn.Linear(24, 6)
        self.dropout = nn.Dropout(0.5)

    def forward(self, hidden: Tensor, mask: Tensor | None = None, bias: Tensor | None = None) -> tuple[Tensor, Any]:
        inner = self.lin1(hidden) if bias is None else self.lin1(hidden) + bias
        if mask is not None:
            inner = inner.masked_fill(mask, 0)
        return hidden + self.dropout(self.lin2(torch.tanh(inner))), mask


class _StoredBlock(StoredBlock, _Block):
    pass


def _pair(dtype: torch.dtype = torch.float64) -> tuple[_Block, _Block]:
    torch.manual_seed(0)
    stock, ours = _Block().to(dtype), _StoredBlock().to(dtype)
    ours.load_state_dict(stock.state_dict())
    vars(ours).update(_storage=Exact(), _site="block", _trials={})
    return stock, ours


def _run(block: _Block, *args: Any, **kwargs: Any) -> Tensor:
    torch.manual_seed(7)
    output: Tensor = block(*args, **kwargs)[0]
    return output


def _hidden(grad: bool = True) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(3, 6, dtype=torch.float64, requires_grad=grad)


def test_gradients_equal_stock_with_dropout_on() -> None:
    stock, ours = _pair()
    hidden = _hidden()
    first, second = _run(stock, hidden), _run(ours, hidden)
    assert torch.equal(first, second)
    torch.rand(3)  # what is drawn between forward and backward changes nothing
    before = torch.get_rng_state()
    mine = gradients(second, [hidden, *ours.parameters()])
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(mine, gradients(first, [hidden, *stock.parameters()]))


def test_only_the_input_is_kept() -> None:
    _, ours = _pair()
    hidden = _hidden()
    kept = saved_bytes(lambda: _run(ours, hidden), ours)
    assert kept == hidden.nbytes + torch.get_rng_state().nbytes


def test_an_input_without_gradient_and_some_frozen_weights() -> None:
    stock, ours = _pair()
    hidden = _hidden(grad=False)
    for block in (stock, ours):
        block.lin1.requires_grad_(False)
    mine = gradients(_run(ours, hidden), list(ours.lin2.parameters()))
    torch.testing.assert_close(mine, gradients(_run(stock, hidden), list(stock.lin2.parameters())))


def test_nothing_is_kept_where_nothing_trains() -> None:
    _, ours = _pair()
    ours.requires_grad_(False)
    assert saved_bytes(lambda: _run(ours, _hidden(grad=False)), ours) == 0
    assert not _run(ours, _hidden(grad=False)).requires_grad


def test_other_tensors_with_and_without_gradients() -> None:
    stock, ours = _pair()
    hidden, mask = _hidden(), torch.rand(3, 24) > 0.5
    bias = torch.randn(24, dtype=torch.float64, requires_grad=True)
    mine = gradients(_run(ours, hidden, mask=mask, bias=bias), [hidden, bias, *ours.parameters()])
    theirs = gradients(_run(stock, hidden, mask=mask, bias=bias), [hidden, bias, *stock.parameters()])
    torch.testing.assert_close(mine, theirs)
    assert ours(hidden, mask=mask)[1] is not None


def test_under_autocast() -> None:
    stock, ours = _pair(torch.float32)
    hidden = _hidden().float().detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        first, second = _run(stock, hidden), _run(ours, hidden)
    assert torch.equal(first, second)
    torch.testing.assert_close(
        gradients(second, [hidden, *ours.parameters()]), gradients(first, [hidden, *stock.parameters()])
    )


def test_a_weight_changed_before_backward_is_noticed() -> None:
    _, ours = _pair()
    output = _run(ours, _hidden())
    with torch.no_grad():
        ours.lin1.weight.mul_(2)
    with pytest.raises(RuntimeError, match="changed in place after the forward pass"):
        output.sum().backward()


def test_a_hidden_state_changed_in_place_is_noticed() -> None:
    _, ours = _pair()
    hidden = _hidden() * 1
    output = _run(ours, hidden)
    hidden.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_two_blocks_in_a_row_and_a_weight_used_twice() -> None:
    stock, ours = _pair()
    hidden = _hidden()
    first, second = _run(stock, _run(stock, hidden)), _run(ours, _run(ours, hidden))
    mine = gradients(second, [hidden, *ours.parameters()])
    torch.testing.assert_close(mine, gradients(first, [hidden, *stock.parameters()]))


def test_a_cache_of_keys_stays_empty_and_one_that_holds_some_is_refused() -> None:
    architecture = ARCHITECTURES["Llama"]
    model, batch = architecture.make(use_cache=True).double(), architecture.batch(torch.float64)
    loss = model(**batch).loss
    exact = torch.autograd.grad(loss, list(model.parameters()))
    frostline.prepare(model, storage={"block": "exact"}, example=batch)
    output = model(**batch)
    assert not output.past_key_values.get_seq_length()
    ours = torch.autograd.grad(output.loss, list(model.parameters()))
    for mine, stock in zip(ours, exact, strict=True):
        torch.testing.assert_close(mine, stock, rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        filled = model.model(input_ids=batch["input_ids"]).past_key_values
    assert filled.get_seq_length()
    with pytest.raises(StorageError, match=r"^model\.layers\.0: a cache of keys and values came with the batch"):
        model(input_ids=batch["input_ids"], past_key_values=filled)


class _HandsOn(_Block):
    """Returns what it was given beside its own output, as T5's blocks do with their positions."""

    def forward(self, hidden: Tensor, mask: Tensor | None = None, bias: Tensor | None = None) -> tuple[Tensor, Any]:
        return super().forward(hidden, mask, bias)[0], bias


class _StoredHandsOn(StoredBlock, _HandsOn):
    pass


@pytest.mark.parametrize("trains", [False, True])
def test_what_a_block_hands_on_is_not_its_own(trains: bool) -> None:
    torch.manual_seed(0)
    stock, ours = (torch.nn.ModuleList(cls() for _ in range(3)).double() for cls in (_HandsOn, _StoredHandsOn))
    ours.load_state_dict(stock.state_dict())
    for block in ours:
        vars(block).update(_storage=Exact(), _site="block", _trials={})
    found = []
    for blocks in (stock, ours):
        torch.manual_seed(3)
        hidden, bias = _hidden(), torch.randn(24, dtype=torch.float64).requires_grad_(trains)
        start = hidden
        for block in blocks:
            hidden, bias = block(hidden, None, bias)
        assert bias.requires_grad is trains
        found.append((hidden, gradients(hidden, [start, *blocks.parameters()])))
    assert torch.equal(found[0][0], found[1][0])
    for first, second in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(second, first, rtol=1e-10, atol=1e-12)
