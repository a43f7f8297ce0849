"""Words that come in twos: more ... than, as ... as, so ... that, too ... to, either ... or."""

from __future__ import annotations

from frostline.tasks.acceptability.grammar import Pairs, crossed, paradigm, statement
from frostline.tasks.acceptability.lexicon import (
    COUPLES,
    FOLK,
    HINDRANCES,
    INTRANSITIVE,
    LONG_TRAITS,
    PEOPLE,
    PLACES,
    TRAITS,
    TRANSITIVE,
)
from frostline.tasks.acceptability.words import Noun, Verb

DEGREE = "comparison_and_degree"
CORRELATION = "correlative_coordination"


@paradigm(DEGREE, PEOPLE, LONG_TRAITS, FOLK)
def more_than_or_as(person: Noun, careful: str, other: Noun) -> Pairs:
    return crossed(
        lambda more, than: statement(f"the {person} is {more} {careful} {than} the {other}"),
        ("more", "than"),
        ("as", "as"),
    )


@paradigm(DEGREE, PEOPLE, HINDRANCES, INTRANSITIVE)
def so_that_or_too(person: Noun, tired: str, verb: Verb) -> Pairs:
    return crossed(
        lambda so, rest: statement(f"the {person} was {so} {tired} {rest}"),
        ("so", f"that nobody {verb.past}"),
        ("too", f"to {verb.base}"),
    )


@paradigm(CORRELATION, PEOPLE, TRANSITIVE, TRAITS, COUPLES)
def either_or_both(person: Noun, verb: Verb, old: str, couple: tuple[Noun, Noun]) -> Pairs:
    king, queen = couple
    return crossed(
        lambda either, link: statement(f"the {person} {verb.past} {either} the {old} {king} {link} the {queen}"),
        ("either", "or"),
        ("both", "and"),
    )


@paradigm(CORRELATION, PEOPLE, FOLK, INTRANSITIVE, PLACES)
def neither_nor_both(person: Noun, other: Noun, verb: Verb, place: str) -> Pairs:
    return crossed(
        lambda neither, nor: statement(f"{neither} the {person} {nor} the {other} {verb.past} {place}"),
        ("neither", "nor"),
        ("both", "and"),
    )
