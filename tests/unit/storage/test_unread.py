"""What a block's second run leaves out: found by what autograd saves, and right whatever the block does with it."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frostline.meter import TensorTracker
from frostline.storage.codecs import Exact
from frostline.storage.operations.activation import StoredActivation
from frostline.storage.operations.dropout import StoredDropout
from frostline.storage.operations.linear import StoredLinear
from frostline.storage.operations.norm import StoredLayerNorm
from frostline.storage.operations.recompute import StoredBlock
from frostline.storage.tape import Unread
from frostline.tuner import prepare
from storage_checks import gradients, saved_bytes
from tiny_models import tiny_bert


class _Ffn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin1, self.act, self.lin2 = nn.Linear(6, 24), nn.GELU(), nn.Linear(24, 6)
        self.dropout, self.norm = nn.Dropout(0.5), nn.LayerNorm(6)

    def inner(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.dropout(self.lin2(self.act(self.lin1(hidden))))
        return output


class _PostNorm(_Ffn):
    def forward(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.norm(hidden + self.inner(hidden))
        return output


class _PreNorm(_Ffn):
    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.inner(self.norm(hidden))


class _Scaled(_Ffn):
    """A trained scale reads what the last Linear gives out."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((6,), 0.5), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.scale * self.inner(self.norm(hidden))


class _NormRead(_Ffn):
    """What comes behind the last norm reads it."""

    def forward(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.norm(hidden + self.inner(hidden))
        return output * output


class _ActivationRead(_Ffn):
    """The activation's output has a second reader."""

    def forward(self, hidden: Tensor) -> Tensor:
        inner = self.act(self.lin1(self.norm(hidden)))
        return self.lin2(inner) + inner.square().sum(-1, keepdim=True)


class _Twice(_Ffn):
    """The last Linear runs twice."""

    def forward(self, hidden: Tensor) -> Tensor:
        inner = self.act(self.lin1(self.norm(hidden)))
        output: Tensor = self.lin2(inner) + self.lin2(inner.square())
        return output


_MIXINS: tuple[tuple[type[nn.Module], type[nn.Module], dict[str, Any]], ...] = (
    (nn.Linear, StoredLinear, {"_storage": Exact()}),
    (nn.GELU, StoredActivation, {"_storage": Exact(), "_storage_frozen": Exact(), "_consumer_trains": None}),
    (nn.LayerNorm, StoredLayerNorm, {"_storage": Exact(), "_storage_frozen": Exact()}),
    (nn.Dropout, StoredDropout, {"_storage": "mask"}),
)


def _pair(kind: type[_Ffn]) -> tuple[Any, Any]:
    torch.manual_seed(0)
    stock = kind().double()
    ours = type("Stored", (StoredBlock, kind), {})().double()
    ours.load_state_dict(stock.state_dict())
    for plain, mixin, attributes in _MIXINS:
        for name, module in list(ours.named_modules()):
            if type(module) is plain:
                module.__class__ = type(f"Stored{plain.__name__}", (mixin, plain), {})
                vars(module).update(attributes, _site=name)
    vars(ours).update(_storage=Exact(), _site="block", _trials={})
    return stock, ours


def _run(block: nn.Module, hidden: Tensor) -> Tensor:
    torch.manual_seed(3)
    output: Tensor = block(hidden)
    return output


@pytest.mark.parametrize(
    ("kind", "skipped", "noted"),
    [
        (_PostNorm, {"act", "lin2"}, {"norm"}),
        (_PreNorm, {"act", "lin2"}, set()),
        (_Scaled, set(), set()),
        (_NormRead, set(), set()),
        (_ActivationRead, {"lin2"}, set()),
        (_Twice, set(), set()),
    ],
)
def test_gradients_equal_stock_and_what_is_left_out(kind: type[_Ffn], skipped: set[str], noted: set[str]) -> None:
    stock, ours = _pair(kind)
    torch.manual_seed(1)
    hidden = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    first, second = _run(stock, hidden), _run(ours, hidden)
    assert torch.equal(first, second)
    found: Unread = ours._unread
    names = {module: name for name, module in ours.named_modules()}
    assert {names[module] for module in found.skipped} == skipped
    assert {names[module] for module in found.noted} == noted
    leaves = [[hidden, *(p for p in block.parameters() if p.requires_grad)] for block in (stock, ours)]
    torch.testing.assert_close(gradients(second, leaves[1]), gradients(first, leaves[0]))


def test_what_is_left_out_is_not_computed() -> None:
    _, ours = _pair(_PostNorm)
    hidden = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    output = _run(ours, hidden)
    seen: dict[str, Tensor] = {}
    ours.lin2.register_forward_hook(lambda _, __, found: seen.update(lin2=found))
    ours.norm.register_forward_hook(lambda _, __, found: seen.update(norm=found))
    gradients(output, [hidden])
    assert not seen["lin2"].any()
    assert not seen["norm"].any()


def test_the_noted_norm_is_the_next_block_s_input() -> None:
    one, other = _pair(_PostNorm)[1], _pair(_PostNorm)[1]
    blocks = nn.ModuleList([one, other])
    hidden = torch.randn(50, 6, dtype=torch.float64, requires_grad=True)
    _run(blocks[1], _run(blocks[0], hidden))
    alone = saved_bytes(lambda: _run(blocks[0], hidden), blocks)
    both = saved_bytes(lambda: _run(blocks[1], _run(blocks[0], hidden)), blocks)
    assert both == 2 * alone - hidden.nbytes


def test_the_generator_and_the_trainable_set_are_as_they_were() -> None:
    stock, ours = _pair(_Scaled)
    hidden = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    _run(stock, hidden)
    after = torch.get_rng_state()
    _run(ours, hidden)
    assert torch.equal(torch.get_rng_state(), after)
    assert not ours.scale.requires_grad
    assert all(p.grad is None for p in ours.parameters())


def test_the_trial_leaves_nothing_behind() -> None:
    _, ours = _pair(_PostNorm)
    hidden = torch.randn(300, 6, dtype=torch.float64, requires_grad=True)
    gc.collect()
    gc.disable()  # what a cycle holds would go some day, but not before the peak
    try:
        with TensorTracker(ours) as tracker:
            before = tracker.live["other"]
            output = _run(ours, hidden)
            kept = output.untyped_storage().nbytes() + hidden.untyped_storage().nbytes()
            assert tracker.live["other"] - before <= kept
    finally:
        gc.enable()


def test_what_a_block_holds_under_two_names_is_left_as_it_was() -> None:
    model = tiny_bert()
    for layer in model.bert.encoder.layer:
        layer.output.LayerNorm = layer.attention.output.LayerNorm
        layer.register_module("also", layer.output)
    held = {name: (value, value.detach().clone()) for name, value in model.named_parameters()}
    tuner = prepare(model, "full", storage="smallest")
    loss = model(input_ids=torch.randint(1, 20, (2, 6)), labels=torch.tensor([0, 1])).loss
    loss.backward()
    assert float(loss.detach()) > 0
    tuner.finish()
    for name, value in model.named_parameters():
        assert value is held[name][0]
        assert type(value) is nn.Parameter
        assert torch.equal(value, held[name][1])
