"""Cross-entropy for large vocabularies: keeps the logits that the model returns anyway, and nothing else.

Stock PyTorch keeps log-softmax, as large as the logits in float32, and makes two gradients of that size in backward.
Here the rows go through in groups that stay in cache, and the backward pass makes softmax anew. Beyond the logits,
2048 x 32000 in bfloat16: a peak of 143 MB, of which 131 are the gradient, for stock's 786 MB
(`python benchmarks/storage/cross_entropy.py`).

    d loss / d logits = weight of the row (softmax(logits) - (1 - s) onehot(target) - s / classes),  s = label smoothing
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from frostline.anatomy.target import device_type
from frostline.errors import StorageError
from frostline.storage.first_order import first_order
from frostline.storage.precision import without_autocast

Reduction = Literal["mean", "sum", "none"]

_CHUNK = 1 << 20  # values; 4 MB of float32, within the cache and yet few calls


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return what `torch.nn.functional.cross_entropy(logits.float(), target, ...)` returns, bit for bit.

    Args:
        logits: (rows, classes), floating point; 16-bit ones are widened to float32 a few rows at a time.
        target: (rows,), class indices, int64.
        ignore_index: rows of this target count nothing.
        label_smoothing: from 0 to 1.
        reduction: over the rows.

    Raises:
        StorageError: the target holds probabilities, or the shapes do not fit; names them.
    """
    if target.is_floating_point() or logits.ndim != 2 or target.shape != logits.shape[:1]:
        raise StorageError(
            "cross-entropy in chunks takes logits (rows, classes) and class indices (rows,), not "
            f"{tuple(logits.shape)} and {tuple(target.shape)} of {target.dtype}; use "
            "torch.nn.functional.cross_entropy for others."
        )
    loss: Tensor = _cross_entropy(logits, target, ignore_index, label_smoothing, reduction)
    return loss


def causal_lm_loss(
    logits: Tensor,
    labels: Tensor | None,
    vocab_size: int,
    num_items_in_batch: Tensor | int | None = None,
    ignore_index: int = -100,
    shift_labels: Tensor | None = None,
    **_: Any,
) -> Tensor:
    """Return the loss of next tokens, as transformers' ForCausalLMLoss; `model.loss_function = causal_lm_loss`.

    Args:
        logits: (..., tokens, vocabulary).
        labels: (..., tokens), not shifted; unused where `shift_labels` is given.
        vocab_size: of the logits.
        num_items_in_batch: what the sum over tokens is divided by; None is the mean over tokens that count.
        ignore_index: tokens of this label count nothing.
        shift_labels: (..., tokens), the next token of each.
    """
    if shift_labels is None and labels is not None:
        shift_labels = F.pad(labels, (0, 1), value=ignore_index)[..., 1:]
    return masked_lm_loss(logits, shift_labels, vocab_size, num_items_in_batch, ignore_index)


def masked_lm_loss(
    logits: Tensor,
    labels: Tensor | None,
    vocab_size: int,
    num_items_in_batch: Tensor | int | None = None,
    ignore_index: int = -100,
    **_: Any,
) -> Tensor:
    """Return the loss of labels that stand where their logits do, as transformers' ForMaskedLMLoss.

    Raises:
        StorageError: there are no labels.
    """
    if labels is None:
        raise StorageError("the loss of a language model needs `labels` or `shift_labels`; neither was given.")
    target = labels.reshape(-1).to(logits.device)
    rows = logits.reshape(-1, vocab_size)
    if num_items_in_batch is None:
        return cross_entropy(rows, target, ignore_index=ignore_index)
    loss = cross_entropy(rows, target, ignore_index=ignore_index, reduction="sum")
    return loss / (num_items_in_batch.to(loss.device) if torch.is_tensor(num_items_in_batch) else num_items_in_batch)


def in_chunks(loss: Callable[..., Any]) -> Callable[..., Tensor] | None:
    """Return the loss above that stands for transformers' `loss` (a model's `loss_function`), or None."""
    name = f"{loss.__module__}.{getattr(loss, '__qualname__', '')}"
    return {
        "transformers.loss.loss_utils.ForCausalLMLoss": causal_lm_loss,
        "transformers.loss.loss_utils.ForMaskedLMLoss": masked_lm_loss,
    }.get(name)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, ignore_index: int, label_smoothing: float, reduction: Reduction
    ) -> Tensor:
        ctx.ignore_index, ctx.label_smoothing, ctx.reduction = ignore_index, label_smoothing, reduction
        ctx.save_for_backward(logits, target)
        losses, smooth = [], []
        with without_autocast(logits):
            for piece, to in _pieces(logits, target):
                log_probabilities = _wide(piece).log_softmax(-1)
                losses.append(F.nll_loss(log_probabilities, to, ignore_index=ignore_index, reduction="none"))
                if label_smoothing:
                    smooth.append(-log_probabilities.sum(-1))
            ignored = target == ignore_index
            # nll_loss of one class adds the rows up in the order in which it would have done so itself.
            only = torch.where(ignored, -100, 0)
            loss = F.nll_loss(-torch.cat(losses)[:, None], only, reduction=reduction)
            if label_smoothing:
                spread = torch.cat(smooth).masked_fill_(ignored, 0)
                if reduction != "none":
                    spread = spread.sum() / ((~ignored).sum() if reduction == "mean" else 1)
                loss = (1 - label_smoothing) * loss + label_smoothing / logits.shape[1] * spread
        return loss

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, target = ctx.saved_tensors
        smoothing, counts = ctx.label_smoothing, target != ctx.ignore_index
        weights = grad / counts.sum() if ctx.reduction == "mean" else grad
        weights = torch.where(counts, weights, 0)[:, None]  # a row that does not count has no gradient, even if 1 / 0
        at = torch.where(counts, target, 0)[:, None]
        grad_logits = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
        with without_autocast(logits):
            for piece, to, weight, out in _pieces(logits, at, weights, grad_logits):
                wide = _wide(piece)
                made = torch.ops.aten._softmax.out(wide, -1, False, out=out) if wide is piece else wide.softmax(-1)
                if smoothing:
                    made.sub_(smoothing / logits.shape[1])
                made.scatter_add_(1, to, made.new_full((1, 1), smoothing - 1).expand_as(to))
                torch.mul(made, weight, out=out)
        return grad_logits, None, None, None, None


def _wide(piece: Tensor) -> Tensor:
    return piece.float() if piece.dtype.itemsize < 4 else piece


def _pieces(logits: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield rows of each tensor, a few megabytes of logits at a time (on an accelerator 16 times as many)."""
    values = _CHUNK if device_type(logits) == "cpu" else 16 * _CHUNK
    rows = max(1, values // max(1, logits.shape[1]))
    yield from zip(*(tensor.split(rows) for tensor in (logits, *others)), strict=True)


_cross_entropy: Any = _CrossEntropy.apply
