"""Gated activations: stock's output and gradients from the codes of gate and up."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import Gemma2Config, LlamaConfig, Qwen2Config
from transformers.activations import ACT2FN
from transformers.models.gemma2.modeling_gemma2 import Gemma2MLP
from transformers.models.llama.modeling_llama import LlamaMLP
from transformers.models.phi3.modeling_phi3 import Phi3Config, Phi3MLP
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP

from frostline.errors import StorageError
from frostline.storage import codecs
from frostline.storage.codecs import Exact
from frostline.storage.operations.linear import linear
from frostline.storage.operations.swiglu import StoredGatedMLP, gated, is_gated
from storage_checks import gradients, saved_bytes

SIZES: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1}
MLPS = {"llama": (LlamaMLP, LlamaConfig), "qwen2": (Qwen2MLP, Qwen2Config), "gemma2": (Gemma2MLP, Gemma2Config)}


def _mlp(name: str) -> nn.Module:
    torch.manual_seed(0)
    cls, config = MLPS[name]
    module: nn.Module = cls(config(**SIZES)).double()
    return module


def _stored(module: nn.Module, codec: str = "exact") -> nn.Module:
    module.__class__ = type("Stored", (StoredGatedMLP, type(module)), {})
    vars(module).update(_storage=codecs.get(codec), _site="here")
    return module


def _pair(count: int = 40, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    gate, up = (torch.randn(3, count, generator=generator).to(dtype).requires_grad_() for _ in range(2))
    return gate, up


@pytest.mark.parametrize("name", MLPS)
def test_output_and_gradients_equal_stock(name: str) -> None:
    stock, ours = _mlp(name), _stored(_mlp(name))
    input = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    assert is_gated(stock)
    assert is_gated(ours)
    assert torch.equal(ours(input), stock(input))
    mine = gradients(ours(input), [input, *ours.parameters()])
    theirs = gradients(stock(input), [input, *stock.parameters()])
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["silu", "gelu", "gelu_pytorch_tanh", "quick_gelu", "relu"])
def test_gradcheck(kind: str) -> None:
    names = {"gelu_pytorch_tanh": "gelu_tanh"}
    gate, up = _pair(5)
    assert torch.autograd.gradcheck(
        lambda g, u: gated(g, u, ACT2FN[kind], names.get(kind, kind), Exact(), "here"), (gate, up)
    )


@pytest.mark.parametrize("only", ["gate", "up"])
def test_one_of_the_two_needs_a_gradient(only: str) -> None:
    gate, up = _pair()
    (up if only == "gate" else gate).requires_grad_(False)
    tensor = gate if only == "gate" else up
    mine = gradients(gated(gate, up, F.silu, "silu", Exact(), "here"), [tensor])
    torch.testing.assert_close(mine, gradients(F.silu(gate) * up, [tensor]))


def test_two_tensors_are_kept_in_place_of_four() -> None:
    ours, stock = _stored(_mlp("llama")), _mlp("llama")
    down = ours.get_submodule("down_proj")
    down.forward = lambda x: linear(x, down.weight, None, Exact(), "down")
    input = torch.randn(50, 8, dtype=torch.float64, requires_grad=True)
    wide = 50 * 24 * 8
    assert saved_bytes(lambda: ours(input), ours) == 2 * wide + 50 * 8 * 8
    assert saved_bytes(lambda: stock(input), stock) == 4 * wide + 50 * 8 * 8
    weights = list(ours.parameters())
    torch.testing.assert_close(gradients(ours(input), weights), gradients(stock(input), list(stock.parameters())))


@pytest.mark.parametrize("codec", [name for name in codecs.names() if name in ("int8", "int4", "bf16")])
def test_error_of_each_codec(codec: str) -> None:
    gate, up = _pair(4096, torch.float32)
    mine = gradients(gated(gate, up, F.silu, "silu", codecs.get(codec), "here"), [gate, up])
    for one, other in zip(mine, gradients(F.silu(gate) * up, [gate, up]), strict=True):
        assert (one - other).norm() / other.norm() < {"int8": 0.02, "int4": 0.2, "bf16": 0.01}[codec]


@pytest.mark.parametrize("codec", [name for name in codecs.names() if name != "cpu"])
def test_backward_twice_gives_the_same(codec: str) -> None:
    gate, up = _pair(dtype=torch.float32)
    output = gated(gate, up, F.silu, "silu", codecs.get(codec), "here")
    for one, other in zip(gradients(output, [gate, up]), gradients(output, [gate, up]), strict=True):
        assert torch.equal(one, other)


def test_many_pieces_and_views() -> None:
    base = torch.randn(1100, 1000, requires_grad=True)
    gate, up = base[:, :500], base[:, 500:]  # one fused projection, chunked
    mine = gradients(gated(gate, up, F.silu, "silu", Exact(), "here"), [base])
    torch.testing.assert_close(mine, gradients(F.silu(gate) * up, [base]))


def test_what_is_not_understood() -> None:
    class Other(LlamaMLP):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x)).tanh()

    assert not is_gated(Other(LlamaConfig(**SIZES)))
    assert not is_gated(LlamaMLP(LlamaConfig(**SIZES, hidden_act="mish")))
    assert not is_gated(Phi3MLP(Phi3Config(**SIZES, pad_token_id=0)))
    assert not is_gated(nn.Linear(2, 2))


def test_hooks_of_the_activation_run_once() -> None:
    ours, calls = _stored(_mlp("llama")), []
    ours.get_submodule("act_fn").register_forward_hook(lambda *_: calls.append(1))
    ours(torch.randn(4, 8, dtype=torch.float64, requires_grad=True)).sum().backward()
    assert calls == [1]


def test_nothing_is_kept_without_a_gradient() -> None:
    ours = _stored(_mlp("llama")).requires_grad_(False)
    assert saved_bytes(lambda: ours(torch.randn(4, 8, dtype=torch.float64)), ours) == 0
    with torch.no_grad():
        assert ours(torch.randn(4, 8, dtype=torch.float64)).grad_fn is None


def test_bad_input() -> None:
    gate, up = _pair()
    output = gated(gate * 1, up * 1, F.silu, "silu", Exact(), "here")
    with pytest.raises(StorageError, match="second derivative"):
        torch.autograd.grad(output.square().sum(), gate, create_graph=True)
    changed = up * 1
    output = gated(gate, changed, F.silu, "silu", Exact(), "here")
    changed.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()
    if "int8" in codecs.names():
        broken = torch.full((3, 40), float("inf"), dtype=torch.float64, requires_grad=True)
        with pytest.raises(StorageError, match="here"):
            gated(broken, up, F.silu, "silu", codecs.get("int8"), "here")


def test_fake_tensors_and_autocast() -> None:
    with FakeTensorMode():
        gate, up = (torch.empty(30, 40, requires_grad=True) for _ in range(2))
        gated(gate, up, F.silu, "silu", Exact(), "here").sum().backward()
        assert gate.grad is not None
    stock, ours = _mlp("llama").float(), _stored(_mlp("llama").float())
    input = torch.randn(16, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        mine, theirs = ours(input), stock(input)
    assert torch.equal(mine, theirs)
    for one, other in zip(
        gradients(mine, [input, *ours.parameters()]), gradients(theirs, [input, *stock.parameters()]), strict=True
    ):
        assert (one - other).norm() < 0.02 * other.norm()
