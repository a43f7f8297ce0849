"""Attention's tiles in several threads: the same values as in one, and nobody else's settings changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from frostline.storage.codecs import Exact
from frostline.storage.operations import attention_parts, attention_scores
from frostline.storage.operations.attention import AttentionStorage, attention
from frostline.storage.operations.attention_call import Setting
from frostline.storage.operations.attention_parts import thread_count
from frostline.storage.operations.attention_workers import each


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(attention_parts, "_SMALL", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def inputs(shared: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(4, 24, h, 8).transpose(1, 2).requires_grad_() for h in (4, 4 // shared, 4 // shared)]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("shared", [1, 2])
@pytest.mark.parametrize("tile_bytes", [5000, 700])
@pytest.mark.parametrize("how", ["replay", "mask"])
def test_threads_change_nothing(
    dropout: float, shared: int, tile_bytes: int, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_scores, "TILE_BYTES", tile_bytes)
    tensors = inputs(shared)
    storage = AttentionStorage(Exact(), "inputs", "site", how)

    def run() -> list[Tensor]:
        torch.manual_seed(2)
        output = attention(*tensors, storage=storage, dropout=dropout)
        state = torch.get_rng_state()
        return [output, *torch.autograd.grad(output.square().sum(), tensors), state]

    several = run()
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    for ours, one in zip(several, run(), strict=True):
        torch.testing.assert_close(ours, one)


def test_more_threads_only_where_their_buffers_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_scores, "TILE_BYTES", 5000)
    query, key, _ = inputs(1)
    assert thread_count(query, key, Setting(1.0), in_order=True) == 2
    monkeypatch.setattr(attention_scores, "TILE_BYTES", 1 << 21)
    long = torch.empty(1, 2, 2000, 4)
    assert thread_count(long, long, Setting(1.0), in_order=False) == 1


def test_a_workers_error_arrives() -> None:
    def start() -> Callable[[int], None]:
        def work(item: int) -> None:
            if item == 3:
                raise ValueError("three")

        return work

    with pytest.raises(ValueError, match="three"):
        each(range(5), start, 2)


def test_workers_fetch_in_order_and_compute_in_threads_of_their_own() -> None:
    fetched: list[int] = []
    seen: list[tuple[int, int, bool, str]] = []

    def items() -> Iterator[int]:
        for number in range(20):
            fetched.append(number)
            yield number

    def start() -> Callable[[int], None]:
        return lambda item: seen.append(
            (item, torch.get_num_threads(), torch.is_grad_enabled(), threading.current_thread().name)
        )

    each(items(), start, 2)
    assert fetched == list(range(20)) == sorted(item for item, *_ in seen)
    assert all(count == 1 and not grad and "attention" in name for _, count, grad, name in seen)
    other: list[int] = []
    thread = threading.Thread(target=lambda: other.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert torch.get_num_threads() == other[0] == 2


def test_inference_mode_goes_along() -> None:
    tensors = [t.detach() for t in inputs(1)]
    with torch.inference_mode():
        output = attention(*tensors, storage=AttentionStorage(Exact(), "inputs", "site"), dropout=0.5)
    assert output.is_inference()
