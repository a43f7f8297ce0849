"""Tiny random models of every architecture that docs/models.md speaks of, each with a batch that has labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import peft
import torch
import transformers
from torch import Tensor

VOCABULARY, TOKENS, EXAMPLES, BLOCKS = 60, 8, 4, 2

_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 128,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
}
_TEXT: dict[str, Any] = {"vocab_size": VOCABULARY, "max_position_embeddings": 24}
_PIXELS: dict[str, Any] = {"image_size": 16, "patch_size": 8}
_SPECIAL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_DECODER: dict[str, Any] = {"num_key_value_heads": 2, **_SPECIAL, **_SIZES, **_TEXT}
_STACKS: dict[str, Any] = {
    "d_model": 32,
    **{
        f"{part}_{what}": size
        for part in ("encoder", "decoder")
        for what, size in (("layers", BLOCKS), ("ffn_dim", 128))
    },
    **{f"{part}_attention_heads": 4 for part in ("encoder", "decoder")},
    "decoder_start_token_id": 2,
    **_SPECIAL,
}
_T5: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 128, "num_layers": BLOCKS, "num_heads": 4}
_DISENTANGLED: dict[str, Any] = {  # as DeBERTa-v3's checkpoints have it
    "relative_attention": True,
    "position_buckets": 4,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "type_vocab_size": 0,
    "problem_type": "single_label_classification",  # else it looks at the labels' values for it
}
_BOTH = ("hidden_dropout_prob", "attention_probs_dropout_prob")


@dataclass(frozen=True, slots=True)
class Architecture:
    """How a tiny model is made.

    Attributes:
        model: class in transformers; its config's class follows from the family.
        config: class of the config.
        sizes: what the config is made with.
        dropouts: the config's names for how much is dropped.
        reads: `tokens`, `pixels` or `sounds`.
        labels: one a `text`, or one a `token`.
        blocks: in all stacks together.
        end: the token with which a text ends, and which is nowhere else, for what reads it.
        adapters: of PEFT, in which the model is wrapped: the config's class, and what it is made with.
    """

    model: str
    config: str
    sizes: dict[str, Any]
    dropouts: tuple[str, ...]
    reads: str = "tokens"
    labels: str = "text"
    blocks: int = BLOCKS
    end: int | None = None
    adapters: tuple[str, dict[str, Any]] | None = None

    def make(self, dropout: float = 0.0, seed: int = 0, **more: Any) -> Any:
        """Return the model in training mode, the same one for the same seed."""
        torch.manual_seed(seed)
        config = getattr(transformers, self.config)(**{**self.sizes, **dict.fromkeys(self.dropouts, dropout), **more})
        model = getattr(transformers, self.model)(config)
        if self.adapters is not None:
            kind, settings = self.adapters
            model = peft.get_peft_model(model, getattr(peft, kind)(target_modules=["query", "value"], **settings))
        return model.train()

    def batch(self, dtype: torch.dtype = torch.float32, index: int = 0, examples: int = EXAMPLES) -> dict[str, Tensor]:
        """Return the batch of that index: every token is attended to."""
        generator = torch.Generator().manual_seed(1000 + index)
        labels = torch.randint(0, 2, (examples,), generator=generator)
        if self.reads == "pixels":
            side = self.sizes["image_size"]
            pixels = torch.randn(examples, 3, side, side, generator=generator)
            return {"pixel_values": pixels.to(dtype), "labels": labels}
        if self.reads == "sounds":
            sounds = torch.randn(examples, 8, 2 * self.sizes["max_source_positions"], generator=generator)
            return {"input_features": sounds.to(dtype), "labels": labels}
        tokens = torch.randint(3, VOCABULARY, (examples, TOKENS), generator=generator)
        if self.end is not None:
            tokens[:, -1] = self.end
        if self.labels == "token":
            labels = torch.randint(3, VOCABULARY, (examples, TOKENS), generator=generator)
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}


def _text(family: str, **more: Any) -> Architecture:
    return Architecture(f"{family}ForSequenceClassification", f"{family}Config", {**_SIZES, **_TEXT, **more}, _BOTH)


def _image(family: str, **more: Any) -> Architecture:
    name = f"{family}ForImageClassification"
    return Architecture(name, f"{family}Config", {**_SIZES, **_PIXELS, **more}, _BOTH, reads="pixels")


def _decoder(family: str, **more: Any) -> Architecture:
    sizes = {**_DECODER, **more}
    return Architecture(f"{family}ForSequenceClassification", f"{family}Config", sizes, ("attention_dropout",))


ARCHITECTURES: dict[str, Architecture] = {
    "BERT": _text("Bert"),
    "DistilBERT": Architecture(
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        {"dim": 32, "hidden_dim": 128, "n_heads": 4, "n_layers": BLOCKS, **_TEXT},
        ("dropout", "attention_dropout", "seq_classif_dropout"),
    ),
    "RoBERTa": _text("Roberta"),
    "ELECTRA": _text("Electra", embedding_size=16),
    "MPNet": _text("MPNet"),
    "ALBERT": replace(
        _text("Albert", embedding_size=16, num_hidden_layers=2 * BLOCKS, num_hidden_groups=BLOCKS),
        dropouts=(*_BOTH, "classifier_dropout_prob"),
    ),
    "DeBERTa-v2": _text("DebertaV2", **_DISENTANGLED),
    "ModernBERT": Architecture(
        "ModernBertForSequenceClassification",
        "ModernBertConfig",
        {**_SIZES, **_TEXT, **_SPECIAL, "cls_token_id": 1, "sep_token_id": 2},
        ("attention_dropout", "embedding_dropout", "mlp_dropout", "classifier_dropout"),
    ),
    "ViT": _image("ViT"),
    "DeiT": _image("DeiT"),
    "DINOv2": _image("Dinov2"),
    "Swin": Architecture(
        "SwinForImageClassification",
        "SwinConfig",
        {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
        | {"drop_path_rate": 0.0},
        _BOTH,
        reads="pixels",
        blocks=4,
    ),
    "GPT-2": Architecture(
        "GPT2ForSequenceClassification",
        "GPT2Config",
        {"vocab_size": VOCABULARY, "n_positions": 24, "n_embd": 32, "n_layer": BLOCKS, "n_head": 4, **_SPECIAL},
        ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    ),
    "GPT-2, next token": Architecture(  # its output is tied to the embeddings
        "GPT2LMHeadModel",
        "GPT2Config",
        {"vocab_size": VOCABULARY, "n_positions": 24, "n_embd": 32, "n_layer": BLOCKS, "n_head": 4, **_SPECIAL},
        ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
        labels="token",
    ),
    "Llama": _decoder("Llama"),
    "Qwen2": _decoder("Qwen2"),
    "Gemma": _decoder("Gemma", head_dim=8),
    "T5": Architecture(
        "T5ForConditionalGeneration",
        "T5Config",
        {"vocab_size": VOCABULARY, "decoder_start_token_id": 0, **_T5},
        ("dropout_rate",),
        labels="token",
        blocks=2 * BLOCKS,
    ),
    "T5 v1.1": Architecture(
        "T5ForConditionalGeneration",
        "T5Config",
        {"vocab_size": VOCABULARY, "decoder_start_token_id": 0, **_T5} | {"feed_forward_proj": "gated-gelu"},
        ("dropout_rate",),
        labels="token",
        blocks=2 * BLOCKS,
    ),
    "BART": Architecture(
        "BartForConditionalGeneration",
        "BartConfig",
        {**_STACKS, **_TEXT},
        ("dropout", "attention_dropout", "activation_dropout"),
        labels="token",
        blocks=2 * BLOCKS,
    ),
    "T5 for classification": Architecture(
        "T5ForSequenceClassification",
        "T5Config",
        {"vocab_size": VOCABULARY, "decoder_start_token_id": 0, **_T5},
        ("dropout_rate", "classifier_dropout"),
        blocks=2 * BLOCKS,
        end=1,
    ),
    "BART for classification": Architecture(
        "BartForSequenceClassification",
        "BartConfig",
        {**_STACKS, **_TEXT, "num_labels": 2},
        ("dropout", "attention_dropout", "activation_dropout", "classifier_dropout"),
        blocks=2 * BLOCKS,
        end=2,
    ),
    "Whisper's encoder": Architecture(
        "WhisperForAudioClassification",
        "WhisperConfig",
        {
            **_STACKS,
            "vocab_size": VOCABULARY,
            "num_mel_bins": 8,
            "max_source_positions": 16,
            "classifier_proj_size": 16,
        },
        ("dropout", "attention_dropout", "activation_dropout"),
        reads="sounds",
    ),
}


def _in_peft(config: str, **settings: Any) -> Architecture:
    return replace(ARCHITECTURES["BERT"], adapters=(config, {"task_type": "SEQ_CLS", **settings}))


# What is refused as a whole, with the words that say why.
NOT_UNDERSTOOD: dict[str, tuple[Architecture, str]] = {
    "Swin v2": (
        replace(ARCHITECTURES["Swin"], model="Swinv2ForImageClassification", config="Swinv2Config"),
        r"logit_scale' is used by the operation 'exp' \(in the blocks\)",
    ),
    "XLNet": (
        Architecture(
            "XLNetForSequenceClassification",
            "XLNetConfig",
            {"vocab_size": VOCABULARY, "d_model": 32, "n_layer": BLOCKS, "n_head": 4, "d_inner": 128},
            ("dropout",),
        ),
        "'transformer.layer.0.rel_attn.q' is used by the operation 'einsum'",
    ),
    "Mamba": (
        Architecture("MambaForCausalLM", "MambaConfig", {"vocab_size": VOCABULARY, "hidden_size": 32}, ()),
        "mixer.A_log' is used by the operation 'exp'",
    ),
    "Longformer": (
        _text("Longformer", attention_window=4),
        "a forward pass that depends on the data cannot be traced",
    ),
    "ResNet": (
        Architecture(
            "ResNetForImageClassification",
            "ResNetConfig",
            {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 2], "image_size": 32},
            (),
            reads="pixels",
        ),
        "normalization.weight' is used by the operation 'batch_norm'",
    ),
    "BERT in PEFT's DoRA": (_in_peft("LoraConfig", use_dora=True), "lora_magnitude_vector.+ by the operation 'div'"),
    "BERT in PEFT's AdaLoRA": (
        _in_peft("AdaLoraConfig", init_r=4, target_r=2, total_step=10),
        "query.lora_A.default' is used by the operation 'mul'",
    ),
    "BERT in PEFT's LoKr": (_in_peft("LoKrConfig", r=2), "lokr_w1.default' is used by the operation 'kron'"),
    "BERT in PEFT's OFT": (_in_peft("OFTConfig", oft_block_size=4), "oft_R.+ is used by the operation 'setitem'"),
    "BERT in PEFT's FourierFT": (
        _in_peft("FourierFTConfig", n_frequency=10),
        "fourierft_spectrum.default' is used by the operation 'setitem'",
    ),
}
