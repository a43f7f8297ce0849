"""From the words of sentences to tokens, and from what is said of tokens back to words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from transformers import AutoTokenizer, BatchEncoding

from frostline.models import require_tokens

if TYPE_CHECKING:
    from frostline.models import Loaded


def tokenizer_of_words(source: str) -> Any:
    """Return the tokenizer of a folder or Hub name, such that words give the tokens that they have in a text."""
    found = AutoTokenizer.from_pretrained(source)
    words = found([["a", "a"]], is_split_into_words=True)["input_ids"][0]
    if words != found("a a")["input_ids"]:  # RoBERTa's and its like count a blank to the word behind it
        found = AutoTokenizer.from_pretrained(source, add_prefix_space=True)
    return found


def tokens_of_words(loaded: Loaded, words: Sequence[Sequence[str]], length: int | None) -> BatchEncoding:
    """Return sentences as tokens, cut at `length` unless it is None."""
    cut = {"truncation": length is not None, "max_length": length, "verbose": False}
    found: BatchEncoding = loaded.processor([list(each) for each in words], is_split_into_words=True, **cut)
    require_tokens(loaded, found["input_ids"])
    return found


def first_tokens(encoded: BatchEncoding, row: int, count: int) -> list[int | None]:
    """Return where each word's first token is; None for one that was cut off or has none."""
    found: list[int | None] = [None] * count
    for position, word in enumerate(encoded.word_ids(row)):
        if word is not None and found[word] is None:
            found[word] = position
    return found


def tags_of_words(kept: Any, firsts: Sequence[Sequence[int | None]], outside: int) -> NDArray[Any]:
    """Return each row's tags out of those of its tokens; a word without a token has the one for no entity."""
    found = np.empty(len(firsts), dtype=object)
    for row, places in enumerate(firsts):
        found[row] = [outside if place is None else int(kept[row][place]) for place in places]
    return found
