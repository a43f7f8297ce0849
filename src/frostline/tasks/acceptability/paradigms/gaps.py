"""Fillers and gaps: a fronted `what` needs a missing object, and a missing object needs its `what`."""

from __future__ import annotations

from frostline.tasks.acceptability.grammar import Pairs, crossed, paradigm, question, statement
from frostline.tasks.acceptability.lexicon import EMBEDDING, FOLK, HANDLING, PEOPLE, PLACES, THINGS, TIMES, TRANSITIVE
from frostline.tasks.acceptability.words import Noun, Verb, assigned

GAPS = "filler_gap"
# The object is missing from half of the sentences, so another word of the filling determines it.
PERSON_AND_THING = assigned(PEOPLE, THINGS)
PersonAndThing = tuple[Noun, Noun]


@paradigm(GAPS, FOLK, EMBEDDING, PERSON_AND_THING, HANDLING, PLACES)
def gap_in_embedded_question(other: Noun, know: Verb, words: PersonAndThing, verb: Verb, place: str) -> Pairs:
    person, thing = words
    return crossed(
        lambda link, rest: statement(f"the {other} {know.past} {link} the {person} had {verb.participle} {rest}"),
        ("what", place),
        ("that", f"the {thing} {place}"),
    )


@paradigm(GAPS, FOLK, EMBEDDING, assigned(PEOPLE, PEOPLE[7:]), TRANSITIVE, TIMES)
def gap_of_person(other: Noun, know: Verb, people: tuple[Noun, Noun], verb: Verb, when: str) -> Pairs:
    person, victim = people
    return crossed(
        lambda link, rest: statement(f"the {other} {know.past} {link} the {person} had {verb.participle} {rest}"),
        ("who", when),
        ("that", f"the {victim} {when}"),
    )


@paradigm(GAPS, PERSON_AND_THING, HANDLING, PLACES)
def gap_in_question(words: PersonAndThing, verb: Verb, place: str) -> Pairs:
    person, thing = words
    return crossed(
        lambda wh, rest: question(f"{wh} the {person} {verb.base} {rest}"),
        ("what did", place),
        ("did", f"the {thing} {place}"),
    )


@paradigm(GAPS, FOLK, ("say", "think", "claim", "believe"), PERSON_AND_THING, HANDLING)
def gap_across_clause(other: Noun, say: str, words: PersonAndThing, verb: Verb) -> Pairs:
    person, thing = words
    return crossed(
        lambda wh, rest: question(f"{wh} the {other} {say} that the {person} {verb.past} {rest}"),
        ("what did", "yesterday"),
        ("did", f"the {thing} yesterday"),
    )


@paradigm(GAPS, PERSON_AND_THING, HANDLING, FOLK, TRANSITIVE)
def gap_across_relative(words: PersonAndThing, verb: Verb, other: Noun, meet: Verb) -> Pairs:
    person, thing = words
    return crossed(
        lambda wh, rest: question(f"{wh} the {person} who {meet.past} the {other} {verb.base} {rest}"),
        ("what did", "last night"),
        ("did", f"the {thing} last night"),
    )
