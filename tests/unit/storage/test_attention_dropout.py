"""Dropout's masks come tile by tile as stock draws them, whatever way this build's generator fills a tensor."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from frostline.storage.codecs import Exact
from frostline.storage.operations import attention_dropout as source
from frostline.storage.operations import attention_scores
from frostline.storage.operations.attention import AttentionStorage, attention
from frostline.storage.operations.attention_dropout import Drawn, Noted, Recorded, fill_order

EXACT = AttentionStorage(Exact(), "inputs", "site")


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("order", ["as found", "serial"])
@pytest.mark.parametrize("dropout", [0.1, 0.5, 1e-3, 1 - 2**-30])
def test_parts_are_stocks_whole_mask(order: str, dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    if fill_order() == "seeded":
        pytest.skip("this build's generator takes a seed for each call")
    if order == "serial":
        monkeypatch.setattr(source, "fill_order", lambda: order)
    counts = [1, 70000, 33, 8, 40000]
    ours, stocks = generator(), generator()
    masks = Drawn(ours, sum(counts), dropout, torch.float32, 0)
    drawn = torch.cat([masks.take(count) for count in counts])
    assert drawn.equal(torch.empty(sum(counts)).bernoulli_(1 - dropout, generator=stocks).bool())
    assert ours.get_state().equal(stocks.get_state())


@pytest.mark.parametrize("counts", [[8, 16], [1, 70, 7], [100_001]])
def test_bits_give_the_masks_again(counts: list[int]) -> None:
    drawn = Drawn(generator(), sum(counts), 0.3, torch.float32, 0)
    recorded = Recorded(drawn, counts)
    first = [recorded.take(count).clone().bool() for count in counts]
    noted = Noted(recorded.bits)
    assert all(noted.take(count).bool().equal(mask) for count, mask in zip(counts, first, strict=True))
    assert recorded.bits.nbytes == sum(-(-count // 8) for count in counts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_a_call_takes_one_seed_a_small_mask_is_drawn_whole(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "fill_order", lambda: "seeded")
    masks = Drawn(generator(), 100, 0.3, dtype, 1200)
    drawn = torch.cat([masks.take(40), masks.take(60)])
    assert drawn.bool().equal(torch.empty(100, dtype=dtype).bernoulli_(0.7, generator=generator()).bool())


def test_where_a_call_takes_one_seed_a_large_mask_has_the_same_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "fill_order", lambda: "seeded")
    own, stocks = generator(), generator()
    masks = Drawn(own, 200_000, 0.3, torch.float32, 0)
    torch.empty(1).bernoulli_(0.7, generator=stocks)
    assert own.get_state().equal(stocks.get_state())
    first, second = masks.take(100_000), masks.take(100_000)
    assert not first.equal(second)
    assert abs(first.double().mean() - 0.7) < 0.01
    again = Drawn(generator(), 200_000, 0.3, torch.float32, 0)
    assert again.take(100_000).equal(first)
    assert not Drawn(generator(4), 200_000, 0.3, torch.float32, 0).take(100_000).equal(first)


@pytest.mark.parametrize("seeded", [False, True])
@pytest.mark.parametrize("how", [EXACT, AttentionStorage(Exact(), "inputs", "site", dropout="mask")])
def test_the_gradient_uses_the_forward_passs_mask(
    seeded: bool, how: AttentionStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With values = identity the output is the dropped probabilities: zero exactly where the gradient of v is."""
    if seeded:
        monkeypatch.setattr(source, "fill_order", lambda: "seeded")
    monkeypatch.setattr(attention_scores, "TILE_BYTES", 2000)
    torch.manual_seed(0)
    query, key = (torch.randn(2, 3, 24, 4) for _ in range(2))
    value = torch.eye(24).expand(2, 3, 24, 24).clone().requires_grad_()
    output = attention(query, key, value, storage=how, dropout=0.4)
    torch.rand(5)
    state = torch.get_rng_state()
    output.backward(torch.eye(24).expand_as(output))
    assert value.grad is not None
    assert torch.get_rng_state().equal(state)
    torch.testing.assert_close(value.grad, output.detach().mT)
    assert 0.2 < (output == 0).float().mean() < 0.6


def test_scores_in_a_range_keep_the_expectation() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 4, 16, 8) for _ in range(3))
    plain = F.scaled_dot_product_attention(query, key, value)

    def mean(run: Callable[[], Tensor]) -> Tensor:
        return torch.stack([run() for _ in range(300)]).mean(0)

    ours = mean(lambda: attention(query, key, value, storage=EXACT, dropout=0.2))
    assert (ours - plain).abs().max() < 0.15
