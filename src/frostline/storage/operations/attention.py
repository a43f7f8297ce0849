"""Attention that never keeps an S x S matrix, for models that find theirs through transformers' `AttentionInterface`.

`model.set_attn_implementation(NAME)` puts it on a model whose attention is `sdpa`. A module that carries
`_frostline_attention`, an `AttentionStorage`, keeps what that says; every other one, and every call that is not
understood, goes to stock's function. The output is stock's: bit for bit without dropout, and with it to rounding, from
the same mask of dropout for the same seed wherever that mask can be drawn in parts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward, use_gqa_in_sdpa
from transformers.masking_utils import sdpa_mask

from frostline.storage.operations.attention_call import AttentionStorage, Call, Setting
from frostline.storage.operations.attention_function import run
from frostline.storage.precision import compute_dtype

__all__ = ["NAME", "AttentionStorage", "attention"]

NAME = "frostline"
ATTRIBUTE = "_frostline_attention"
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    *,
    storage: AttentionStorage,
    scale: float | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    repeat: bool = False,
) -> Tensor:
    """Return what `F.scaled_dot_product_attention` returns, keeping what `storage` says for backward.

    A mask that needs a gradient, and whatever is not described here, is left to stock, which then keeps what it keeps.

    Args:
        query: [B, H, Sq, D].
        key: [B, Hk, Sk, D]; each of its heads serves H / Hk heads of the query.
        value: [B, Hk, Sk, Dv].
        mask: boolean (True attends) or to be added; broadcasts to [B, H, Sq, Sk].
        storage: what is kept.
        scale: of the scores; 1 / sqrt(D) if None.
        dropout: the probability with which each probability is dropped.
        is_causal: row i attends to keys 0 to i; not beside a mask.
        repeat: repeat the heads of key and value for stock's kernel, rather than have it share them.

    Raises:
        StorageError: a value is not finite and its codec cannot keep such.
    """
    if torch.is_autocast_enabled(query.device.type):  # as autocast does around stock's function
        query, key, value = (t.to(compute_dtype(t)) for t in (query, key, value))
        mask = mask.to(compute_dtype(mask)) if mask is not None and mask.is_floating_point() else mask
    setting = Setting(query.shape[-1] ** -0.5 if scale is None else scale, dropout, is_causal)
    call = Call(setting, repeat, storage)
    if not _understood(query, key, value, mask, setting):
        return call.stock(query, key, value, mask)
    output: Tensor = run(query, key, value, mask, call)
    return output


def _understood(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, setting: Setting) -> bool:
    """Tell whether this is attention as the tiles compute it."""
    tensors = (query, key, value)
    if not all(t.dim() == 4 and t.numel() > 0 and t.dtype == query.dtype in _DTYPES for t in tensors):
        return False
    if mask is not None and (setting.causal or mask.requires_grad or mask.dim() > 4):
        return False
    return (
        query.device.type in ("cpu", "cuda")
        and key.shape[:3] == value.shape[:3]
        and query.shape[3] == key.shape[3]
        and query.shape[1] % key.shape[1] == 0
        and query.shape[0] == key.shape[0]
        and (mask is None or mask.dtype == torch.bool or mask.is_floating_point())
        and 0 <= setting.dropout < 1
    )


def _interface(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Do what transformers' `sdpa_attention_forward` does, with the storage that `module` carries."""
    storage = getattr(module, ATTRIBUTE, None)
    beyond = position_bias is not None or any(kwargs.get(k) is not None for k in ("softcap", "cache"))
    if storage is None or beyond or kwargs.get("output_attentions") or query.dim() != 4 or query.shape[2] == 1:
        stock: tuple[Tensor, None] = sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            position_bias=position_bias,
            **kwargs,
        )
        return stock
    repeat = getattr(module, "num_key_value_groups", 1) > 1 and not use_gqa_in_sdpa(attention_mask, key, value)
    rows = query.shape[2]
    causal = attention_mask is None and bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    if causal and key.shape[2] > rows:  # the keys behind are an empty cache's
        key, value = key[:, :, :rows], value[:, :, :rows]
    output = attention(
        query,
        key,
        value,
        attention_mask,
        storage=storage,
        scale=scaling,
        dropout=dropout,
        is_causal=causal,
        repeat=repeat,
    )
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _interface)
AttentionMaskInterface.register(NAME, sdpa_mask)
