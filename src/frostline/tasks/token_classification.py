"""Tags of words, such as the names in a text: a word's first token carries its tag."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frostline.errors import ConfigError, DataError
from frostline.heads import TOKEN_CLASSIFICATION
from frostline.tasks.base import IGNORE_INDEX, Encoded, Inputs, Origin, Scorer, Task, TaskData
from frostline.tasks.metrics import DEFAULT, get_metric
from frostline.tasks.sources.conll import Sentences, digest, read_evaluation, read_train

if TYPE_CHECKING:
    import datasets
    from numpy.typing import NDArray

    from frostline.config import TrainConfig
    from frostline.models import Loaded


class TokenClassification(Task):
    """Words of sentences, each with a tag: O, or B- or I- and the type of its entity."""

    head = TOKEN_CLASSIFICATION
    pipeline = "token-classification"
    reads = "sentences in columns"
    columns = ()

    def classes(self, loaded: Loaded) -> tuple[str, ...]:
        """Return the tags."""
        return loaded.label_names

    def read(self, config: TrainConfig) -> TaskData:
        """Return the data of a run: a row is a sentence, {"words", "label"}, the latter indices of its tags."""
        self.refuse_keys(config)
        train, held = read_train(config.data, config.validation)
        names = _names(train)
        if len(names) < 2:
            raise DataError(f"{train.path}: all its tags are {names[0]!r}; there is nothing to learn.")
        kept, split = list(range(len(train.words))), None
        if held is None:
            count = max(1, round(config.validation_share * len(kept)))
            if count >= len(kept):
                raise DataError(f"{train.path}: {len(kept)} sentences are too few to split some off; give more.")
            split = sorted(random.Random(config.seed).sample(kept, count))
            kept = sorted(set(kept) - set(split))
        else:
            held.refuse_unknown(names, "the training data's")
        if config.max_train is not None and config.max_train < len(kept):
            kept = sorted(random.Random(config.seed).sample(kept, config.max_train))
        return TaskData(
            train=_rows(train, names, kept),
            validation=_rows(train, names, split) if held is None else _rows(held, names),
            label_names=names,
            metric=DEFAULT[TOKEN_CLASSIFICATION],
            name=train.name,
            sha256=digest([train] if held is None else [train, held]),
        )

    def origin(self, config: TrainConfig) -> Origin:
        """Return where the rows come from."""
        train, held = read_train(config.data, config.validation)
        return Origin(held is not None, digest([train] if held is None else [train, held]))

    def read_examples(
        self, source: str, label_names: tuple[str, ...] | None, columns: Mapping[str, str]
    ) -> datasets.Dataset:
        """Return sentences to evaluate or predict on."""
        found = read_evaluation(source, tags_needed=label_names is not None)
        if label_names is not None:
            found.refuse_unknown(label_names, "the model's")
        return _rows(found, label_names)

    def examples(self, words: Sequence[str]) -> datasets.Dataset:
        """Return a row for each text; its words are what stands between blanks."""
        from datasets import Dataset

        for word in words:
            if not word.split():
                raise DataError(f"the text {word!r} holds no word.")
        return Dataset.from_dict({"words": [word.split() for word in words]})

    def load(self, name: str, label_names: Sequence[str] | None = None, config: TrainConfig | None = None) -> Loaded:
        """Load a model that gives each token a tag, with a fast tokenizer; another number of tags makes a new head."""
        from transformers import AutoModelForTokenClassification

        from frostline.models import load_pretrained, pads
        from frostline.tasks.words import tokenizer_of_words

        found = load_pretrained(
            name,
            AutoModelForTokenClassification,
            tokenizer_of_words,
            label_names,
            "classification of tokens",
        )
        if not found.processor.is_fast:
            raise ConfigError(f"model {name!r} has a slow tokenizer, which does not say which word a token is of.")
        return pads(found, "right")

    def encode(self, data: TaskData, loaded: Loaded, config: TrainConfig) -> Encoded:
        """Return the sentences as tokens, a word's first one with its tag."""
        from datasets import Dataset
        from transformers import DataCollatorForTokenClassification

        from frostline.models import require_positions
        from frostline.tasks.words import first_tokens, tags_of_words, tokens_of_words

        require_positions(loaded.model, config.max_length)

        def rows(split: datasets.Dataset) -> tuple[Dataset, list[list[int | None]]]:
            encoded = tokens_of_words(loaded, split["words"], config.max_length)
            firsts = [first_tokens(encoded, row, len(words)) for row, words in enumerate(split["words"])]
            labels = [[IGNORE_INDEX] * len(ids) for ids in encoded["input_ids"]]
            for row, tags in enumerate(split["label"]):
                for first, tag in zip(firsts[row], tags, strict=True):
                    if first is not None:
                        labels[row][first] = tag
            return Dataset.from_dict({**encoded, "labels": labels}), firsts

        train, firsts = rows(data.train)
        validation, held = rows(data.validation)
        cut = sum(None in row for row in (*firsts, *held))
        outside = data.label_names.index("O") if "O" in data.label_names else 0
        return Encoded(
            train,
            validation,
            DataCollatorForTokenClassification(loaded.processor),
            [len(ids) for ids in train["input_ids"]],
            (f"{cut:,} sentences have words beyond max_length={config.max_length} tokens; they count as O.",)
            if cut
            else (),
            reduce=lambda logits, labels: (logits[0] if isinstance(logits, tuple) else logits).argmax(-1),
            outputs=lambda kept: tags_of_words(kept, held, outside),
        )

    def scorer(self, metric: str | None, label_names: tuple[str, ...]) -> Scorer:
        """Return what scores the tags of each row, as `outputs` gives them, against the true ones."""
        found = get_metric(metric or DEFAULT[TOKEN_CLASSIFICATION], TOKEN_CLASSIFICATION)

        def named(rows: Any) -> list[list[str]]:
            return [[label_names[tag] for tag in row] for row in rows]

        return lambda outputs, labels: found(named(outputs), named(labels))

    def outputs(self, loaded: Loaded, rows: datasets.Dataset, batch_size: int, max_length: int | None) -> NDArray[Any]:
        """Return for each row the indices of its words' tags, an array of arrays."""
        import torch

        from frostline.models import in_evaluation, longest_text
        from frostline.tasks.words import first_tokens, tags_of_words, tokens_of_words

        model = in_evaluation(loaded.model)
        names, limit = loaded.label_names, max_length or longest_text(loaded.model)
        found: list[Any] = []
        firsts: list[list[int | None]] = []
        for start in range(0, len(rows), batch_size):
            words = rows[start : start + batch_size]["words"]
            encoded = tokens_of_words(loaded, words, limit)
            batch = loaded.processor.pad(encoded, return_tensors="pt").to(model.device)
            with torch.inference_mode():
                found += model(**batch).logits.argmax(-1).cpu().numpy().tolist()
            firsts += [first_tokens(encoded, row, len(each)) for row, each in enumerate(words)]
        return tags_of_words(found, firsts, names.index("O") if "O" in names else 0)

    def warnings(self, loaded: Loaded, rows: datasets.Dataset, max_length: int | None) -> tuple[str, ...]:
        """Say how many sentences are cut."""
        from frostline.models import longest_text
        from frostline.tasks.words import tokens_of_words

        limit, whole = max_length or longest_text(loaded.model), tokens_of_words(loaded, rows["words"], None)
        cut = sum(limit is not None and len(ids) > limit for ids in whole["input_ids"])
        return (f"{cut:,} sentences have words beyond {limit} tokens; they count as O.",) if cut else ()

    def predictions(self, loaded: Loaded, rows: datasets.Dataset, outputs: NDArray[Any]) -> list[dict[str, Any]]:
        """Return for each row its words, their tags, and the entities, {"type", "text"}."""
        from seqeval.metrics.sequence_labeling import get_entities

        found = []
        for words, tags in zip(rows["words"], outputs, strict=True):
            names = [loaded.label_names[tag] for tag in tags]
            entities = [
                {"type": kind, "text": " ".join(words[first : last + 1])} for kind, first, last in get_entities(names)
            ]
            found.append({"words": list(words), "tags": names, "entities": entities})
        return found

    def step_sizes(self, config: TrainConfig) -> dict[str, int | None]:
        """Return the length of the longest sentence."""
        return {"sequence_length": config.max_length}

    def tokens(self, inputs: Inputs, model: Any) -> int:
        """Return how many tokens are attended to."""
        return int(inputs["attention_mask"].sum())


def _names(found: Sentences) -> tuple[str, ...]:
    """Return the tags of training data: O, then B- and I- of each type, both, whether or not both occur."""
    kinds = sorted({tag[2:] for tags in found.tags for tag in tags if tag != "O"})
    return ("O", *(f"{place}-{kind}" for kind in kinds for place in "BI"))


def _rows(found: Sentences, names: Sequence[str] | None, kept: Sequence[int] | None = None) -> datasets.Dataset:
    from datasets import Dataset

    order = range(len(found.words)) if kept is None else kept
    columns: dict[str, list[Any]] = {"words": [list(found.words[index]) for index in order]}
    if names is not None:
        numbers = {name: number for number, name in enumerate(names)}
        columns["label"] = [[numbers[tag] for tag in found.tags[index]] for index in order]
    return Dataset.from_dict(columns)
