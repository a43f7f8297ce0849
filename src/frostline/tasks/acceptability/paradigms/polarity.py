"""Polarity: `any`, `ever`, `at all` and `either` need a negation that stands in the right place."""

from __future__ import annotations

from itertools import combinations

from frostline.tasks.acceptability.grammar import Pairs, crossed, paradigm, reordered, statement
from frostline.tasks.acceptability.lexicon import (
    FOLK,
    HANDLING,
    INTRANSITIVE,
    MOODS,
    PEOPLE,
    PLACES,
    THINGS,
    TRANSITIVE,
)
from frostline.tasks.acceptability.words import Noun, Verb

POLARITY = "negative_polarity"


@paradigm(POLARITY, PEOPLE, tuple(combinations(MOODS, 2)))
def at_all(person: Noun, moods: tuple[str, str]) -> Pairs:
    tired, angry = moods
    return tuple(
        (
            statement(f"the {person} who was {one} was not {two} at all"),
            statement(f"the {person} who was not {one} was {two} at all"),
        )
        for one, two in ((tired, angry), (angry, tired))
    )


@paradigm(POLARITY, PEOPLE, TRANSITIVE, FOLK, INTRANSITIVE)
def ever_under_no(person: Noun, verb: Verb, other: Noun, main: Verb) -> Pairs:
    end = f"has ever {main.participle}"
    return tuple(
        (
            statement(f"no {one} who {verb.past} the {two} {end}"),
            statement(f"the {one} who {verb.past} no {two} {end}"),
        )
        for one, two in ((person, other), (other, person))
    )


@paradigm(POLARITY, PEOPLE, MOODS, HANDLING, THINGS)
def any_under_not(person: Noun, tired: str, verb: Verb, thing: Noun) -> Pairs:
    end = f"{verb.participle} any {thing.plural}"
    return reordered(
        statement(f"the {person} who was {tired} had not {end}"),
        statement(f"the {person} who was not {tired} had {end}"),
    )


@paradigm(POLARITY, PEOPLE, HANDLING, THINGS, PLACES)
def any_after_no(person: Noun, verb: Verb, thing: Noun, place: str) -> Pairs:
    return reordered(
        statement(f"no {person} {verb.past} any {thing.plural} {place}"),
        statement(f"any {person} {verb.past} no {thing.plural} {place}"),
    )


@paradigm(POLARITY, PEOPLE, FOLK, INTRANSITIVE)
def so_or_neither(person: Noun, other: Noun, verb: Verb) -> Pairs:
    return crossed(
        lambda has, so: statement(f"the {person} {has} {verb.participle}, and {so} has the {other}"),
        ("has", "so"),
        ("has not", "neither"),
    )


@paradigm(POLARITY, PEOPLE, FOLK, INTRANSITIVE)
def too_or_either(person: Noun, other: Noun, verb: Verb) -> Pairs:
    return crossed(
        lambda did, too: statement(f"the {person} {did} {verb.base}, and the {other} {did} {verb.base} {too}"),
        ("will", "too"),
        ("will not", "either"),
    )
