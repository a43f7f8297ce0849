"""Attention's output is stock's and its gradients are stock autograd's, whatever the tiles, the mask and the dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from frostline.errors import StorageError
from frostline.storage import codecs
from frostline.storage.codecs import Codec, Exact, Layout
from frostline.storage.operations import attention_scores
from frostline.storage.operations.attention import AttentionStorage, attention

torch.set_num_threads(1)
EXACT = AttentionStorage(Exact(), "inputs", "site")
BITS = AttentionStorage(Exact(), "inputs", "site", dropout="mask")
B, H = 2, 4


@dataclass(frozen=True)
class Half(Codec):
    """A codec that does not share memory, for these tests."""

    name: str = "bf16"
    bits: float = 16

    def encode(self, tensor: Tensor) -> tuple[Tensor, ...]:
        return (tensor.to(torch.bfloat16, copy=True),)

    def decode(self, code: Sequence[Tensor], layout: Layout) -> Tensor:
        empty = code[0].new_empty(0, dtype=layout.dtype)
        return empty.new_empty_strided(layout.shape, layout.stride).copy_(code[0])

    def size(self, shape: Sequence[int], dtype: torch.dtype) -> int:
        return 2 * torch.Size(shape).numel()

    def error_bound(self, tensor: Tensor) -> Tensor:
        return tensor.double().abs() / 256

    def finite(self, code: Sequence[Tensor]) -> Tensor:
        return code[0].isfinite().all()


def inputs(rows: int = 10, keys: int = 10, shared: int = 1, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return query, key and value as models make them: transposed views."""
    torch.manual_seed(rows + keys + shared)
    shapes = ((rows, H), (keys, H // shared), (keys, H // shared))
    return [torch.randn(B, n, h, 8, dtype=dtype).transpose(1, 2).requires_grad_() for n, h in shapes]


def eager(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, stay: Tensor) -> Tensor:
    """Attention in plain operations; `stay` multiplies the probabilities."""
    key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], 1) for t in (key, value))
    scores = query @ key.mT * query.shape[-1] ** -0.5
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    dead = (scores == -torch.inf).all(-1, keepdim=True)
    return (scores.masked_fill(dead, 0).softmax(-1).masked_fill(dead, 0) * stay) @ value


def drawn(query: Tensor, key: Tensor, dropout: float) -> Tensor:
    """Return what stock multiplies the probabilities by from here on in the global random stream."""
    noise = torch.empty(*query.shape[:3], key.shape[2], dtype=query.dtype)
    return noise.bernoulli_(1 - dropout).div_(1 - dropout) if dropout else torch.ones_like(noise)


def padding(rows: int, keys: int) -> Tensor:
    lengths = torch.tensor([keys, keys - 3])
    return (torch.arange(keys) < lengths[:, None])[:, None, None].expand(B, 1, rows, keys)


def with_dead_rows(rows: int, keys: int) -> Tensor:
    mask = padding(rows, keys).clone()
    mask[1, :, 2] = False
    return mask


def additive(rows: int, keys: int) -> Tensor:
    return torch.zeros(B, 1, rows, keys).masked_fill(~padding(rows, keys), torch.finfo(torch.float32).min)


def of_heads(rows: int, keys: int) -> Tensor:
    """A bias of each head's own, as ALiBi has, and dead rows by infinity."""
    bias = torch.linspace(-1, 0, H)[:, None, None] * torch.arange(keys).flip(0)
    return bias.expand(H, rows, keys).masked_fill(torch.arange(rows)[:, None] == 1, -torch.inf)


MASKS: dict[str, Callable[[int, int], Tensor | None] | None] = {
    "none": None,
    "causal": None,
    "padding": padding,
    "dead": with_dead_rows,
    "additive": additive,
    "heads": of_heads,
}


