"""Windows over a passage, and the spans that the scores of their tokens stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from frostline.models import locate
from frostline.tasks.metrics import squad_f1
from frostline.tasks.spans import windows

CONTEXT = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen."


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(locate("minilm"))


def scores(found: Any, start: int, end: int) -> tuple[list[Any], list[Any]]:
    """Scores that are high at the tokens that begin and end at those characters of the passage."""
    starts, ends = [], []
    for _, first, behind in found.offsets():
        padding = np.full(3, -100.0)  # as a Trainer pads what it gathers
        starts.append(np.concatenate([np.where(first == start, 9.0, 0.0), padding]))
        ends.append(np.concatenate([np.where(behind == end, 9.0, 0.0), padding]))
    return starts, ends


@settings(max_examples=60, deadline=None)
@given(words=st.tuples(st.integers(0, 15), st.integers(0, 4)), length=st.integers(16, 40), sort=st.booleans())
def test_an_answer_comes_back_from_its_tokens(tokenizer: Any, words: tuple[int, int], length: int, sort: bool) -> None:
    parts = CONTEXT.removesuffix(".").split()
    answer = " ".join(parts[words[0] : words[0] + words[1] + 1])
    start = CONTEXT.index(answer)
    found = windows(tokenizer, ["Which numbers?", "And?"], [CONTEXT, "Nothing here."], length, 6)
    found = found.longest_first() if sort else found
    targets = found.targets([start, None], [start + len(answer), None])
    for row, first, last, ids in zip(found.rows, *targets.values(), found.inputs["input_ids"], strict=True):
        if row == 1:
            assert first == last == 0
        elif first:
            assert tokenizer.decode(ids[first : last + 1]) == answer.lower()
    taken = found.answers(
        *scores(found, start, start + len(answer)), [CONTEXT, "Nothing here."], unanswerable=False, threshold=0.0
    )
    if any(targets["start_positions"]):
        assert taken[0]["answer"] == answer
        assert 0 < taken[0]["score"] <= 1


def test_no_answer_is_given_where_it_may_be_and_scores_best(tokenizer: Any) -> None:
    found = windows(tokenizer, ["Which?"], [CONTEXT], 20, 4)
    assert len(found.rows) > 1
    starts, ends = scores(found, 0, 3)
    for window in range(len(starts)):
        starts[window][0] = ends[window][0] = 8.0
    how = {"unanswerable": True, "threshold": 0.0}
    assert found.answers(starts, ends, [CONTEXT], **how)["answer"][0] == "One"
    starts[0][0] = 12.0  # of several windows the least sure counts
    assert found.answers(starts, ends, [CONTEXT], **how)["answer"][0] == "One"
    for window in range(len(starts)):
        starts[window][0] = ends[window][0] = 10.0
    assert found.answers(starts, ends, [CONTEXT], **how)["answer"][0] == ""
    assert found.answers(starts, ends, [CONTEXT], unanswerable=True, threshold=3.0)["answer"][0] == "One"
    assert found.answers(starts, ends, [CONTEXT], unanswerable=False, threshold=0.0)["answer"][0] == "One"


def test_squads_scores() -> None:
    assert squad_f1(["the Eiffel tower!"], [["Eiffel Tower"]]) == {"squad_f1": 1.0, "exact_match": 1.0}
    assert squad_f1(["a big tower"], [["tower", "another thing"]])["squad_f1"] == pytest.approx(2 / 3)
    mixed = squad_f1(["Paris", "", "x"], [["Paris"], [], []])
    assert mixed == pytest.approx(
        {"squad_f1": 2 / 3, "exact_match": 2 / 3, "has_answer_f1": 1.0, "has_answer_exact": 1.0, "no_answer": 0.5}
    )
    assert squad_f1([""], [["Paris"]])["squad_f1"] == 0.0
    assert squad_f1(["", "x"], [[], []]) == {"squad_f1": 0.5, "exact_match": 0.5}
