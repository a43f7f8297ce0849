"""What a call of attention is told beside its tensors: how it is computed, and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from frostline.storage.codecs import Codec
from frostline.storage.operations.dropout import DropoutWay


@dataclass(frozen=True, slots=True)
class AttentionStorage:
    """How an attention module keeps what its gradient needs.

    Attributes:
        codec: of query, key and value.
        keep: `inputs`: the probabilities are computed again in backward. `probabilities`: they are kept, too, in eight
            fraction bits, as SlimFit does (arXiv 2305.18513, section 4); on a CPU, as a GPU's fused kernels make none.
            SlimFit's code also moves dropout from the probabilities to the values, a change of the model that is not
            made here.
        site: who keeps it, for messages.
        dropout: `replay` keeps the generator's state and draws the mask again in backward; `mask` keeps a bit for each
            probability, where drawing takes long: on a CPU. Other devices always draw again.
    """

    codec: Codec
    keep: Literal["inputs", "probabilities"]
    site: str
    dropout: DropoutWay = "replay"


@dataclass(frozen=True, slots=True)
class Setting:
    """How attention is computed.

    Attributes:
        scale: of the scores.
        dropout: the probability with which a probability is dropped, below 1; 0 is off.
        causal: row i attends to keys 0 to i.
    """

    scale: float
    dropout: float = 0.0
    causal: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """What one call of attention is told beside its tensors.

    Attributes:
        setting: scale, dropout, causal.
        repeat: give stock's kernel each head of keys once for every head of queries, rather than let it share them.
        how: what is kept.
    """

    setting: Setting
    repeat: bool
    how: AttentionStorage

    def stock(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Run stock's kernel."""
        grouped = query.dim() == 4 and query.shape[1] != key.shape[1]
        if self.repeat and grouped:
            key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], 1) for t in (key, value))
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=self.setting.dropout,
            is_causal=self.setting.causal,
            scale=self.setting.scale,
            enable_gqa=grouped and not self.repeat,
        )

    @property
    def plain(self) -> Call:
        """The same without dropout."""
        return replace(self, setting=replace(self.setting, dropout=0.0))
