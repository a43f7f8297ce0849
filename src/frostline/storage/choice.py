"""Which operation keeps what, and how: the presets that a user can name, and his own choices on top of one.

    exact      stock PyTorch
    lossless   nothing is kept twice or that can be had from something else: gradients equal to rounding
    compact    eight bits a value where a weight's gradient needs it, a few bits for a derivative
    slimfit    SlimFit's choices, faithfully (arXiv 2305.18513, section 4): for comparison
    smallest   a block's input in eight bits, the block run again in backward, compact within

A choice is a preset's name, or a mapping with a preset and what differs from it, by kind of operation or by module:
`{"preset": "compact", "norm": "int4", "bert.encoder.layer.0.*": "stock"}`; the last entry that fits wins. What is said
of modules may be another preset, but for `exact`, which is a codec there: each of their operations then follows that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any

from frostline.errors import ConfigError, nearest

Choice = str | Mapping[str, str]

STOCK = "stock"
_EXAMPLE = "{'preset': 'compact', 'norm': 'int4'}"


@dataclass(frozen=True, slots=True)
class Ways:
    """How each kind of operation keeps what it needs. `stock` leaves it as PyTorch has it.

    Attributes:
        linear: the input of a Linear whose weight trains: a codec.
        ffn_out: the same for the FFN's second Linear, where the activation before offers it nothing.
        activation: the activation's input while the Linear behind it trains: a codec, from which the output is
            recomputed as well, or `derivative1` to `derivative5`.
        activation_frozen: the same while that Linear is frozen.
        gated: gate and up of a gated FFN (SwiGLU), from which the product is recomputed: a codec.
        norm: the normalised input: a codec.
        norm_frozen: the same while the norm's weight is frozen.
        attention: query, key and value: a codec; the probabilities are recomputed. `probabilities` is SlimFit's way.
        dropout: `replay` or `mask`.
        loss: `chunks`: a language model's loss keeps the logits alone and makes its gradient chunk by chunk.
        block: the block's input, from which the block is run again in backward: a codec.
    """

    linear: str = STOCK
    ffn_out: str = STOCK
    activation: str = STOCK
    activation_frozen: str = STOCK
    gated: str = STOCK
    norm: str = STOCK
    norm_frozen: str = STOCK
    attention: str = STOCK
    dropout: str = STOCK
    loss: str = STOCK
    block: str = STOCK


KINDS: tuple[str, ...] = tuple(field.name for field in fields(Ways))
_COMPACT = Ways(
    linear="int8",
    ffn_out="int8",
    activation="int8",
    activation_frozen="derivative5",
    gated="int8",
    norm="int8",
    norm_frozen="int8",
    attention="int8",
    dropout="mask",
    loss="chunks",
)
PRESETS: dict[str, Ways] = {
    "exact": Ways(),
    "lossless": Ways(
        linear="exact",
        ffn_out="exact",
        activation="exact",
        activation_frozen="exact",
        gated="exact",
        norm="exact",
        norm_frozen="exact",
        attention="exact",
        dropout="mask",
        loss="chunks",
    ),
    "compact": _COMPACT,
    "slimfit": Ways(
        linear="exact",
        ffn_out="fixed3.4",
        activation="fixed2.1",
        activation_frozen="fixed2.1",
        norm="exact",
        norm_frozen="top10",
        attention="probabilities",
        dropout="mask",
    ),
    "smallest": replace(_COMPACT, block="int8"),
}


MODULE_PRESETS = frozenset(PRESETS) - {"exact"}
"""Presets that may be said of a module."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A choice, checked: the ways of each kind, and by module name pattern what differs from them."""

    ways: Ways
    by_module: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, choice: Choice) -> Storage:
        """Return the choice as a value; ConfigError for a preset or a way that does not exist."""
        if not isinstance(choice, str | Mapping):
            raise ConfigError(f"storage={choice!r} is refused: give a preset's name, or a mapping such as {_EXAMPLE}.")
        entries = {"preset": choice} if isinstance(choice, str) else dict(choice)
        preset = entries.pop("preset", "exact")
        if preset not in PRESETS:
            raise ConfigError(f"storage={preset!r} is unknown{nearest(str(preset), PRESETS)}")
        own = {kind: way for kind, way in entries.items() if kind in KINDS}
        for kind, way in own.items():
            require_way(kind, way)
        ways = replace(PRESETS[preset], **own)
        return cls(ways, tuple((name, way) for name, way in entries.items() if name not in KINDS))

    @property
    def is_exact(self) -> bool:
        """Whether everything is left as PyTorch has it."""
        return self.ways == Ways() and not self.by_module

    def of_module(self, name: str, kind: str) -> str:
        """Return the way of the operation of that kind in the module of that name."""
        found: str = getattr(self.ways, kind)
        for pattern, way in self.by_module:
            if self.fits(name, pattern):
                found = getattr(PRESETS[way], kind) if way in MODULE_PRESETS else way
        return found

    @staticmethod
    def fits(name: str, pattern: str) -> bool:
        """Tell whether a module of that name is meant: by its own name, or by a pattern with `*` and `?`."""
        return name == pattern or fnmatchcase(name, pattern)


def with_blocks(preset: str, blocks: Sequence[str], other: str) -> dict[str, str]:
    """Return the choice of a preset, and of another for some blocks with all that is in them."""
    way = STOCK if other == "exact" else other
    return {"preset": preset, **{pattern: way for block in blocks for pattern in (block, f"{block}.*")}}


def require_module_way(kind: str, way: Any) -> None:
    """Raise ConfigError if a module whose operation is of that kind cannot keep things so, nor as a preset says."""
    if way not in MODULE_PRESETS:
        require_way(kind, way)


def require_way(kind: str, way: Any) -> None:
    """Raise ConfigError, with the nearest way, if an operation of that kind cannot keep things so."""
    from frostline.storage import codecs

    known = {
        "dropout": ("replay", "mask"),
        "loss": ("chunks",),
        "attention": (*codecs.names(), "probabilities"),
        "activation": (*codecs.names(), *DERIVATIVES),
        "activation_frozen": (*codecs.names(), *DERIVATIVES),
    }.get(kind, codecs.names())
    if way not in (STOCK, *known):
        raise ConfigError(f"storage of {kind}: {way!r} is unknown{nearest(str(way), (STOCK, *known))}")


DERIVATIVES = tuple(f"derivative{bits}" for bits in range(1, 6))
