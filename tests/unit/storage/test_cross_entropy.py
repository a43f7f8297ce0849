"""Cross-entropy in chunks: stock's loss to the bit, stock's gradient, and nothing kept but the logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.loss.loss_utils import ForCausalLMLoss, ForMaskedLMLoss

from frostline.errors import StorageError
from frostline.storage.operations import cross_entropy as module
from frostline.storage.operations.cross_entropy import causal_lm_loss, cross_entropy, in_chunks, masked_lm_loss
from storage_checks import gradients, saved_bytes


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 64)


def _example(dtype: torch.dtype = torch.float64, rows: int = 23, classes: int = 11) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(rows, classes, generator=generator)).to(dtype).requires_grad_()
    target = torch.randint(classes, (rows,), generator=generator)
    target[[1, -1]] = -100
    return logits, target


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignore_index", [-100, 0, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_loss_and_gradient_equal_stock(reduction: Any, smoothing: float, ignore_index: int, dtype: torch.dtype) -> None:
    logits, target = _example(dtype)
    target = target.where(target >= 0, ignore_index)
    options: dict[str, Any] = {
        "reduction": reduction,
        "label_smoothing": smoothing,
        "ignore_index": ignore_index,
    }
    mine, theirs = cross_entropy(logits, target, **options), F.cross_entropy(logits, target, **options)
    if smoothing:
        torch.testing.assert_close(mine, theirs)
    else:
        assert torch.equal(mine, theirs)
    torch.testing.assert_close(gradients(mine, [logits]), gradients(theirs, [logits]))


def test_gradcheck() -> None:
    logits, target = _example(rows=5, classes=4)
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, target, label_smoothing=0.2), (logits,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_widened(dtype: torch.dtype) -> None:
    logits, target = _example(dtype)
    mine, theirs = cross_entropy(logits, target), F.cross_entropy(logits.float(), target)
    assert mine.dtype == torch.float32
    assert torch.equal(mine, theirs)
    one, other = gradients(mine, [logits]), gradients(theirs, [logits])
    assert one[0].dtype == dtype
    torch.testing.assert_close(one, other)


def test_a_large_example_over_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 1 << 16)
    logits, target = _example(torch.float32, rows=700, classes=1000)
    mine, theirs = cross_entropy(logits, target), F.cross_entropy(logits, target)
    assert torch.equal(mine, theirs)
    torch.testing.assert_close(gradients(mine, [logits]), gradients(theirs, [logits]))


def test_only_the_logits_are_kept() -> None:
    logits, target = _example(torch.float32, rows=100, classes=50)
    head = nn.Identity()
    assert saved_bytes(lambda: cross_entropy(logits, target), head) == 100 * 50 * 4 + 100 * 8
    assert saved_bytes(lambda: F.cross_entropy(logits, target), head) >= 100 * 50 * 4
    (saved, _) = cross_entropy(logits, target).grad_fn.saved_tensors
    assert saved.data_ptr() == logits.data_ptr()


def test_nothing_counts() -> None:
    logits, _ = _example()
    target = torch.full((23,), -100)
    mine = cross_entropy(logits, target)
    assert mine.isnan()
    assert F.cross_entropy(logits, target).isnan()
    (grad,) = gradients(mine, [logits])
    assert torch.equal(grad, torch.zeros_like(grad))


@pytest.mark.parametrize("count", [None, 7, torch.tensor(7)])
@pytest.mark.parametrize("shifted", [False, True])
def test_causal_loss_equals_transformers(count: Any, shifted: bool) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 9, 11, requires_grad=True)
    labels = torch.randint(11, (2, 9))
    labels[0, :3] = -100
    options = {"vocab_size": 11, "num_items_in_batch": count, "shift_labels": labels if shifted else None}
    mine = causal_lm_loss(logits, None if shifted else labels, **options)
    theirs = ForCausalLMLoss(logits, None if shifted else labels, **options)
    assert torch.equal(mine, theirs)
    torch.testing.assert_close(gradients(mine, [logits]), gradients(theirs, [logits]))
    if not shifted:
        torch.testing.assert_close(
            masked_lm_loss(logits, labels, 11, count), ForMaskedLMLoss(logits, labels, 11, count)
        )


def test_a_causal_model_takes_the_loss() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    model = LlamaForCausalLM(config)
    batch = {"input_ids": torch.randint(50, (2, 8)), "labels": torch.randint(50, (2, 8))}
    theirs = model(**batch)
    expected = gradients(theirs.loss, list(model.parameters()))
    model.loss_function = causal_lm_loss
    mine = model(**batch)
    assert torch.equal(mine.loss, theirs.loss)
    torch.testing.assert_close(gradients(mine.loss, list(model.parameters())), expected)


def test_other_shapes_are_refused() -> None:
    logits, target = _example()
    with pytest.raises(StorageError, match="class indices"):
        cross_entropy(logits, torch.rand(23, 11))
    with pytest.raises(StorageError, match=r"\(23, 11\) and \(22,\)"):
        cross_entropy(logits, target[:-1])
    with pytest.raises(StorageError, match="shift_labels"):
        causal_lm_loss(logits, None, 11)
    with pytest.raises(IndexError, match="out of bounds"):
        cross_entropy(logits, target.where(target >= 0, 11))


def test_a_change_in_place_is_detected() -> None:
    base, target = _example()
    logits = base * 1
    loss = cross_entropy(logits, target)
    logits.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_second_derivative_is_refused() -> None:
    logits, target = _example()
    with pytest.raises(StorageError, match="second derivative"):
        torch.autograd.grad(cross_entropy(logits, target).square(), logits, create_graph=True)


def test_no_gradient_keeps_nothing() -> None:
    logits, target = _example()
    with torch.no_grad():
        assert cross_entropy(logits, target).grad_fn is None
    assert saved_bytes(lambda: cross_entropy(logits.detach(), target), nn.Identity()) == 0


def test_views_fake_tensors_and_autocast() -> None:
    base = torch.randn(4, 6, 11, requires_grad=True)
    target = torch.randint(11, (4, 5))
    mine = causal_lm_loss(base[:, 1:], target, 11, shift_labels=target)
    theirs = ForCausalLMLoss(base[:, 1:].contiguous(), target, 11, shift_labels=target)
    assert torch.equal(mine, theirs)
    torch.testing.assert_close(gradients(mine, [base]), gradients(theirs, [base]))
    with torch.autocast("cpu", torch.bfloat16):
        logits, target = _example(torch.bfloat16)
        assert cross_entropy(logits, target).dtype == torch.float32
    with FakeTensorMode():
        logits = torch.empty(30, 11, requires_grad=True)
        cross_entropy(logits, torch.empty(30, dtype=torch.int64)).backward()
        assert logits.grad is not None


def test_losses_are_told_by_function() -> None:
    assert in_chunks(ForCausalLMLoss) is causal_lm_loss
    assert in_chunks(ForMaskedLMLoss) is masked_lm_loss
    assert in_chunks(F.cross_entropy) is None
