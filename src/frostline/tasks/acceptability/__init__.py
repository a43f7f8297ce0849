"""Acceptability judgements on English that a small grammar writes: a data set that needs no download.

Each sentence is one half of a minimal pair, in the spirit of BLiMP and CoLA: `The pilots near the king smile.` beside
`The pilots near the king smiles.` The words of a sentence say nothing about its label, by design (see `grammar`): a
bag-of-words classifier stays at chance, and what is learnt is how words go together.

To add a paradigm, write one decorated function in a module of `paradigms`.
"""

from __future__ import annotations

from frostline.tasks.acceptability.corpus import PHENOMENA, Sentence, generate

__all__ = ["PHENOMENA", "Sentence", "generate"]
