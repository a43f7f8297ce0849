"""Quantifiers: `many` counts and `much` measures, and `there is` takes no `every`."""

from __future__ import annotations

from frostline.tasks.acceptability.grammar import Pairs, crossed, paradigm, question, statement
from frostline.tasks.acceptability.lexicon import COUNT_AND_MASS, FOLK, PEOPLE, PLACES, SHOPPING
from frostline.tasks.acceptability.words import Noun, Verb, assigned

QUANTIFIERS = "quantifiers"
KINDS = ("cheap", "good", "expensive", "extra", "foreign", "local", "excellent", "ordinary")
CountAndMass = tuple[Noun, str]


@paradigm(QUANTIFIERS, PEOPLE, SHOPPING, KINDS, COUNT_AND_MASS)
def many_or_much(person: Noun, verb: Verb, cheap: str, words: CountAndMass) -> Pairs:
    count, mass = words
    return crossed(
        lambda many, noun: statement(f"the {person} did not {verb.base} {many} {cheap} {noun}"),
        ("many", count.plural),
        ("much", mass),
    )


@paradigm(QUANTIFIERS, KINDS, COUNT_AND_MASS, PEOPLE, SHOPPING)
def how_many_or_much(cheap: str, words: CountAndMass, person: Noun, verb: Verb) -> Pairs:
    count, mass = words
    return crossed(
        lambda many, noun: question(f"how {many} {cheap} {noun} did the {person} {verb.base}"),
        ("many", count.plural),
        ("much", mass),
    )


@paradigm(QUANTIFIERS, PEOPLE, FOLK, assigned(PLACES, (*PLACES[7:], *PLACES[:7])))
def there_is_every(person: Noun, other: Noun, places: tuple[str, str]) -> Pairs:
    here, there = places
    return tuple(
        (
            statement(f"there was a {one} {here}, and every {two} was {there}"),
            statement(f"there was every {one} {here}, and a {two} was {there}"),
        )
        for one, two in ((person, other), (other, person))
    )
