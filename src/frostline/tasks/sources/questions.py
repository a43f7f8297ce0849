"""Questions on passages with the answers that stand there: SQuAD's JSON, and data sets of the Hub with its columns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frostline.errors import DataError, nearest
from frostline.tasks.sources import hub
from frostline.tasks.sources.content import read_bytes, read_text
from frostline.tasks.sources.reading import SPLIT
from frostline.tasks.sources.rows import is_unicode

_EVALUATION = ("validation", "dev", "test")
_TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
_WORDS = {list: "list", str: "text", int: "whole number"}
_LAYOUTS = (
    "Understood are: SQuAD's JSON (data, paragraphs, qas), a folder with one such train*.json and one dev*.json or "
    "validation*.json, or a Hub name such as 'rajpurkar/squad'"
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question on a passage.

    Attributes:
        context: the passage.
        question: on it.
        answers: each of which is right, as it stands in the passage; none where the passage does not tell.
        starts: characters of the passage before each of them.
        article: what the passage is from.
    """

    context: str
    question: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]
    article: str


@dataclass(frozen=True, slots=True)
class Questions:
    """What a source holds.

    Attributes:
        name: of the source, without folders.
        questions: in its order.
        sha256: of the file's bytes, or of the rows.
        answered: whether its questions come with answers, or with none that say that there is none.
    """

    name: str
    questions: tuple[Question, ...]
    sha256: str
    answered: bool


def read_train(source: str, validation: str | None) -> tuple[Questions, Questions | None]:
    """Read training questions, and validation questions where there are any to be read.

    Args:
        source: a JSON file, a folder, or a Hub name.
        validation: a file to validate on, `split` for none, None for the source's own.

    Raises:
        DataError: the source is not recognised or cannot be read, or has no answers.
    """
    path = Path(source).expanduser()
    if not path.exists():
        splits = _splits(source)
        if "train" not in splits:
            raise DataError(f"{source}: there is no split 'train'{nearest('train', splits)}")
        own = next((split for split in _EVALUATION if split in splits), None) if validation is None else None
        train = _of_hub(source, "train", splits)
        held = None if own is None else _of_hub(source, own, splits)
    else:
        folder = path if path.is_dir() else None
        train = read_file(_one(folder, ("train",)) if folder else path)
        held = read_file(_one(folder, _EVALUATION)) if folder and validation is None else None
    if validation not in (None, SPLIT):
        held = read_file(Path(str(validation)).expanduser())
    for found in (train, held):
        if found is not None and not found.answered:
            raise DataError(f"{found.name}: its questions have no answers to learn from or to score against.")
    if held is not None and held.sha256 == train.sha256:
        raise DataError(f"{held.name}: validation is the same as training, so its score would say nothing.")
    return train, held


def read_evaluation(source: str) -> Questions:
    """Read questions to evaluate or predict on: a file, or the evaluation part of a folder or Hub name."""
    path = Path(source).expanduser()
    if path.is_dir():
        return read_file(_one(path, _EVALUATION))
    if path.exists():
        return read_file(path)
    splits = _splits(source)
    split = next((split for split in _EVALUATION if split in splits), None)
    if split is None:
        raise DataError(f"{source}: its splits are {', '.join(splits)}; none of {', '.join(_EVALUATION)}")
    return _of_hub(source, split, splits)


def read_file(path: Path) -> Questions:
    """Read a JSON file as the authors of SQuAD publish it, 1.1 or 2.0.

    Raises:
        DataError: the file cannot be read, is no such JSON, or a question cannot be used; names its place.
    """
    if path.suffix.lower() in _TABLES:
        raise DataError(f"{path}: questions are not read from a table. {_LAYOUTS}")
    try:
        values = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: this is no JSON: {error.msg}. {_LAYOUTS}") from error
    except RecursionError as error:
        raise DataError(f"{path}: this is no SQuAD file: it is nested too deeply. {_LAYOUTS}") from error
    try:
        found = list(_of_json(values, str(path)))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: this is no SQuAD file ({type(error).__name__}: {error}). {_LAYOUTS}") from error
    return _questions(path.stem, found, hashlib.sha256(read_bytes(path)).hexdigest())


