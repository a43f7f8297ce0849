"""Which complement a verb selects: an infinitive with or without `to`, a participle, a preposition."""

from __future__ import annotations

from frostline.tasks.acceptability.grammar import Pairs, crossed, paradigm, statement
from frostline.tasks.acceptability.lexicon import CRIMES, FOLK, INTRANSITIVE, NAMES, PEOPLE, PLACES, TRAITS
from frostline.tasks.acceptability.words import Noun, Verb, couples

COMPLEMENTS = "complement_selection"
Words = tuple[str, str]


@paradigm(
    COMPLEMENTS,
    PEOPLE,
    couples(("persuaded", "ordered", "urged", "told"), ("noticed", "saw", "spotted", "caught")),
    NAMES,
    INTRANSITIVE,
    PLACES,
)
def infinitive_or_participle(person: Noun, words: Words, name: str, verb: Verb, place: str) -> Pairs:
    persuaded, noticed = words
    return crossed(
        lambda main, form: statement(f"the {person} {main} {name} {form} {place}"),
        (persuaded, f"to {verb.base}"),
        (noticed, verb.gerund),
    )


@paradigm(COMPLEMENTS, PEOPLE, couples(("made", "let"), ("forced", "allowed")), TRAITS, FOLK, INTRANSITIVE, PLACES)
def infinitive_with_to(person: Noun, words: Words, old: str, other: Noun, verb: Verb, place: str) -> Pairs:
    made, forced = words
    return crossed(
        lambda main, form: statement(f"the {person} {main} the {old} {other} {form} {place}"),
        (made, verb.base),
        (forced, f"to {verb.base}"),
    )


@paradigm(COMPLEMENTS, PEOPLE, couples(("accused", "suspected"), ("blamed", "punished")), TRAITS, FOLK, CRIMES)
def preposition_after_object(person: Noun, words: Words, old: str, other: Noun, theft: str) -> Pairs:
    accused, blamed = words
    return crossed(
        lambda main, of: statement(f"the {person} {main} the {old} {other} {of} the {theft}"),
        (accused, "of"),
        (blamed, "for"),
    )


@paradigm(
    COMPLEMENTS,
    PEOPLE,
    (
        (("relied", "on"), ("listened", "to")),
        (("depended", "on"), ("argued", "with")),
        (("spied", "on"), ("objected", "to")),
        (("believed", "in"), ("collaborated", "with")),
    ),
    ("once again", "more than once", "from time to time", "for many years", "all too often"),
    FOLK,
)
def preposition_of_verb(person: Noun, couple: tuple[Words, Words], again: str, other: Noun) -> Pairs:
    return crossed(lambda verb, on: statement(f"the {person} {verb} {again} {on} the {other}"), *couple)
