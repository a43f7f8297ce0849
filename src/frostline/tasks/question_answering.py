"""Questions on passages, answered by a span of the passage or by nothing: SQuAD 1.1 and 2.0."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frostline.errors import ConfigError, DataError
from frostline.heads import QUESTION_ANSWERING
from frostline.tasks.base import Encoded, Inputs, Origin, Scorer, Task, TaskData
from frostline.tasks.metrics import DEFAULT, get_metric
from frostline.tasks.sources.questions import Question, read_evaluation, read_train

if TYPE_CHECKING:
    import datasets
    from numpy.typing import NDArray

    from frostline.config import TrainConfig
    from frostline.models import Loaded
    from frostline.tasks.spans import Windows

_OWN = "question_answering"
"""Of the model's config: how a trained model was asked, so that it is always asked in the same way."""


class QuestionAnswering(Task):
    """Questions, each with a passage that holds the answer, or does not."""

    head = QUESTION_ANSWERING
    pipeline = "question-answering"
    reads = "questions"
    columns = ()
    keys = ("stride", "null_threshold")

    def read(self, config: TrainConfig) -> TaskData:
        """Return the data of a run; validation that is split off train consists of whole articles."""
        self.refuse_keys(config)
        train, held = read_train(config.data, config.validation)
        kept: Sequence[Question] = train.questions
        if held is None:
            kept, validation = _by_article(kept, config.validation_share, config.seed, train.name)
        else:
            validation = list(held.questions)
        if config.max_train is not None and config.max_train < len(kept):
            chosen = sorted(random.Random(config.seed).sample(range(len(kept)), config.max_train))
            kept = [kept[index] for index in chosen]
        if not any(question.answers for question in kept):
            raise DataError(f"{train.name}: none of its {len(kept):,} questions has an answer; nothing can be learnt.")
        sha = train.sha256 if held is None else f"{train.sha256}+{held.sha256}"
        return TaskData(_rows(kept), _rows(validation), (), DEFAULT[QUESTION_ANSWERING], train.name, sha)

    def origin(self, config: TrainConfig) -> Origin:
        """Return where the rows come from."""
        train, held = read_train(config.data, config.validation)
        return Origin(held is not None, train.sha256 if held is None else f"{train.sha256}+{held.sha256}")

    def read_examples(
        self, source: str, label_names: tuple[str, ...] | None, columns: Mapping[str, str]
    ) -> datasets.Dataset:
        """Return questions to evaluate or predict on."""
        found = read_evaluation(source)
        rows = _rows(found.questions)
        return rows if found.answered and label_names is not None else rows.remove_columns(["label", "start"])

    def examples(self, words: Sequence[str]) -> datasets.Dataset:
        """Return a row for each two words: a question, and its passage."""
        from datasets import Dataset

        if len(words) % 2:
            raise DataError(f"{len(words)} texts are no questions with passages; give each question and its passage.")
        if any(not word.strip() for word in words):
            raise DataError("a question or a passage is empty; give each question and its passage.")
        return Dataset.from_dict({"question": list(words[::2]), "context": list(words[1::2])})

    def load(self, name: str, label_names: Sequence[str] | None = None, config: TrainConfig | None = None) -> Loaded:
        """Load a model that scores tokens as an answer's first and last, with a fast tokenizer."""
        from transformers import AutoModelForQuestionAnswering, AutoTokenizer

        from frostline.models import load_pretrained, pads

        found = load_pretrained(
            name,
            AutoModelForQuestionAnswering,
            AutoTokenizer.from_pretrained,
            None,
            QUESTION_ANSWERING,
            new_head=label_names is not None,
        )
        if not found.processor.is_fast:
            raise ConfigError(f"model {name!r} has a slow tokenizer, which does not say where tokens stand in a text.")
        return pads(found, "right")

    def encode(self, data: TaskData, loaded: Loaded, config: TrainConfig) -> Encoded:
        """Return windows of the passages as tokens, with the first and the last token of the answer.

        The model's config remembers length, stride, and whether there may be no answer.
        """
        from datasets import Dataset, concatenate_datasets
        from transformers import DataCollatorWithPadding

        stride = config.max_length // 3 if config.stride is None else config.stride
        own = {
            "max_length": config.max_length,
            "stride": stride,
            "null_threshold": config.null_threshold or 0.0,
            "unanswerable": any(not answers for answers in data.train["label"]),
        }
        setattr(loaded.model.config, _OWN, own)
        train = _windows(loaded, data.train, own, settable=True)
        validation = _windows(loaded, data.validation, own, settable=True).longest_first()
        contexts = list(data.validation["context"])

        def rows(found: Windows, split: datasets.Dataset) -> datasets.Dataset:
            targets = Dataset.from_dict(found.targets(*_first_answers(split)))
            return concatenate_datasets([found.inputs, targets], axis=1)

        def outputs(kept: Any) -> NDArray[Any]:
            return _answers(validation, kept[0], kept[1], contexts, own)

        encoded = rows(train, data.train)
        missed = _missed(train, encoded, data.train)
        notes = [f"{len(data.train):,} questions make {len(encoded):,} windows of {config.max_length} tokens at most."]
        if missed:
            notes.append(f"{missed:,} answers are cut by every window of their passage; raise stride.")
        silent = sum(not answers for answers in data.validation["label"])
        if silent and not own["unanswerable"]:
            notes.append(f"{silent:,} questions of validation have no answer; none of train is such, so all get one.")
        return Encoded(
            encoded,
            rows(validation, data.validation),
            DataCollatorWithPadding(loaded.processor),
            [len(ids) for ids in encoded["input_ids"]],
            tuple(notes),
            outputs=outputs,
        )

    def scorer(self, metric: str | None, label_names: tuple[str, ...]) -> Scorer:
        """Return what scores answers, dtype `spans.ANSWER`, against the lists of those that are right."""
        found = get_metric(metric or DEFAULT[QUESTION_ANSWERING], QUESTION_ANSWERING)
        return lambda outputs, labels: found(outputs["answer"], labels)

    def outputs(self, loaded: Loaded, rows: datasets.Dataset, batch_size: int, max_length: int | None) -> NDArray[Any]:
        """Return the answer of each row, dtype `spans.ANSWER`, shape (rows,)."""
        import torch
        from torch.utils.data import DataLoader
        from transformers import DataCollatorWithPadding

        from frostline.models import in_evaluation, longest_text

        length = max_length or min(longest_text(loaded.model) or 384, 384)
        own = {"max_length": length, "stride": length // 3, "null_threshold": 0.0, "unanswerable": False}
        if "label" in rows.column_names:  # a model from elsewhere is asked as the questions are
            own["unanswerable"] = any(not answers for answers in rows["label"])
        own |= getattr(loaded.model.config, _OWN, {})
        found = _windows(loaded, rows, own).longest_first()
        model = in_evaluation(loaded.model)
        batches = DataLoader(found.inputs, batch_size, collate_fn=DataCollatorWithPadding(loaded.processor))
        starts, ends = [], []
        for batch in batches:
            with torch.inference_mode():
                scores = model(**batch.to(model.device))
            starts += list(scores.start_logits.float().cpu().numpy())
            ends += list(scores.end_logits.float().cpu().numpy())
        return _answers(found, starts, ends, list(rows["context"]), own)

    def predictions(self, loaded: Loaded, rows: datasets.Dataset, outputs: NDArray[Any]) -> list[dict[str, Any]]:
        """Return for each row its question, and the answer with its share of all spans; "" where there is none."""
        return [
            {"question": question, "answer": str(found["answer"]), "score": float(found["score"])}
            for question, found in zip(rows["question"], outputs, strict=True)
        ]

    def step_sizes(self, config: TrainConfig) -> dict[str, int | None]:
        """Return the length of a window."""
        return {"sequence_length": config.max_length}

    def tokens(self, inputs: Inputs, model: Any) -> int:
        """Return how many tokens are attended to."""
        return int(inputs["attention_mask"].sum())


def _rows(questions: Sequence[Question]) -> datasets.Dataset:
    """Return the questions: `label` are the answers that are right, `start` is where the first of them begins."""
    from datasets import Dataset, Features, List, Value

    text = Value("string")
    return Dataset.from_dict(
        {
            "question": [question.question for question in questions],
            "context": [question.context for question in questions],
            "label": [list(question.answers) for question in questions],
            "start": [question.starts[0] if question.starts else None for question in questions],
        },
        Features({"question": text, "context": text, "label": List(text), "start": Value("int64")}),
    )


def _by_article(
    questions: Sequence[Question], share: float, seed: int, name: str
) -> tuple[list[Question], list[Question]]:
    """Return training and validation questions; no article has some in both."""
    articles = sorted({question.article for question in questions})
    count = max(1, round(share * len(articles)))
    if count >= len(articles):
        raise DataError(
            f"{name}: of {len(articles)} articles {count} would be validation data, which leaves none to train on; "
            "give a file to validate on: validation=dev.json"
        )
    held = set(random.Random(seed).sample(articles, count))
    return [q for q in questions if q.article not in held], [q for q in questions if q.article in held]


def _windows(loaded: Loaded, rows: datasets.Dataset, own: Mapping[str, Any], *, settable: bool = False) -> Windows:
    from frostline.models import require_positions, require_tokens
    from frostline.tasks.spans import windows

    length, stride = own["max_length"], own["stride"]
    require_positions(loaded.model, length)
    special = loaded.processor.num_special_tokens_to_add(pair=True)
    questions = [len(ids) for ids in loaded.processor(list(rows["question"]), add_special_tokens=False)["input_ids"]]
    longest = max(questions)
    if longest + special + stride >= length:
        why = (
            f"max_length={length} leaves no room for a passage beside a question of {longest} tokens and a stride of "
            f"{stride}: {rows['question'][questions.index(longest)]!r}."
        )
        if settable:
            raise ConfigError(f"{why} Say max_length={longest + special + stride + 1} or more, or a smaller stride.")
        raise DataError(f"{why} The model was trained so; shorten the question, or leave it out.")
    found = windows(loaded.processor, rows["question"], rows["context"], length, stride)
    require_tokens(loaded, found.inputs["input_ids"])
    return found


def _first_answers(rows: datasets.Dataset) -> tuple[list[int | None], list[int | None]]:
    starts, answers = list(rows["start"]), rows["label"]
    return starts, [s if s is None else s + len(right[0]) for s, right in zip(starts, answers, strict=True)]


def _missed(found: Windows, encoded: datasets.Dataset, rows: datasets.Dataset) -> int:
    """Return how many answers no window holds whole."""
    held = {row for row, first in zip(found.rows, encoded["start_positions"], strict=True) if first}
    return sum(start is not None for start in rows["start"]) - len(held)


def _answers(found: Windows, starts: Any, ends: Any, contexts: Sequence[str], own: Mapping[str, Any]) -> NDArray[Any]:
    return found.answers(starts, ends, contexts, unanswerable=own["unanswerable"], threshold=own["null_threshold"])