@pytest.mark.parametrize("mask_name", MASKS)
@pytest.mark.parametrize(("rows", "keys", "shared"), [(10, 10, 1), (10, 10, 2), (7, 13, 1), (13, 7, 4)])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("tile_bytes", [1 << 20, 300, 8])
def test_gradients_equal_plain_autograd(
    mask_name: str, rows: int, keys: int, shared: int, dropout: float, tile_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_scores, "TILE_BYTES", tile_bytes)
    tensors = inputs(rows, keys, shared)
    make = MASKS[mask_name]
    mask, causal = None if make is None else make(rows, keys), mask_name == "causal"
    slope = torch.randn(B, rows, H, 8, dtype=torch.float64).transpose(1, 2)
    for how in (EXACT, BITS):
        torch.manual_seed(5)
        expected = eager(*tensors, mask, causal, drawn(tensors[0], tensors[1], dropout))
        after = torch.get_rng_state()
        torch.manual_seed(5)
        output = attention(*tensors, mask, storage=how, dropout=dropout, is_causal=causal)
        assert torch.get_rng_state().equal(after)
        torch.testing.assert_close(output, expected)
        for got, want in zip(grads(output, tensors, slope), grads(expected, tensors, slope), strict=True):
            torch.testing.assert_close(got, want)
            assert got.isfinite().all()
        assert torch.get_rng_state().equal(after)


def grads(output: Tensor, tensors: Sequence[Tensor], slope: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output, list(tensors), slope)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("mask_name", ["none", "causal", "padding", "dead"])
@pytest.mark.parametrize("shared", [1, 2])
def test_the_output_without_dropout_is_stocks_bit_for_bit(dtype: torch.dtype, mask_name: str, shared: int) -> None:
    tensors = inputs(20, 20, shared, dtype)
    make = MASKS[mask_name]
    mask = None if make is None else make(20, 20)
    arguments: dict[str, Any] = {"is_causal": mask_name == "causal", "scale": 0.3}
    want = F.scaled_dot_product_attention(*tensors, mask, enable_gqa=shared > 1, **arguments)
    for repeat in (False, True):
        got = attention(*tensors, mask, storage=EXACT, repeat=repeat, **arguments)
        assert got.equal(want)
        assert got.stride() == want.stride()
    tolerance = {} if dtype != torch.bfloat16 else {"rtol": 0.02, "atol": 0.02}
    for ours, stocks in zip(grads(got, tensors, want), grads(want, tensors, want), strict=True):
        torch.testing.assert_close(ours, stocks, **tolerance)
        assert ours.stride() == stocks.stride()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("how", [EXACT, BITS])
