"""Argument structure: which verbs take an object, two objects, none, and which can be passive."""

from __future__ import annotations

from frostline.tasks.acceptability.grammar import Pairs, crossed, paradigm, question, reordered, statement
from frostline.tasks.acceptability.lexicon import (
    FOLK,
    INTRANSITIVE,
    NEUTRAL,
    PEOPLE,
    PLACES,
    PLAIN_HANDLING,
    SITES,
    THINGS,
    TIMES,
    TRAITS,
    TRANSITIVE,
)
from frostline.tasks.acceptability.words import Noun, Verb, assigned, couples, verbs

ARGUMENTS = "argument_structure"
VERB_COUPLES = couples(TRANSITIVE, INTRANSITIVE)
VerbCouple = tuple[Verb, Verb]


@paradigm(ARGUMENTS, assigned(PEOPLE, FOLK), VERB_COUPLES, PLACES)
def object_of_intransitive(people: tuple[Noun, Noun], couple: VerbCouple, place: str) -> Pairs:
    person, other = people
    praise, sneeze = couple
    return crossed(
        lambda rest, verb: statement(f"the {person} {verb} {rest}"),
        (f"the {other} {place}", praise.past),
        (place, sneeze.past),
    )


@paradigm(ARGUMENTS, PEOPLE, TRAITS, VERB_COUPLES)
def object_question(person: Noun, old: str, couple: VerbCouple) -> Pairs:
    praise, sneeze = couple
    return crossed(
        lambda wh, verb: question(f"{wh} did the {old} {person} {verb}"), ("who", praise.base), ("when", sneeze.base)
    )


@paradigm(ARGUMENTS, couples(FOLK, SITES), PEOPLE, VERB_COUPLES)
def object_relative(heads: tuple[Noun, str], person: Noun, couple: VerbCouple) -> Pairs:
    king, garden = heads
    praise, sneeze = couple
    return crossed(
        lambda head, verb: statement(f"the {head} the {person} {verb} was quiet"),
        (f"{king} who", praise.past),
        (f"{garden} where", sneeze.past),
    )


@paradigm(ARGUMENTS, PEOPLE, NEUTRAL, VERB_COUPLES, PLACES)
def passive_of_intransitive(person: Noun, quietly: str, couple: VerbCouple, place: str) -> Pairs:
    praise, sneeze = couple
    return crossed(
        lambda aux, verb: statement(f"the {person} {aux} {quietly} {verb} {place}"),
        ("was", praise.participle),
        ("had", sneeze.participle),
    )


@paradigm(ARGUMENTS, PEOPLE, couples(("handed", "gave"), PLAIN_HANDLING), couples(FOLK, THINGS), TIMES)
def two_objects(person: Noun, verb_couple: tuple[str, Verb], objects: tuple[Noun, Noun], when: str) -> Pairs:
    handed, describe = verb_couple
    recipient, thing = objects
    return crossed(
        lambda verb, rest: statement(f"the {person} {verb} the {rest} {when}"),
        (handed, f"{recipient} the {thing}"),
        (describe.past, thing.singular),
    )


@paradigm(ARGUMENTS, PEOPLE, verbs("hand offer give/gave/given send/sent/sent show lend/lent/lent"), FOLK, THINGS)
def order_of_two_objects(person: Noun, verb: Verb, recipient: Noun, thing: Noun) -> Pairs:
    return reordered(
        statement(f"the {person} {verb.past} the {recipient} the {thing}"),
        statement(f"the {person} {verb.past} the {thing} the {recipient}"),
    )
