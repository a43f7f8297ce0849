"""Passages in windows that overlap, and from the scores of their tokens to the answer of each question.

As in BERT (arXiv 1810.04805, sections 4.2 and 4.3): a span's score is the sum of its first token's and its last one's,
and where there may be no answer the first token of the window stands for that. Of several windows, the best span of any
counts, and the lowest score for no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import datasets

BEST = 20
"""First and last tokens of each window that are looked at."""
LONGEST = 30
"""Tokens of an answer."""
_AT_ONCE = 1000
"""Questions that the tokenizer is given: it returns lists and texts, many times what the table made of them takes."""
_ROW, _OFFSETS = "row", ("first", "behind")
_TYPES = {"token_type_ids": "int8", "attention_mask": "int8"}
ANSWER = np.dtype([("answer", object), ("score", np.float64)])
"""An answer, the empty text for none, and its share among the spans that were looked at."""


@dataclass(frozen=True)
class Windows:
    """The windows of some rows.

    Attributes:
        table: a row for each: the inputs of the forward pass, (tokens,) each; `row`, of which it is one; `first` and
            `behind`, the characters of the passage where each token begins and ends, -1 for tokens that are not of it.
    """

    table: datasets.Dataset

    @property
    def inputs(self) -> datasets.Dataset:
        """The inputs of the forward pass alone."""
        return self.table.remove_columns([_ROW, *_OFFSETS])

    @property
    def rows(self) -> list[int]:
        """The row of each window."""
        return list(self.table[_ROW])

    def longest_first(self) -> Windows:
        """Return the same in another order: batches of them are hardly padded."""
        lengths = [len(ids) for ids in self.table["input_ids"]]
        order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
        return Windows(self.table.select(order, keep_in_memory=True).flatten_indices(keep_in_memory=True))

    def offsets(self) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.int32]]]:
        """Yield of each window its row, and the characters where its tokens begin and end."""
        for window in self.table.select_columns([_ROW, *_OFFSETS]).with_format("numpy"):
            yield int(window[_ROW]), window["first"], window["behind"]

    def targets(self, starts: Sequence[int | None], ends: Sequence[int | None]) -> dict[str, list[int]]:
        """Return the first and the last token of the answer in each window, 0 where it is not all in the window.

        Args:
            starts: of each row, the character at which the answer begins; None for no answer.
            ends: of each row, the one behind its last.
        """
        found: dict[str, list[int]] = {"start_positions": [], "end_positions": []}
        for row, firsts, behinds in self.offsets():
            first, last = _tokens_of(firsts, behinds, starts[row], ends[row])
            found["start_positions"].append(first)
            found["end_positions"].append(last)
        return found

    def answers(
        self, starts: Any, ends: Any, contexts: Sequence[str], *, unanswerable: bool, threshold: float
    ) -> NDArray[Any]:
        """Return the answer of each row, dtype `ANSWER`, shape (rows,).

        Args:
            starts, ends: scores of the tokens as the answer's first and last; of each window (tokens or more,).
            contexts: of each row.
            unanswerable: whether there may be no answer.
            threshold: by how much the score for no answer must be above the best span's.
        """
        spans: list[list[tuple[float, str]]] = [[] for _ in contexts]
        nothing = np.full(len(contexts), np.inf)
        for (row, first, behind), start, end in zip(self.offsets(), starts, ends, strict=True):
            count = len(first)
            start, end = np.asarray(start[:count], np.float64), np.asarray(end[:count], np.float64)
            nothing[row] = min(nothing[row], start[0] + end[0])
            spans[row] += _best(start, end, first, behind, contexts[row])
        found = np.empty(len(contexts), ANSWER)
        for row, candidates in enumerate(spans):
            candidates.sort(key=lambda span: -span[0])
            scores = np.array([score for score, _ in candidates[:BEST]] + ([nothing[row]] if unanswerable else []))
            shares = np.exp(scores - scores.max()) if scores.size else scores
            none = not candidates or (unanswerable and nothing[row] > candidates[0][0] + threshold)
            share = shares[-1 if none else 0] / shares.sum() if scores.size else 0.0
            found[row] = ("" if none else candidates[0][1], share)
        return found


def windows(tokenizer: Any, questions: Sequence[str], contexts: Sequence[str], max_length: int, stride: int) -> Windows:
    """Return the windows of some rows: the question, and as much of its passage as there is room for.

    Args:
        tokenizer: a fast one.
        questions, contexts: of each row.
        max_length: tokens of a window.
        stride: tokens that two windows of a passage share.
    """
    from datasets import Dataset, Features, List, Value, concatenate_datasets

    parts = []
    for start in range(0, len(questions), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        encoded = tokenizer(
            list(questions[part]),
            list(contexts[part]),
            truncation="only_second",
            max_length=max_length,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        columns: dict[str, Any] = {_ROW: [start + row for row in encoded.pop("overflow_to_sample_mapping")]}
        places = [np.asarray(window, np.int32).reshape(-1, 2) for window in encoded.pop("offset_mapping")]
        for index, window in enumerate(places):
            window[np.array([of != 1 for of in encoded.sequence_ids(index)])] = -1
        columns |= {name: [window[:, column] for window in places] for column, name in enumerate(_OFFSETS)}
        features = {name: Value("int32") if name == _ROW else List(Value("int32")) for name in columns}
        features |= {name: List(Value(_TYPES.get(name, "int32"))) for name in encoded}
        parts.append(Dataset.from_dict({**columns, **encoded}, Features(features)))
    return Windows(concatenate_datasets(parts))


def _tokens_of(
    first: NDArray[np.int32], behind: NDArray[np.int32], start: int | None, end: int | None
) -> tuple[int, int]:
    if start is None or end is None:
        return 0, 0
    begun = np.flatnonzero((first <= start) & (behind > start))
    ended = np.flatnonzero((first < end) & (behind >= end))
    return (int(begun[0]), int(ended[-1])) if begun.size and ended.size else (0, 0)


def _best(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    first: NDArray[np.int32],
    behind: NDArray[np.int32],
    context: str,
) -> list[tuple[float, str]]:
    """Return score and text of the best spans of a window, at most `BEST`."""
    own = np.flatnonzero(first >= 0)
    firsts = own[np.argsort(-start[own], kind="stable")[:BEST]]
    lasts = own[np.argsort(-end[own], kind="stable")[:BEST]]
    length = lasts[None, :] - firsts[:, None]
    scores = np.where((length >= 0) & (length < LONGEST), start[firsts][:, None] + end[lasts][None, :], -np.inf)
    found = []
    for place in np.argsort(-scores, axis=None, kind="stable")[:BEST]:
        i, j = np.unravel_index(place, scores.shape)
        if scores[i, j] == -np.inf:
            break
        found.append((float(scores[i, j]), context[first[firsts[i]] : behind[lasts[j]]]))
    return found