def test_dropout_has_stocks_mask(dtype: torch.dtype, how: AttentionStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_scores, "TILE_BYTES", 4000)
    tensors, mask = inputs(20, 20, 1, dtype), padding(20, 20)
    torch.manual_seed(1)
    want = F.scaled_dot_product_attention(*tensors, mask, 0.2)
    after = torch.get_rng_state()
    torch.manual_seed(1)
    with torch.no_grad():
        quiet = attention(*tensors, mask, storage=how, dropout=0.2)
    assert torch.get_rng_state().equal(after)
    torch.manual_seed(1)
    got = attention(*tensors, mask, storage=how, dropout=0.2)
    assert torch.get_rng_state().equal(after)
    assert quiet.equal(got)
    tolerance = {} if dtype != torch.bfloat16 else {"rtol": 0.02, "atol": 0.02}
    torch.testing.assert_close(got, want, **tolerance)
    for ours, stocks in zip(grads(got, tensors, want), grads(want, tensors, want), strict=True):
        torch.testing.assert_close(ours, stocks, **tolerance)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("needs", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_the_gradients_that_are_needed(dropout: float, needs: tuple[bool, ...]) -> None:
    tensors = [t.detach().requires_grad_(need) for t, need in zip(inputs(), needs, strict=True)]
    torch.manual_seed(1)
    want = torch.autograd.grad(
        F.scaled_dot_product_attention(*tensors, None, dropout).sum(), tensors[needs.index(True)]
    )
    torch.manual_seed(1)
    attention(*tensors, storage=EXACT, dropout=dropout).sum().backward()
    assert [t.grad is not None for t in tensors] == list(needs)
    torch.testing.assert_close(tensors[needs.index(True)].grad, want[0])


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("shared", [1, 2])
@pytest.mark.parametrize("tile_bytes", [1 << 20, 300])
def test_a_coded_input_gives_the_gradients_at_its_decoded_values(
    dropout: float, shared: int, tile_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_scores, "TILE_BYTES", tile_bytes)
    tensors = inputs(shared=shared)
    rounded = [t.detach().bfloat16().double().requires_grad_() for t in tensors]
    torch.manual_seed(1)
    want = torch.autograd.grad(attention(*rounded, storage=EXACT, dropout=dropout).sum(), rounded)
    torch.manual_seed(1)
    output = attention(*tensors, storage=AttentionStorage(Half(), "inputs", "site"), dropout=dropout)
    for _ in range(2):  # the second time, too: the codes are as they were
        got = torch.autograd.grad(output.sum(), tensors, retain_graph=True)
        for ours, other in zip(got, want, strict=True):
            torch.testing.assert_close(ours, other)


def saved_by(run: Callable[[], Any]) -> list[Tensor]:
    found: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: found.append(t) or t, lambda t: t):
        run()
    return found


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_it_keeps_the_codes_and_the_generators_state(dropout: float) -> None:
    tensors = inputs(64, 64)
    for how, noise in ((EXACT, 5056), (BITS, B * H * 64 * 64 // 8)):
        kept = saved_by(lambda how=how: attention(*tensors, storage=how, dropout=dropout))
        extra = [] if dropout == 0 else [noise]
        assert [t.nbytes for t in kept if t.dtype == torch.uint8] == extra
        assert {t.data_ptr() for t in kept if t.dtype != torch.uint8} == {t.data_ptr() for t in tensors}
    kept = saved_by(lambda: attention(*tensors, storage=AttentionStorage(Half(), "inputs", "s"), dropout=dropout))
    assert sum(t.nbytes for t in kept) == 3 * 2 * tensors[0].numel() + (5056 if dropout else 0)
    with torch.no_grad():
        assert not saved_by(lambda: attention(*tensors, storage=EXACT, dropout=dropout))
    assert not saved_by(lambda: attention(*(t.detach() for t in tensors), storage=EXACT, dropout=dropout))


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("shared", [1, 2])
@pytest.mark.parametrize("how", [EXACT, BITS, AttentionStorage(Half(), "inputs", "site")])
def test_fake_tensors_keep_the_same_bytes(dropout: float, shared: int, how: AttentionStorage) -> None:
    real = saved_by(lambda: attention(*inputs(24, 24, shared), storage=how, dropout=dropout))
    with FakeTensorMode():
        tensors = inputs(24, 24, shared)
        output = torch.empty(0)

        def run() -> None:
            nonlocal output
            output = attention(*tensors, storage=how, dropout=dropout)

        kept = saved_by(run)
        found = torch.autograd.grad(output.sum(), tensors)
    assert [t.nbytes for t in kept] == [t.nbytes for t in real]
    assert [t.shape for t in found] == [t.shape for t in tensors]


def test_autocast_gives_stocks_output() -> None:
    tensors, mask = inputs(20, 20, dtype=torch.float32), additive(20, 20)
    with torch.autocast("cpu", torch.bfloat16):
        want = F.scaled_dot_product_attention(*tensors, mask)
        got = attention(*tensors, mask, storage=EXACT)
        torch.manual_seed(0)
        dropped = attention(*tensors, mask, storage=EXACT, dropout=0.1)
        torch.manual_seed(0)
        stocks = F.scaled_dot_product_attention(*tensors, mask, 0.1)
    assert got.dtype == dropped.dtype == torch.bfloat16
    assert got.equal(want)
    torch.testing.assert_close(dropped, stocks, rtol=0.02, atol=0.02)
    slope = torch.randn_like(got)
    for ours, other in zip(grads(got, tensors, slope), grads(want, tensors, slope), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, other, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_what_is_not_understood_is_stocks_affair(dropout: float) -> None:
    query, key, value = inputs()
    flat = [t.detach().flatten(0, 1).requires_grad_() for t in (query, key, value)]
    for tensors in ([query[:1], key, value], flat, [query, key, value[..., :0]]):
        torch.manual_seed(1)
        want = F.scaled_dot_product_attention(*tensors, None, dropout)
        torch.manual_seed(1)
        assert attention(*tensors, storage=EXACT, dropout=dropout).equal(want)
    assert attention(query, key, value, storage=EXACT, dropout=1.0).count_nonzero() == 0
    with pytest.raises(RuntimeError, match="dtype"):
        attention(query, key.float(), value, storage=EXACT, dropout=dropout)


def test_values_of_another_width() -> None:
    query, key, value = inputs()
    value = torch.randn(B, H, 10, 5, dtype=torch.float64, requires_grad=True)
    for dropout in (0.0, 0.3):
        torch.manual_seed(1)
        want = F.scaled_dot_product_attention(query, key, value, None, dropout)
        torch.manual_seed(1)
        got = attention(query, key, value, storage=EXACT, dropout=dropout)
        tensors = [query, key, value]
        for ours, other in zip(grads(got, tensors, want), grads(want, tensors, want), strict=True):
            torch.testing.assert_close(ours, other)


def test_a_mask_that_learns_is_stocks_affair() -> None:
    tensors, mask = inputs(), torch.randn(1, H, 10, 10, dtype=torch.float64, requires_grad=True)
    attention(*tensors, mask, storage=EXACT, dropout=0.1).sum().backward()
    assert mask.grad is not None


def test_a_change_in_place_is_noticed() -> None:
    tensors = [t.detach().clone().requires_grad_() for t in inputs()]
    changed = tensors[0] * 1
    output = attention(changed, *tensors[1:], storage=EXACT)
    with torch.no_grad():
        changed.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_double_backward_is_refused() -> None:
    tensors = inputs()
    output = attention(*tensors, storage=EXACT)
    with pytest.raises(StorageError, match="second derivative"):
        torch.autograd.grad(output.square().sum(), tensors[0], create_graph=True)


def test_what_is_not_finite_is_named() -> None:
    query, key, value = inputs()
    key = key.detach().index_fill(2, torch.tensor(0), torch.inf).requires_grad_()
    with pytest.raises(StorageError, match=r"site\.key"):
        attention(query, key, value, storage=AttentionStorage(Half(), "inputs", "site"))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_kept_probabilities(dropout: float) -> None:
    how = AttentionStorage(codecs.get("fixed3.4"), "probabilities", "site")
    tensors = inputs(dtype=torch.float32)
    torch.manual_seed(1)
    want = F.scaled_dot_product_attention(*tensors, None, dropout)
    stocks = torch.autograd.grad(want.square().sum(), tensors)
    torch.manual_seed(1)
    outputs: list[Tensor] = []
    kept = saved_by(lambda: outputs.append(attention(*tensors, storage=how, dropout=dropout)))
    torch.testing.assert_close(outputs[0], want)
    inputs_size = 3 * how.codec.size(tensors[0].shape, torch.float32)
    tile_size = codecs.get("fixed0.8").size((H, 10, 10), torch.float32)
    assert sum(t.nbytes for t in kept) == inputs_size + B * tile_size + (5056 if dropout else 0)
    for ours, other in zip(torch.autograd.grad(outputs[0].square().sum(), tensors), stocks, strict=True):
        assert F.cosine_similarity(ours.flatten(), other.flatten(), 0) > 0.99
