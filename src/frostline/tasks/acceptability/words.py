"""Words with the forms that the grammar needs, inflected by rule unless a form is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Noun:
    """A count noun in both numbers."""

    singular: str
    plural: str

    def __str__(self) -> str:
        return self.singular


@dataclass(frozen=True)
class Verb:
    """A verb in the five forms English has: carry, carries, carried, carried, carrying."""

    base: str
    third: str
    past: str
    participle: str
    gerund: str

    def __str__(self) -> str:
        return self.base


def listed(text: str) -> tuple[str, ...]:
    """Return the words of a blank-separated list."""
    return tuple(text.split())


def nouns(text: str) -> tuple[Noun, ...]:
    """Return the nouns of a blank-separated list; `man/men` gives an irregular plural."""
    return tuple(Noun(*(entry.split("/") if "/" in entry else (entry, _with_s(entry)))) for entry in text.split())


def verbs(text: str) -> tuple[Verb, ...]:
    """Return the verbs of a blank-separated list.

    `base/past/participle` gives irregular forms, `base/past/participle/gerund` also a doubled consonant.
    """
    return tuple(_verb(*entry.split("/")) for entry in text.split())


def _verb(base: str, past: str = "", participle: str = "", gerund: str = "") -> Verb:
    past = past or _with_ed(base)
    stem = base[:-1] if base.endswith("e") and not base.endswith("ee") else base
    return Verb(base, _with_s(base), past, participle or past, gerund or stem + "ing")


def _ends_in_consonant_y(word: str) -> bool:
    return word.endswith("y") and word[-2] not in "aeiou"


def _with_s(word: str) -> str:
    if _ends_in_consonant_y(word):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh")) else "s")


def _with_ed(word: str) -> str:
    if _ends_in_consonant_y(word):
        return word[:-1] + "ied"
    return word + ("d" if word.endswith("e") else "ed")


def forms(words: Sequence[Noun]) -> tuple[str, ...]:
    """Return every noun's singular and plural, for slots whose number must not matter."""
    return tuple(form for noun in words for form in (noun.singular, noun.plural))


def couples(left: Sequence[K], right: Sequence[V]) -> tuple[tuple[K, V], ...]:
    """Return the two lists matched one to one, as far as the shorter goes.

    For words of which each sentence of an instance shows only one: it then still determines the other, so that no
    sentence belongs to two instances.
    """
    return tuple(zip(left, right, strict=False))


def assigned(keys: Sequence[K], values: Sequence[V]) -> tuple[tuple[K, V], ...]:
    """Return every key with one value, values being reused in turn.

    For a word (the value) that some sentences of an instance hide, beside one (the key) that all of them show.
    """
    turns: Iterator[V] = cycle(values)
    return tuple((key, next(turns)) for key in keys)
