"""The case of pronouns: subjects, objects, possessors."""

from __future__ import annotations

from frostline.tasks.acceptability.grammar import Pairs, crossed, paradigm, statement
from frostline.tasks.acceptability.lexicon import MOODS, PEOPLE, PLACES, QUALITIES, THINGS, TRAITS, TRANSITIVE
from frostline.tasks.acceptability.words import Noun, Verb

CASE = "pronoun_case"
SUBJECT_AND_OBJECT = (("he", "him"), ("she", "her"), ("they", "them"), ("we", "us"), ("I", "me"))
POSSESSIVES = (("my", "mine"), ("your", "yours"), ("her", "hers"), ("our", "ours"), ("their", "theirs"))
Forms = tuple[str, str]


@paradigm(CASE, PEOPLE, SUBJECT_AND_OBJECT, TRANSITIVE, TRAITS)
def subject_or_object(person: Noun, forms: Forms, verb: Verb, old: str) -> Pairs:
    he, him = forms
    noun = f"the {old} {person}"
    return crossed(
        lambda before, pronoun: statement(f"{before[0]} {pronoun} {before[1]}"),
        (("", f"{verb.past} {noun}"), he),
        ((f"{noun} {verb.past}", ""), him),
    )


@paradigm(CASE, PEOPLE, SUBJECT_AND_OBJECT, MOODS, PLACES)
def subject_of_clause(person: Noun, forms: Forms, tired: str, place: str) -> Pairs:
    he, him = forms
    had = "had been"
    return crossed(
        lambda around, pronoun: statement(f"the {person} {around[0]} {pronoun} {around[1]} {tired} {place}"),
        (("believed that", had), he),
        (("believed", "to have been"), him),
    )


@paradigm(CASE, POSSESSIVES, QUALITIES, THINGS)
def possessor(forms: Forms, old: str, thing: Noun) -> Pairs:
    my, mine = forms
    return crossed(
        lambda around, pronoun: statement(f"this {around[0]} {pronoun} {around[1]}"),
        (("is", f"{old} {thing}"), my),
        ((f"{old} {thing} is", ""), mine),
    )
