"""The acceptability corpus: balanced, reproducible, and not to be learnt from its words alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from frostline.errors import DataError
from frostline.tasks.acceptability import PHENOMENA, Sentence, generate
from frostline.tasks.acceptability.corpus import FILLINGS_PER_PARADIGM, SPLITS, Split, largest, split_of
from frostline.tasks.acceptability.paradigms import PARADIGMS

DIGEST = """
import hashlib
from frostline.tasks.acceptability import generate
print(hashlib.sha256(repr(generate("test", 500, seed=3)).encode()).hexdigest())
"""


Instances = dict[str, tuple[Split, tuple[tuple[str, str], ...]]]


def tokens(*texts: str) -> Counter[str]:
    return Counter(token for text in texts for token in re.findall(r"\w+|[.,?]", text.lower()))


@pytest.fixture(scope="module")
def train() -> list[Sentence]:
    return generate("train", 4000)


@pytest.fixture(scope="module")
def held_out() -> list[Sentence]:
    return generate("test", 4000)


@pytest.fixture(scope="module")
def instances() -> Instances:
    """Every instance that exists: its key, its split and its pairs."""
    return {
        paradigm.key(filling): (split_of(paradigm.key(filling)), paradigm.build(*filling))
        for paradigm in PARADIGMS
        for filling in paradigm.fillings(FILLINGS_PER_PARADIGM)
    }


def test_the_grammar_is_broad() -> None:
    assert len(PHENOMENA) >= 10
    assert len(PARADIGMS) >= 25
    assert len({paradigm.template for paradigm in PARADIGMS}) == len(PARADIGMS)


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_shows_every_phenomenon(split: Split) -> None:
    assert {sentence.phenomenon for sentence in generate(split, 1000)} == set(PHENOMENA)


@pytest.mark.parametrize(("split", "size"), [("train", 20_000), ("validation", 4000), ("test", 2), ("test", 998)])
def test_labels_are_balanced_and_sentences_differ(split: Split, size: int) -> None:
    sentences = generate(split, size)
    assert Counter(sentence.label for sentence in sentences) == {0: size // 2, 1: size // 2}
    assert len({sentence.text for sentence in sentences}) == size


def test_an_odd_size_has_one_acceptable_sentence_more() -> None:
    assert [sentence.label for sentence in generate("train", 1)] == [1]
    assert sum(sentence.label for sentence in generate("train", 101)) == 51


def test_no_sentence_belongs_to_two_instances(instances: Instances) -> None:
    times = Counter(text for _, pairs in instances.values() for pair in pairs for text in pair)
    assert [text for text, count in times.items() if count > 1] == []


def test_splits_share_neither_instances_nor_sentences(instances: Instances) -> None:
    home = {text: split for split, pairs in instances.values() for pair in pairs for text in pair}
    for split in SPLITS:
        for seed in (0, 1):
            assert {home[sentence.text] for sentence in generate(split, 2000, seed)} == {split}


def test_every_instance_has_the_same_words_in_good_and_in_bad_sentences(instances: Instances) -> None:
    unbalanced = [
        key
        for key, (_, pairs) in instances.items()
        if tokens(*(good for good, _ in pairs)) != tokens(*(bad for _, bad in pairs))
    ]
    assert unbalanced == []


def test_whole_instances_are_taken_so_every_word_is_as_often_good_as_bad(train: list[Sentence]) -> None:
    bad, good = (tokens(*(each.text for each in train if each.label == label)) for label in (0, 1))
    assert bad == good


def test_neighbouring_sentences_are_minimal_pairs(train: list[Sentence]) -> None:
    for first, second in list(pairwise(train))[::2]:
        assert {first.label, second.label} == {0, 1}
        assert first.template == second.template
        differing = (tokens(first.text) - tokens(second.text)) + (tokens(second.text) - tokens(first.text))
        assert sum(differing.values()) <= 6, (first.text, second.text)


def test_sentences_are_written_as_english_is(train: list[Sentence]) -> None:
    for sentence in train:
        assert re.fullmatch(r"[A-Z][A-Za-z]*(,? [A-Za-z]+)+[.?]", sentence.text), sentence.text
        assert not re.search(r"\b(a [aeiou]|an [^aeiou])", sentence.text.lower()), sentence.text


def test_the_same_seed_gives_the_same_sentences_in_every_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_another_seed_gives_other_sentences() -> None:
    first, again, other = (generate("train", 1000, seed) for seed in (0, 0, 1))
    assert first == again
    assert len({s.text for s in first} & {s.text for s in other}) < 200  # a twentieth is drawn in common by chance


@pytest.mark.parametrize("step", [1, 3], ids=["whole instances", "torn instances"])
def test_a_bag_of_words_stays_at_chance(train: list[Sentence], held_out: list[Sentence], step: int) -> None:
    words, seen = CountVectorizer(), train[::step]
    model = LogisticRegression(max_iter=1000).fit(
        words.fit_transform(each.text for each in seen), [each.label for each in seen]
    )
    accuracy = model.score(words.transform(each.text for each in held_out), [each.label for each in held_out])
    assert 0.42 <= accuracy <= 0.58


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_that_is_not_positive_is_refused(size: int) -> None:
    with pytest.raises(DataError, match=f"size {size} .* not positive"):
        generate("train", size)


def test_all_of_a_split_can_be_had_and_no_more() -> None:
    everything = largest("validation")
    assert len({sentence.text for sentence in generate("validation", everything)}) == everything
    with pytest.raises(DataError, match=f"size {everything + 1} .* {everything} sentences"):
        generate("validation", everything + 1)


def test_an_unknown_split_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(DataError, match="unknown split 'trian'; did you mean 'train'"):
        generate("trian", 10)
