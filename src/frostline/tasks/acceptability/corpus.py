"""Draw a corpus from the paradigms: splits that share no instance, exact balance, the same text for the same seed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal, get_args

from frostline.errors import DataError, nearest
from frostline.tasks.acceptability.grammar import Filling, Pairs, Paradigm
from frostline.tasks.acceptability.paradigms import PARADIGMS

Split = Literal["train", "validation", "test"]
SPLITS: tuple[str, ...] = get_args(Split)
PHENOMENA = tuple(sorted({paradigm.phenomenon for paradigm in PARADIGMS}))
FILLINGS_PER_PARADIGM = 1000
"""How many instances of each paradigm exist, over all splits; beyond this a corpus gains few new constructions."""


@dataclass(frozen=True)
class Sentence:
    """An English sentence and whether it is acceptable."""

    text: str
    label: int
    """1 for acceptable, 0 for unacceptable."""
    phenomenon: str
    """What the sentence tests; one of `PHENOMENA`."""
    template: str
    """The paradigm that made it."""


def generate(split: Split, size: int, seed: int = 0) -> list[Sentence]:
    """Return `size` different sentences of a split, as minimal pairs.

    Sentences 2k and 2k+1 are the two members of a pair, in random order; an odd size ends in an acceptable sentence
    without its partner. Templates share the corpus evenly until the smaller ones are used up. Whole instances are
    taken while they fit, so words stay balanced between the labels whatever the size.

    Raises DataError for an unknown split, a size below 1, and a size above what the split holds.
    """
    if split not in SPLITS:
        raise DataError(f"unknown split {split!r}{nearest(str(split), SPLITS)}")
    if size < 1:
        raise DataError(f"size {size} of the {split} split is not positive; ask for at least 1 sentence")
    if size > (maximum := largest(split)):
        raise DataError(f"size {size} of the {split} split is more than the {maximum} sentences it has; ask for fewer")
    rng = random.Random(f"acceptability/{split}/{seed}")
    chosen = list(_choose((size + 1) // 2, rng, _fillings()[split]))
    rng.shuffle(chosen)
    sentences = [sentence for pair in chosen for sentence in rng.sample(pair, 2)]
    if size % 2:
        sentences[-2:] = [sentence for sentence in sentences[-2:] if sentence.label == 1]
    return sentences


def largest(split: Split) -> int:
    """Return how many sentences a split holds."""
    return sum(2 * _pairs_of(paradigm) * len(found) for paradigm, found in _fillings()[split].items())


def split_of(key: str) -> Split:
    """Return the split of the instance with this key: a tenth each for validation and test, by a stable hash."""
    draw = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 10
    return "validation" if draw == 0 else "test" if draw == 1 else "train"


def _choose(
    wanted: int, rng: random.Random, fillings: dict[Paradigm, tuple[Filling, ...]]
) -> Iterator[tuple[Sentence, Sentence]]:
    """Yield `wanted` pairs, always from the paradigm that has given fewest and whose instance still fits."""
    waiting = {paradigm: rng.sample(found, len(found)) for paradigm, found in fillings.items()}
    given = dict.fromkeys(rng.sample(PARADIGMS, len(PARADIGMS)), 0)
    while wanted:
        left = [paradigm for paradigm in given if waiting[paradigm]]
        fits = [paradigm for paradigm in left if _pairs_of(paradigm) <= wanted]
        paradigm = min(fits or left, key=given.__getitem__)
        # Only when nothing fits is an instance cut short, which unbalances the few words of one pair.
        pairs = paradigm.build(*waiting[paradigm].pop())[:wanted]
        given[paradigm] += len(pairs)
        wanted -= len(pairs)
        yield from _label(paradigm, pairs)


def _label(paradigm: Paradigm, pairs: Pairs) -> Iterator[tuple[Sentence, Sentence]]:
    for good, bad in pairs:
        yield (
            Sentence(good, 1, paradigm.phenomenon, paradigm.template),
            Sentence(bad, 0, paradigm.phenomenon, paradigm.template),
        )


@lru_cache(maxsize=1)
def _fillings() -> dict[str, dict[Paradigm, tuple[Filling, ...]]]:
    found: dict[str, dict[Paradigm, list[Filling]]] = {
        split: {paradigm: [] for paradigm in PARADIGMS} for split in SPLITS
    }
    for paradigm in PARADIGMS:
        for filling in paradigm.fillings(FILLINGS_PER_PARADIGM):
            found[split_of(paradigm.key(filling))][paradigm].append(filling)
    return {split: {paradigm: tuple(each) for paradigm, each in table.items()} for split, table in found.items()}


@cache
def _pairs_of(paradigm: Paradigm) -> int:
    """Return how many pairs an instance has, which is the same for every filling."""
    return len(paradigm.build(*next(paradigm.fillings(1))))
