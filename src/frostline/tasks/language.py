"""Texts as the tokens of a causal language model, and whether a model is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from frostline.errors import ConfigError
from frostline.models import require_tokens

if TYPE_CHECKING:
    from frostline.models import Loaded

PIECE = 2**15
"""Characters that are tokenized at once, up to the end of a line: a tokenizer takes hundreds of bytes for each."""


def joined(loaded: Loaded, texts: Sequence[str]) -> tuple[Tensor, int]:
    """Return documents as one row of tokens, the tokenizer's end-of-text token between them if it has one, and how many
    of the tokens are the unknown one.
    """
    end = loaded.processor.eos_token_id
    between = torch.tensor([] if end is None else [end], dtype=torch.int32)
    parts: list[Tensor] = []
    unknown = 0
    for text in texts:
        ids, missing = tokens_of(loaded, text)
        parts += [between, ids] if parts else [ids]
        unknown += missing
    return torch.cat(parts), unknown


def tokens_of(loaded: Loaded, text: str) -> tuple[Tensor, int]:
    """Return a text's tokens, nothing added, shape (tokens,), int32, and how many are the unknown one.

    Raises:
        ConfigError: the tokenizer has tokens that the model has not.
    """
    parts = [torch.empty(0, dtype=torch.int32)]
    for piece in _pieces(text):
        found = loaded.processor(piece, add_special_tokens=False, verbose=False)["input_ids"]
        parts.append(torch.tensor(found, dtype=torch.int32))
    ids = torch.cat(parts)
    if len(ids):
        require_tokens(loaded, [[int(ids.max())]])
    missing = loaded.processor.unk_token_id
    return ids, 0 if missing is None else int((ids == missing).sum())


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + PIECE
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        yield text[start:end]
        start = end


def require_causal(name: str, model: Any) -> None:
    """Raise ConfigError for a model whose guess at a token depends on tokens behind it, as an encoder's does."""
    ids = torch.tensor([[0, 0, 0], [0, 0, 1]])
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        first, second = model(input_ids=ids, use_cache=False).logits[:, 0]
    model.train(was_training)
    # The two rows are the same up to the third token; what a batch's rows differ by otherwise is rounding.
    if not torch.allclose(first, second, rtol=1e-3, atol=1e-4):
        raise ConfigError(
            f"model {name!r} ({model.config.model_type}) sees the tokens behind the one it is asked for: no causal "
            "language model. Give a decoder, such as GPT-2 or Llama."
        )
