"""Word order: adjectives, adverbs, negation, particles, and where an auxiliary goes in a question."""

from __future__ import annotations

from frostline.tasks.acceptability.grammar import Pairs, crossed, paradigm, question, reordered, statement
from frostline.tasks.acceptability.lexicon import (
    EMBEDDING,
    FOLK,
    HANDLING,
    INTRANSITIVE,
    MANNER,
    MOODS,
    NAMES,
    OPINIONS,
    ORIGINS,
    PARTICLE_VERBS,
    PEOPLE,
    PLACES,
    PLAIN_HANDLING,
    THINGS,
)
from frostline.tasks.acceptability.words import Noun, Verb, assigned

ORDER = "word_order"
INVERSION = "auxiliary_inversion"


@paradigm(ORDER, PEOPLE, HANDLING, OPINIONS, ORIGINS, THINGS)
def adjective_order(person: Noun, verb: Verb, lovely: str, french: str, thing: Noun) -> Pairs:
    start = f"the {person} {verb.past} the"
    return reordered(statement(f"{start} {lovely} {french} {thing}"), statement(f"{start} {french} {lovely} {thing}"))


@paradigm(ORDER, PEOPLE, PLAIN_HANDLING, OPINIONS, THINGS, PLACES)
def adjective_after_noun(person: Noun, verb: Verb, lovely: str, thing: Noun, place: str) -> Pairs:
    start = f"{place} the {person} {verb.past} the"
    return reordered(statement(f"{start} {lovely} {thing}"), statement(f"{start} {thing} {lovely}"))


@paradigm(ORDER, PEOPLE, MANNER, HANDLING, THINGS)
def adverb_before_object(person: Noun, quietly: str, verb: Verb, thing: Noun) -> Pairs:
    return reordered(
        statement(f"the {person} {quietly} {verb.past} the {thing}"),
        statement(f"the {person} {verb.past} {quietly} the {thing}"),
    )


@paradigm(ORDER, PEOPLE, HANDLING, THINGS, PLACES)
def negation_before_participle(person: Noun, verb: Verb, thing: Noun, place: str) -> Pairs:
    return reordered(
        statement(f"the {person} had not {verb.participle} the {thing} {place}"),
        statement(f"the {person} had {verb.participle} not the {thing} {place}"),
    )


@paradigm(ORDER, PEOPLE, MANNER, PARTICLE_VERBS, ("it", "them"), PLACES)
def pronoun_before_particle(person: Noun, quietly: str, verb: tuple[str, str], it: str, place: str) -> Pairs:
    picked, up = verb
    start = f"the {person} {quietly} {picked}"
    return reordered(statement(f"{start} {it} {up} {place}"), statement(f"{start} {up} {it} {place}"))


@paradigm(ORDER, NAMES, PEOPLE, HANDLING, THINGS)
def object_after_verb(name: str, person: Noun, verb: Verb, thing: Noun) -> Pairs:
    return reordered(
        statement(f"{name} thought that the {person} had {verb.participle} the {thing}"),
        statement(f"{name} thought that the {person} the {thing} had {verb.participle}"),
    )


# The clause that embeds the question hides in half of the sentences, so the words it asks about determine it.
@paradigm(INVERSION, assigned(PEOPLE, FOLK), assigned(HANDLING, EMBEDDING), PLACES)
def inversion_after_what(people: tuple[Noun, Noun], words: tuple[Verb, Verb], place: str) -> Pairs:
    person, other = people
    verb, know = words
    return _inverted("what", person, "could", f"{verb.base} {place}", f"the {other} {know.past}")


@paradigm(INVERSION, assigned(PEOPLE, FOLK), assigned(INTRANSITIVE, EMBEDDING), ("why", "when", "how"), PLACES)
def inversion_after_why(people: tuple[Noun, Noun], words: tuple[Verb, Verb], why: str, place: str) -> Pairs:
    person, other = people
    verb, know = words
    return _inverted(why, person, "had", f"{verb.participle} {place}", f"the {other} {know.past}")


def _inverted(wh: str, person: Noun, auxiliary: str, rest: str, embedder: str) -> Pairs:
    def frame(embedded: bool, start: str) -> str:
        clause = f"{wh} {start} {rest}"
        return statement(f"{embedder} {clause}") if embedded else question(clause)

    return crossed(frame, (False, f"{auxiliary} the {person}"), (True, f"the {person} {auxiliary}"))


@paradigm(INVERSION, PEOPLE, INTRANSITIVE, MOODS)
def inversion_across_relative(person: Noun, verb: Verb, tired: str) -> Pairs:
    who, sneezed = f"the {person} who", verb.participle
    return (
        (question(f"is {who} has {sneezed} {tired}"), question(f"has {who} {sneezed} is {tired}")),
        (question(f"has {who} is {tired} {sneezed}"), question(f"is {who} {tired} has {sneezed}")),
    )
