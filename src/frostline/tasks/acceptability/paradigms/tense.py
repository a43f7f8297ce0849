"""Verb forms: what an auxiliary asks of the verb after it, and what a time asks of the tense."""

from __future__ import annotations

from frostline.tasks.acceptability.grammar import Pairs, crossed, paradigm, question, statement
from frostline.tasks.acceptability.lexicon import (
    FOLK,
    HANDLING,
    INTRANSITIVE,
    MANNER,
    NEUTRAL,
    PEOPLE,
    PLACES,
    THINGS,
    TRAITS,
)
from frostline.tasks.acceptability.words import Noun, Verb, assigned

VERB_FORM = "auxiliary_verb_form"
TENSE = "tense_and_time"
PERFECT_AND_MODAL = (("has", "will"), ("had", "must"), ("has", "should"), ("had", "might"), ("has", "would"))
BE_AND_MODAL = (("is", "will"), ("was", "must"), ("is", "should"), ("was", "might"), ("is", "may"), ("was", "would"))
PASSIVE_ADVERBS = ("finally", "secretly", "quietly", "carefully", "hastily", "openly", "repeatedly", "discreetly")
PAST_AND_FUTURE = (
    *((f"last {period}", f"next {period}") for period in ("week", "month", "year", "Monday", "summer", "spring")),
    ("yesterday", "tomorrow"),
    ("two days ago", "two days from now"),
)
Words = tuple[str, str]


@paradigm(VERB_FORM, FOLK, assigned(MANNER, PERFECT_AND_MODAL), HANDLING, THINGS)
def perfect_or_modal(person: Noun, words: tuple[str, Words], verb: Verb, thing: Noun) -> Pairs:
    quietly, (has, will) = words
    return crossed(
        lambda aux, form: statement(f"the {person} {aux} {quietly} {form} the {thing}"),
        (has, verb.participle),
        (will, verb.base),
    )


@paradigm(VERB_FORM, assigned(TRAITS, PERFECT_AND_MODAL), PEOPLE, HANDLING, THINGS)
def perfect_or_modal_question(words: tuple[str, Words], person: Noun, verb: Verb, thing: Noun) -> Pairs:
    old, (has, will) = words
    return crossed(
        lambda aux, form: question(f"{aux} the {old} {person} {form} the {thing}"),
        (has, verb.participle),
        (will, verb.base),
    )


@paradigm(VERB_FORM, PEOPLE, assigned(NEUTRAL, BE_AND_MODAL), INTRANSITIVE, PLACES)
def progressive_or_modal(person: Noun, words: tuple[str, Words], verb: Verb, place: str) -> Pairs:
    quietly, (was, might) = words
    return crossed(
        lambda aux, form: statement(f"the {person} {aux} {quietly} {form} {place}"),
        (was, verb.gerund),
        (might, verb.base),
    )


@paradigm(VERB_FORM, THINGS, PASSIVE_ADVERBS, HANDLING, PLACES)
def passive_perfect_or_progressive(thing: Noun, quietly: str, verb: Verb, place: str) -> Pairs:
    return crossed(
        lambda aux, be: statement(f"the {thing.plural} {aux} {quietly} {be} {verb.participle} {place}"),
        ("have", "been"),
        ("are", "being"),
    )


@paradigm(VERB_FORM, THINGS, PEOPLE, HANDLING, PLACES)
def did_or_had(thing: Noun, person: Noun, verb: Verb, place: str) -> Pairs:
    return crossed(
        lambda aux, form: question(f"which {thing} {aux} the {person} {form} {place}"),
        ("did", verb.base),
        ("had", verb.participle),
    )


@paradigm(TENSE, PAST_AND_FUTURE, PEOPLE, HANDLING, THINGS)
def tense_after_time(times: Words, person: Noun, verb: Verb, thing: Noun) -> Pairs:
    past, future = times
    return crossed(
        lambda time, form: statement(f"{time} the {person} {form} the {thing}"),
        (past, verb.past),
        (future, f"will {verb.base}"),
    )


@paradigm(TENSE, PAST_AND_FUTURE, FOLK, INTRANSITIVE, PLACES)
def tense_before_time(times: Words, person: Noun, verb: Verb, place: str) -> Pairs:
    past, future = times
    return crossed(
        lambda time, form: statement(f"the {person} {form} {place} {time}"),
        (past, verb.past),
        (future, f"will {verb.base}"),
    )
