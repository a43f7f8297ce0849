"""Activation checkpointing: a block keeps its input and computes the rest again in backward (arXiv 1604.06174).

Through transformers' own implementation, over full fine-tuning and over LoRA (PEFT). Published: one input for each
segment of the network stays, at the price of a second forward pass; sqrt(n) segments are the paper's optimum for n
layers. Here, as everywhere in practice: one segment a block.

Ours: transformers also makes the embeddings' output require a gradient, which only reentrant checkpointing needs;
we take that back, so that LoRA's backward ends at the lowest adapter as it does without checkpointing.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from frostline import methods
from frostline.anatomy import Anatomy
from frostline.errors import UnsupportedModel
from frostline.methods.full import Full
from frostline.methods.lora import Lora


def require_support(model: Any, method: str) -> None:
    """Raise UnsupportedModel unless the model can checkpoint its blocks and does not do so yet."""
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise UnsupportedModel(f"method {method!r}: {type(model).__name__} has no checkpointing; use the plain method.")
    if model.is_activation_checkpointing:
        raise UnsupportedModel(
            f"method {method!r}: {type(model).__name__} has its checkpointing switched on already; switch it off first."
        )


def checkpoint_blocks(model: Any) -> None:
    """Let every block of a transformers model keep its input alone."""
    hooked = bool(getattr(model, "_require_grads_hooks", None))
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    if not hooked:
        model.disable_input_require_grads()


@methods.register
class FullCheckpointing(Full):
    """Everything trains; each block keeps its input and runs forward again in backward."""

    name = "full_checkpointing"
    summary = "every parameter; blocks keep their inputs alone"
    source = "activation checkpointing, arXiv 1604.06174, through transformers"

    def prepare(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Switch checkpointing on."""
        require_support(model, self.name)
        super().prepare(model, anatomy)
        checkpoint_blocks(model)

    def restore(self, model: Any) -> None:
        """Switch checkpointing off."""
        model.activation_checkpointing_disable()


@methods.register
class LoraCheckpointing(Lora):
    """LoRA; each block keeps its input and runs forward again in backward."""

    name = "lora_checkpointing"
    summary = "LoRA; blocks keep their inputs alone"
    source = "LoRA with activation checkpointing, arXiv 2106.09685 and 1604.06174, through PEFT and transformers"

    def prepare(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Put the adapters in and switch checkpointing on."""
        require_support(model, self.name)
        super().prepare(model, anatomy)
        checkpoint_blocks(model)

    def restore(self, model: Any) -> None:
        """Switch checkpointing off and merge the adapters."""
        model.activation_checkpointing_disable()
        super().restore(model)
