"""Subject-verb agreement: next to the verb, across other nouns, in coordination, in questions."""

from __future__ import annotations

from collections.abc import Callable

from frostline.tasks.acceptability.grammar import Pairs, crossed, paradigm, question, statement
from frostline.tasks.acceptability.lexicon import (
    FOLK,
    FOLK_FORMS,
    FREQUENCY,
    HANDLING,
    INTRANSITIVE,
    MOODS,
    PEOPLE,
    PLACES,
    QUALITIES,
    RELATIONS,
    THINGS,
    TRAITS,
    TRANSITIVE,
)
from frostline.tasks.acceptability.words import Noun, Verb, assigned, forms

AGREEMENT = "subject_verb_agreement"


def _agree(frame: Callable[[str, str], str], subject: Noun, singular: str, plural: str) -> Pairs:
    return crossed(frame, (subject.singular, singular), (subject.plural, plural))


@paradigm(AGREEMENT, PEOPLE, FREQUENCY, INTRANSITIVE, PLACES)
def agreement_across_adverb(noun: Noun, often: str, verb: Verb, place: str) -> Pairs:
    return _agree(lambda subject, v: statement(f"the {subject} {often} {v} {place}"), noun, verb.third, verb.base)


@paradigm(AGREEMENT, PEOPLE, RELATIONS, FOLK_FORMS, INTRANSITIVE, FREQUENCY)
def agreement_across_preposition(noun: Noun, near: str, other: str, verb: Verb, often: str) -> Pairs:
    return _agree(
        lambda subject, v: statement(f"the {subject} {near} the {other} {often} {v}"), noun, verb.third, verb.base
    )


@paradigm(AGREEMENT, THINGS, RELATIONS, forms(PEOPLE), QUALITIES)
def agreement_of_things(noun: Noun, near: str, other: str, old: str) -> Pairs:
    return _agree(lambda subject, be: statement(f"the {subject} {near} the {other} {be} {old}"), noun, "is", "are")


@paradigm(AGREEMENT, FOLK, TRANSITIVE, forms(PEOPLE), MOODS)
def agreement_across_subject_relative(noun: Noun, verb: Verb, other: str, tired: str) -> Pairs:
    return _agree(
        lambda subject, be: statement(f"the {subject} who {verb.past} the {other} {be} {tired}"), noun, "was", "were"
    )


@paradigm(AGREEMENT, PEOPLE, FOLK_FORMS, TRANSITIVE, MOODS)
def agreement_across_object_relative(noun: Noun, other: str, verb: Verb, tired: str) -> Pairs:
    return _agree(
        lambda subject, be: statement(f"the {subject} that the {other} {verb.past} {be} {tired}"), noun, "is", "are"
    )


@paradigm(AGREEMENT, THINGS, FOLK, FREQUENCY, HANDLING, QUALITIES)
def agreement_inside_relative(thing: Noun, noun: Noun, often: str, verb: Verb, old: str) -> Pairs:
    return _agree(
        lambda subject, v: statement(f"the {thing.plural} that the {subject} {often} {v} are {old}"),
        noun,
        verb.third,
        verb.base,
    )


@paradigm(AGREEMENT, PEOPLE, FOLK, assigned(PLACES, RELATIONS), INTRANSITIVE)
def agreement_of_joined_subjects(noun: Noun, other: Noun, where: tuple[str, str], verb: Verb) -> Pairs:
    place, near = where
    return crossed(
        lambda link, v: statement(f"the {noun} {link} the {other} {v} {place}"), ("and", verb.base), (near, verb.third)
    )


@paradigm(AGREEMENT, PEOPLE, ("sit", "stand", "wait", "work", "rest", "read"), PLACES, INTRANSITIVE)
def agreement_of_joined_verbs(noun: Noun, sit: str, place: str, verb: Verb) -> Pairs:
    return crossed(
        lambda start, v: statement(f"the {start} {place} and {v}"),
        (f"{noun.singular} {sit}s", verb.third),
        (f"{noun.plural} {sit}", verb.base),
    )


@paradigm(AGREEMENT, PEOPLE, TRAITS, PLACES)
def agreement_in_copula_question(noun: Noun, old: str, place: str) -> Pairs:
    return _agree(lambda subject, be: question(f"{be} the {old} {subject} {place}"), noun, "is", "are")


@paradigm(AGREEMENT, THINGS, TRAITS, PEOPLE, FREQUENCY, HANDLING)
def agreement_in_object_question(thing: Noun, old: str, noun: Noun, often: str, verb: Verb) -> Pairs:
    return _agree(
        lambda subject, do: question(f"which {thing.plural} {do} the {old} {subject} {often} {verb.base}"),
        noun,
        "does",
        "do",
    )
