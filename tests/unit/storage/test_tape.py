"""A block's second run takes its masks off the tape, and what draws for itself in between draws the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frostline.storage.codecs import Exact
from frostline.storage.operations import dropout
from frostline.storage.operations.dropout import StoredDropout
from frostline.storage.operations.recompute import StoredBlock
from storage_checks import gradients


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.first, self.second = nn.Dropout(0.5), nn.Dropout(0.3)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.first(self.linear(hidden))
        hidden = F.dropout(hidden, 0.4, self.training)  # draws for itself, between two that are noted
        return self.second(hidden)


class _StoredBlock(StoredBlock, _Block):
    pass


def _pair() -> tuple[_Block, _Block]:
    torch.manual_seed(0)
    stock, ours = _Block(), _StoredBlock()
    ours.load_state_dict(stock.state_dict())
    vars(ours).update(_storage=Exact(), _site="block", _trials={})
    for module in (ours.first, ours.second):
        module.__class__ = StoredDropout
        vars(module).update(_storage="mask")
    return stock, ours


def _run(block: nn.Module, hidden: Tensor) -> Tensor:
    torch.manual_seed(7)
    output: Tensor = block(hidden)
    return output


@pytest.mark.parametrize("grad", [True, False])
def test_the_second_run_is_the_first(grad: bool) -> None:
    stock, ours = _pair()
    hidden = torch.randn(16, 8, requires_grad=grad)
    first, second = _run(stock, hidden), _run(ours, hidden)
    assert torch.equal(first, second)
    torch.rand(5)
    before = torch.get_rng_state()
    tensors = [hidden] if grad else []
    mine = gradients(second, [*tensors, *ours.parameters()])
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(mine, gradients(first, [*tensors, *stock.parameters()]))


def test_no_mask_is_drawn_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    _, ours = _pair()
    hidden = torch.randn(16, 8, requires_grad=True)
    output = _run(ours, hidden)
    drawn: list[Any] = []
    monkeypatch.setattr(dropout.F, "dropout", _counting(dropout.F.dropout, drawn))
    output.sum().backward()
    assert len(drawn) == 1  # the one that draws for itself


def _counting(function: Any, calls: list[Any]) -> Any:
    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return function(*args, **kwargs)

    return counted
