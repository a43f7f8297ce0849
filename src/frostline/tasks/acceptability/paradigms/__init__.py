"""The paradigms, a module for each family; importing this package registers them all.

A new paradigm is a decorated function in the module it belongs to. Its name is its template's name, its arguments are
one word from each slot, and it returns minimal pairs:

    @paradigm("subject_verb_agreement", PEOPLE, FREQUENCY, INTRANSITIVE)
    def agreement(noun: Noun, often: str, verb: Verb) -> Pairs:
        return crossed(
            lambda subject, form: statement(f"the {subject} {often} {form}"),
            (noun.singular, verb.third),
            (noun.plural, verb.base),
        )
"""

from __future__ import annotations

from frostline.tasks.acceptability.grammar import PARADIGMS
from frostline.tasks.acceptability.paradigms import (
    agreement,
    anaphora,
    arguments,
    case,
    complements,
    degree,
    determiners,
    gaps,
    islands,
    order,
    polarity,
    quantifiers,
    tense,
)

__all__ = [
    "PARADIGMS",
    "agreement",
    "anaphora",
    "arguments",
    "case",
    "complements",
    "degree",
    "determiners",
    "gaps",
    "islands",
    "order",
    "polarity",
    "quantifiers",
    "tense",
]
