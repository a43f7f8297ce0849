"""A tiny causal language model over characters, for the tests of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEXT = "".join(f"the {word} sat on the {place}.\n" for word in ("cat", "dog", "hen") for place in ("mat", "bed", "hay"))


def make_language_model(folder: Path, text: str = TEXT, kind: str = "gpt2", **changes: Any) -> Path:
    """Write a random GPT-2 or Llama of 2 blocks and 16 positions, its tokenizer one of the text's characters."""
    import torch
    import transformers

    from frostline.tasks.characters import character_tokenizer

    tokenizer = character_tokenizer([text])
    values: dict[str, Any] = {"vocab_size": len(tokenizer), "max_position_embeddings": 16, "num_hidden_layers": 2}
    values |= {"hidden_size": 16, "num_attention_heads": 2, "pad_token_id": 0, "initializer_range": 0.2}
    values |= {"bos_token_id": None, "eos_token_id": None, **changes}
    torch.manual_seed(3)
    if kind == "gpt2":
        model: Any = transformers.GPT2LMHeadModel(transformers.GPT2Config(**values))
    else:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(intermediate_size=32, **values))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
