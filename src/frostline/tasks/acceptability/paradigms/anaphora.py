"""Reflexives and reciprocals: they agree with a subject, the nearest one, and not with a noun inside it."""

from __future__ import annotations

from frostline.tasks.acceptability.grammar import Pairs, crossed, paradigm, statement
from frostline.tasks.acceptability.lexicon import (
    COUPLES,
    MEN,
    PEOPLE,
    PLACES,
    REFLEXIVE,
    RELATIONS,
    TRANSITIVE,
    WOMEN,
)
from frostline.tasks.acceptability.words import Noun, Verb, couples, forms

REFLEXIVES = "reflexive_agreement"
BINDING = "binding_locality"
MOMENTS = ("recently", "once", "often", "always", "never", "finally", "almost", "deliberately", "openly")
SPEECH = ("said", "thought", "claimed", "knew", "hoped", "believed")
ORDERS = ("persuaded", "ordered", "forced", "urged", "advised", "told")
GENDERED = couples(MEN, ("himself",) * len(MEN)) + couples(WOMEN, ("herself",) * len(WOMEN))


@paradigm(REFLEXIVES, COUPLES, MOMENTS, REFLEXIVE)
def reflexive_gender(couple: tuple[Noun, Noun], time: str, verb: Verb) -> Pairs:
    king, queen = couple
    return crossed(
        lambda noun, self: statement(f"the {noun} {time} {verb.past} {self}"), (king, "himself"), (queen, "herself")
    )


@paradigm(REFLEXIVES, GENDERED, RELATIONS, forms(PEOPLE), REFLEXIVE)
def reflexive_number(who: tuple[Noun, str], near: str, other: str, verb: Verb) -> Pairs:
    noun, self = who
    return crossed(
        lambda subject, form: statement(f"the {subject} {near} the {other} {verb.past} {form}"),
        (noun.singular, self),
        (noun.plural, "themselves"),
    )


@paradigm(REFLEXIVES, GENDERED, MOMENTS, REFLEXIVE, PLACES)
def reciprocal_number(who: tuple[Noun, str], time: str, verb: Verb, place: str) -> Pairs:
    noun, self = who
    return crossed(
        lambda subject, form: statement(f"the {subject} {time} {verb.past} {form} {place}"),
        (noun.singular, self),
        (noun.plural, "each other"),
    )


@paradigm(BINDING, MEN, WOMEN, SPEECH, REFLEXIVE)
def reflexive_in_clause(king: Noun, queen: Noun, said: str, verb: Verb) -> Pairs:
    return crossed(
        lambda start, self: statement(f"the {start} had {verb.participle} {self}"),
        (f"{king} {said} that the {queen}", "herself"),
        (f"{queen} {said} that the {king}", "himself"),
    )


@paradigm(BINDING, MEN, WOMEN, RELATIONS, REFLEXIVE)
def reflexive_across_preposition(king: Noun, queen: Noun, near: str, verb: Verb) -> Pairs:
    return crossed(
        lambda subject, self: statement(f"the {subject} {verb.past} {self}"),
        (f"{king} {near} the {queen}", "himself"),
        (f"{queen} {near} the {king}", "herself"),
    )


@paradigm(BINDING, MEN, WOMEN, ORDERS, REFLEXIVE)
def reflexive_under_order(king: Noun, queen: Noun, ordered: str, verb: Verb) -> Pairs:
    return crossed(
        lambda start, self: statement(f"the {start} to {verb.base} {self}"),
        (f"{king} {ordered} the {queen}", "herself"),
        (f"{queen} {ordered} the {king}", "himself"),
    )


@paradigm(BINDING, MEN, WOMEN, TRANSITIVE, REFLEXIVE)
def reflexive_across_relative(king: Noun, queen: Noun, meet: Verb, verb: Verb) -> Pairs:
    return crossed(
        lambda subject, self: statement(f"the {subject} {verb.past} {self}"),
        (f"{king} who {meet.past} the {queen}", "himself"),
        (f"{queen} who {meet.past} the {king}", "herself"),
    )
