"""A tokenizer of single characters, as an ordinary Hugging Face tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PADDING, UNKNOWN, END = "[PAD]", "[UNK]", "[END]"
"""Tokens 0, 1 and 2; the last stands between texts."""


def character_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose tokens are the characters that occur, line ends among them, by their code points; any
    other is `UNKNOWN`.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    factory: Any = PreTrainedTokenizerFast  # which carries no types
    characters = sorted(set().union(*texts))
    vocabulary = {token: number for number, token in enumerate([PADDING, UNKNOWN, END, *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")  # a dot would leave line ends out
    tokenizer.decoder = decoders.Fuse()
    wrapped: PreTrainedTokenizerFast = factory(
        tokenizer_object=tokenizer,
        pad_token=PADDING,
        unk_token=UNKNOWN,
        eos_token=END,
        clean_up_tokenization_spaces=False,
    )
    return wrapped
