"""What a paradigm is, and the two designs that keep its words from giving its labels away.

A paradigm turns a *filling* (one word from each of its slots) into an *instance*: minimal pairs in which every word,
and every full stop or question mark, occurs as often in acceptable as in unacceptable sentences.

`crossed`    two things that must match, each in two forms: both matches are acceptable, both mismatches are not.
             Where a word stands between them, pairs of neighbouring words do not tell the label either.
`reordered`  the same words in an acceptable and in an unacceptable order.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

Pairs = tuple[tuple[str, str], ...]
"""Minimal pairs, each (acceptable, unacceptable)."""
Filling = tuple[object, ...]
A = TypeVar("A")
B = TypeVar("B")
Build = TypeVar("Build", bound=Callable[..., Pairs])


@dataclass(frozen=True, eq=False)
class Paradigm:
    """One template: a function from a filling to minimal pairs, and the words that may fill its slots."""

    phenomenon: str
    template: str
    slots: tuple[Sequence[object], ...]
    build: Callable[..., Pairs]

    def fillings(self, limit: int) -> Iterator[Filling]:
        """Yield at most `limit` different fillings, always the same ones, in a fixed order."""
        total = math.prod(len(slot) for slot in self.slots)
        for index in random.Random(f"acceptability/{self.template}").sample(range(total), min(total, limit)):
            filling = []
            for slot in self.slots:
                index, choice = divmod(index, len(slot))
                filling.append(slot[choice])
            yield tuple(filling)

    def key(self, filling: Filling) -> str:
        """Return the text that identifies an instance: the template and the words that fill it."""
        return f"{self.template}: " + ", ".join(_spell(word) for word in filling)


PARADIGMS: list[Paradigm] = []
"""Every paradigm, in the order in which the modules of `paradigms` register them."""


def paradigm(phenomenon: str, *slots: Sequence[object]) -> Callable[[Build], Build]:
    """Return a decorator that registers a function of one filling as the paradigm of that name.

    Every slot's word must show in every sentence the function returns, or be determined by one that does (see
    `words.couples` and `words.assigned`): a sentence would otherwise belong to two instances.
    """

    def register(build: Build) -> Build:
        PARADIGMS.append(Paradigm(phenomenon, build.__name__, slots, build))
        return build

    return register


def crossed(frame: Callable[[A, B], str], first: tuple[A, B], second: tuple[A, B]) -> Pairs:
    """Return the two pairs got by putting the matching couples, and then the mismatched ones, into the frame."""
    (a1, b1), (a2, b2) = first, second
    return (frame(a1, b1), frame(a1, b2)), (frame(a2, b2), frame(a2, b1))


def reordered(good: str, bad: str) -> Pairs:
    """Return the one pair of an acceptable sentence and an unacceptable one made of the same words."""
    return ((good, bad),)


def statement(words: str) -> str:
    """Return the words as a sentence: single blanks, `a` or `an`, a capital, a full stop."""
    return _finish(words, ".")


def question(words: str) -> str:
    """Return the words as a sentence that ends in a question mark."""
    return _finish(words, "?")


def _finish(words: str, end: str) -> str:
    tokens = words.split()
    for place, token in enumerate(tokens[:-1]):
        if token == "a" and tokens[place + 1][0].lower() in "aeiou":
            tokens[place] = "an"
    text = " ".join(tokens)
    return text[0].upper() + text[1:] + end


def _spell(word: object) -> str:
    return "+".join(_spell(part) for part in word) if isinstance(word, tuple) else str(word)
