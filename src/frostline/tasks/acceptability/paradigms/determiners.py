"""Determiners agree with their noun in number, whatever adjectives stand between."""

from __future__ import annotations

from frostline.tasks.acceptability.grammar import Pairs, crossed, paradigm, question, statement
from frostline.tasks.acceptability.lexicon import (
    HANDLING,
    NAMES,
    OPINIONS,
    ORIGINS,
    PEOPLE,
    QUALITIES,
    THINGS,
    TRAITS,
    TRANSITIVE,
)
from frostline.tasks.acceptability.words import Noun, Verb

DETERMINERS = "determiner_noun_agreement"
DEMONSTRATIVES = (("this", "these"), ("that", "those"))
QUANTIFIERS = (("every", "all"), ("one", "two"), ("another", "several"), ("each", "both"), ("a single", "many"))


@paradigm(DETERMINERS, NAMES, HANDLING, DEMONSTRATIVES, QUALITIES, THINGS)
def demonstrative_number(name: str, verb: Verb, words: tuple[str, str], old: str, thing: Noun) -> Pairs:
    this, these = words
    return crossed(
        lambda word, noun: statement(f"{name} {verb.past} {word} {old} {noun}"),
        (this, thing.singular),
        (these, thing.plural),
    )


@paradigm(DETERMINERS, NAMES, HANDLING, DEMONSTRATIVES, OPINIONS, ORIGINS, THINGS)
def demonstrative_across_two_adjectives(
    name: str, verb: Verb, words: tuple[str, str], lovely: str, french: str, thing: Noun
) -> Pairs:
    this, these = words
    return crossed(
        lambda word, noun: question(f"did {name} {verb.base} {word} {lovely} {french} {noun}"),
        (this, thing.singular),
        (these, thing.plural),
    )


@paradigm(DETERMINERS, NAMES, TRANSITIVE, QUANTIFIERS, TRAITS, PEOPLE)
def quantifier_number(name: str, verb: Verb, words: tuple[str, str], old: str, person: Noun) -> Pairs:
    every, all_ = words
    return crossed(
        lambda word, noun: statement(f"{name} {verb.past} {word} {old} {noun}"),
        (every, person.singular),
        (all_, person.plural),
    )
