"""Blocks of tokens, and what is kept of a model's guesses at the next ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from frostline.tasks.base import IGNORE_INDEX


class Blocks(Dataset[dict[str, Tensor]]):
    """Blocks of tokens as a Trainer takes them: a row is {"input_ids", "labels"}, the same tokens in both, but that
    nothing predicts a block's first: it has no label, or else transformers would count it in the mean loss.

    Args:
        ids: tokens of one text, shape (tokens,), of any type of integer.
        length: of a block.
        overlap: with one, a block begins with the last token of the one before it, and what is left over is a shorter
            block: each token but the first is predicted once. Without, no token is in two blocks, and what is left over
            is left out.
    """

    def __init__(self, ids: Tensor, length: int, *, overlap: bool) -> None:
        self._ids, self._length, self._overlap = ids, length, overlap
        self._step = length - 1 if overlap else length

    def __len__(self) -> int:
        """Return the number of blocks."""
        count = len(self._ids)
        return math.ceil(max(0, count - 1) / self._step) if self._overlap else count // self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return a block, shape (tokens,)."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        ids = self._ids[index * self._step : index * self._step + self._length].long()
        labels = ids.clone()
        labels[0] = IGNORE_INDEX
        return {"input_ids": ids, "labels": labels}


def collate(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return a batch of blocks; behind a shorter one stand tokens whose labels are `IGNORE_INDEX`.

    No attention mask: a causal model's tokens do not see what stands behind them.
    """
    found = {}
    for name, value in (("input_ids", 0), ("labels", IGNORE_INDEX)):
        parts = [row[name] for row in rows]
        found[name] = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=value)
    return found


def token_scores(logits: Any, labels: Tensor) -> Tensor:
    """Return what is kept of a batch's logits: of each row the summed loss, how many tokens were right, and how many
    there were.

    A row at a time, so that never more than one row's log-probabilities are there besides the logits.

    Args:
        logits: shape (rows, tokens, vocabulary), or a tuple that begins with them.
        labels: shape (rows, tokens), `IGNORE_INDEX` where nothing is asked.

    Returns:
        Float64, shape (rows, 3); the loss in nats.
    """
    logits = logits[0] if isinstance(logits, tuple) else logits
    found = []
    for row, wanted in zip(logits[:, :-1], labels[:, 1:], strict=True):
        asked = wanted != IGNORE_INDEX
        loss = functional.cross_entropy(row.float(), wanted, ignore_index=IGNORE_INDEX, reduction="sum")
        right = ((row.argmax(-1) == wanted) & asked).sum()
        found.append(torch.stack([loss.double(), right.double(), asked.sum().double()]))
    return torch.stack(found)