def _of_json(values: Any, where: str) -> Iterator[tuple[Question, bool]]:
    for article in values["data"]:
        for number, paragraph in enumerate(article["paragraphs"], 1):
            place = f"{where}, {article.get('title', 'an article')!r}, paragraph {number}"
            for entry in paragraph["qas"]:
                answers = _typed(entry.get("answers", []), list, "the answers", place)
                texts = [_typed(answer["text"], str, "the text of an answer", place) for answer in answers]
                starts = [_typed(answer["answer_start"], int, "answer_start", place) for answer in answers]
                for key in ("context", "question"):
                    _typed((paragraph if key == "context" else entry)[key], str, f"the {key}", place)
                impossible = entry.get("is_impossible")
                if isinstance(impossible, bool) and "answers" in entry and impossible is bool(texts):
                    has = f"has {len(texts)} answers" if texts else "has no answer"
                    raise DataError(
                        f"{place}: {entry['question']!r} {has}, and is_impossible is {impossible}; mend it."
                    )
                title = str(article.get("title", number))
                known = "answers" in entry
                yield _checked(paragraph["context"], entry["question"], texts, starts, title, place), known


def _typed(value: Any, wanted: type, what: str, place: str) -> Any:
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise DataError(
            f"{place}: {what} is {value!r}, which is no {_WORDS[wanted]}; mend it, or leave the question out."
        )
    return value


def _splits(source: str) -> dict[str, Any]:
    if not hub.is_name(source) or source.endswith(".json"):
        raise DataError(f"{source!r}: there is no such file or folder. {_LAYOUTS}")
    return hub.splits_of(source)


def _of_hub(source: str, split: str, splits: dict[str, Any]) -> Questions:
    data = splits[split]
    for column in ("context", "question", "answers"):
        if column not in data.column_names:
            raise DataError(
                f"{source} ({split}): there is no column {column!r}; it has {', '.join(data.column_names)}."
            )
    rows, sha = [], hashlib.sha256()
    for index, row in enumerate(data):
        texts, starts = list(row["answers"]["text"]), list(row["answers"]["answer_start"])
        title = str(row.get("title", index))
        place = f"{source} ({split}), row {index}"
        rows.append((_checked(row["context"], row["question"], texts, starts, title, place), True))
        sha.update(json.dumps([row["context"], row["question"], texts, starts]).encode() + b"\n")
    return _questions(source.rsplit("/", 1)[-1], rows, sha.hexdigest())


def _checked(
    context: str, question: str, answers: Sequence[str], starts: Sequence[int], article: str, place: str
) -> Question:
    """Return the question, each answer where it stands in the passage: the nearest place, if it is not where said."""
    if not question.strip():
        raise DataError(f"{place}: a question is empty; take it out.")
    if not context.strip():
        raise DataError(f"{place}: the passage of {question!r} is empty; take it out.")
    for text in (context, question):
        if not is_unicode(text):
            raise DataError(f"{place}: {text[:60]!r} ... holds what no UTF-8 can hold; mend it.")
    found = []
    for answer, start in zip(answers, starts, strict=True):
        if not answer.strip():
            raise DataError(f"{place}: an answer to {question!r} is empty; a question without one has no answers.")
        places = (
            [i for i in range(len(context)) if context.startswith(answer, i)]
            if start < 0 or context[start : start + len(answer)] != answer
            else [start]
        )
        if not places:
            raise DataError(
                f"{place}: the answer {answer!r} to {question!r} does not stand in its passage; mend it, or leave the "
                "question out."
            )
        found.append(min(places, key=lambda place: abs(place - start)))
    return Question(context, question, tuple(answers), tuple(found), article)


def _questions(name: str, rows: Sequence[tuple[Question, bool]], sha256: str) -> Questions:
    if not rows:
        raise DataError(f"{name}: there are no questions in it.")
    return Questions(name, tuple(question for question, _ in rows), sha256, all(known for _, known in rows))


def _one(folder: Path, stems: Sequence[str]) -> Path:
    for stem in stems:
        found = sorted(folder.glob(f"{stem}*.json"))
        if len(found) > 1:
            names = " and ".join(path.name for path in found)
            raise DataError(f"{folder}: {names} could each be the split; name the files: data=... validation=...")
        if found:
            return found[0]
    names = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
    raise DataError(f"{folder}: no {' or '.join(f'{stem}*.json' for stem in stems)} here, which holds {names}.")
