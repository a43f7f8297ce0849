"""Islands: a question word cannot leave a coordination, an adjunct, a relative clause, or its own noun."""

from __future__ import annotations

from itertools import permutations

from frostline.tasks.acceptability.grammar import Pairs, paradigm, question, reordered
from frostline.tasks.acceptability.lexicon import FOLK, HANDLING, PEOPLE, PLACES, THINGS, TRANSITIVE
from frostline.tasks.acceptability.words import Noun, Verb

ISLANDS = "islands"
SEQUENCE = ("before", "after", "while")


@paradigm(ISLANDS, PEOPLE, FOLK, TRANSITIVE)
def coordination_island(person: Noun, other: Noun, verb: Verb) -> Pairs:
    return reordered(
        question(f"who did the {person} and the {other} {verb.base}"),
        question(f"who did the {person} {verb.base} and the {other}"),
    )


@paradigm(ISLANDS, PEOPLE, tuple(permutations(HANDLING, 2)), THINGS, SEQUENCE)
def adjunct_island(person: Noun, couple: tuple[Verb, Verb], thing: Noun, before: str) -> Pairs:
    verb, other = couple
    start = f"what did the {person} {verb.base}"
    return reordered(
        question(f"{start} {before} {other.gerund} the {thing}"),
        question(f"{start} the {thing} {before} {other.gerund}"),
    )


@paradigm(ISLANDS, PEOPLE, tuple(permutations(TRANSITIVE, 2)), FOLK)
def relative_clause_island(person: Noun, couple: tuple[Verb, Verb], other: Noun) -> Pairs:
    verb, main = couple
    start = f"who has the {person} who has {verb.participle}"
    return reordered(
        question(f"{start} the {other} {main.participle}"), question(f"{start} {main.participle} the {other}")
    )


@paradigm(ISLANDS, ("whose", "which"), PEOPLE, HANDLING, THINGS, PLACES)
def noun_left_behind(whose: str, person: Noun, verb: Verb, thing: Noun, place: str) -> Pairs:
    return reordered(
        question(f"{whose} {thing} did the {person} {verb.base} {place}"),
        question(f"{whose} did the {person} {verb.base} {thing} {place}"),
    )
