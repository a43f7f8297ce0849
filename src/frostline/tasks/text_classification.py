"""Classes and scores of texts and pairs of texts; cut at the length asked for, and counted when cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frostline.tasks import text
from frostline.tasks.base import Encoded, Inputs, Origin, TaskData
from frostline.tasks.classes import ClassTask
from frostline.tasks.sources.columns import Asked
from frostline.tasks.sources.content import digest
from frostline.tasks.sources.reading import read_train

if TYPE_CHECKING:
    import datasets

    from frostline.config import TrainConfig
    from frostline.models import Loaded


class TextClassification(ClassTask):
    """Texts or pairs of them, each with a class or a score."""

    pipeline = "text-classification"
    reads = "texts"
    columns = ("text", "text_pair", "label", "delimiter")

    def read(self, config: TrainConfig) -> TaskData:
        """Return the data of a run, see `text.load`."""
        self.refuse_keys(config)
        keys = ("text", "text_pair", "label", "delimiter", "validation", "validation_share", "max_train", "seed")
        return text.load(config.data, task=config.task, **{key: getattr(config, key) for key in keys})

    def origin(self, config: TrainConfig) -> Origin:
        """Return where the rows come from."""
        asked = Asked(config.text, config.text_pair, config.label, config.delimiter)
        train, held = read_train(config.data, asked, config.validation)
        return Origin(held is not None, digest([train] if held is None else [train, held]))

    def read_examples(
        self, source: str, label_names: tuple[str, ...] | None, columns: Mapping[str, str]
    ) -> datasets.Dataset:
        """Return rows to evaluate or predict on, see `text.read_examples`."""
        return text.read_examples(source, label_names=label_names, **columns)[0]

    def examples(self, words: Sequence[str]) -> datasets.Dataset:
        """Return a row for each text."""
        from datasets import Dataset

        return Dataset.from_dict({"text": list(words)})

    def load(self, name: str, label_names: Sequence[str] | None = None, config: TrainConfig | None = None) -> Loaded:
        """Load a sequence classifier, see `load_classifier`."""
        from frostline.models import load_classifier

        return load_classifier(name, label_names)

    def encode(self, data: TaskData, loaded: Loaded, config: TrainConfig) -> Encoded:
        """Return the texts as tokens; ConfigError if the model has fewer positions than `max_length`."""
        from transformers import DataCollatorWithPadding

        from frostline.models import require_positions, require_tokens

        longest = config.max_length
        require_positions(loaded.model, longest)
        tokenizer = loaded.processor  # alone: `map` pickles what its function refers to, and the model is large

        def tokens(batch: dict[str, list[Any]]) -> dict[str, Any]:
            encoded = tokenizer(*_texts(batch), truncation=True, max_length=longest)
            whole = tokenizer(*_texts(batch), verbose=False)["input_ids"]
            return {**encoded, "labels": batch["label"], "cut": [len(ids) > longest for ids in whole]}

        encoded = [
            split.map(tokens, batched=True, remove_columns=split.column_names)
            for split in (data.train, data.validation)
        ]
        for split in encoded:
            require_tokens(loaded, split["input_ids"])
        cut = sum(sum(split["cut"]) for split in encoded)
        train, validation = (split.remove_columns("cut") for split in encoded)
        return Encoded(
            train,
            validation,
            DataCollatorWithPadding(tokenizer),
            [len(ids) for ids in train["input_ids"]],
            (f"{cut:,} texts are longer than max_length={longest} tokens and were cut.",) if cut else (),
        )

    def inputs(self, loaded: Loaded, rows: dict[str, list[Any]], max_length: int | None) -> Inputs:
        """Return the tokens of a batch, padded to its longest text."""
        from frostline.models import longest_text, require_tokens

        limit = max_length or longest_text(loaded.model)
        found = loaded.processor(*_texts(rows), truncation=True, max_length=limit, padding=True, return_tensors="pt")
        require_tokens(loaded, found["input_ids"].tolist())
        return dict(found)

    def warnings(self, loaded: Loaded, rows: datasets.Dataset, max_length: int | None) -> tuple[str, ...]:
        """Say how many texts are cut."""
        from frostline.models import longest_text

        limit = max_length or longest_text(loaded.model)
        whole = loaded.processor(*(list(texts) for texts in _texts(rows[:])), verbose=False)["input_ids"]
        cut = sum(limit is not None and len(ids) > limit for ids in whole)
        return (f"{cut:,} of {len(rows):,} texts are longer than {limit} tokens and were cut.",) if cut else ()

    def shown(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the text, and the second one of a pair."""
        return {name: row[name] for name in ("text", "text_pair") if name in row}

    def step_sizes(self, config: TrainConfig) -> dict[str, int | None]:
        """Return the length of the longest text."""
        return {"sequence_length": config.max_length}

    def tokens(self, inputs: Inputs, model: Any) -> int:
        """Return how many tokens are attended to."""
        return int(inputs["attention_mask"].sum())


def _texts(rows: dict[str, list[Any]]) -> tuple[list[str], ...]:
    return (rows["text"], rows["text_pair"]) if "text_pair" in rows else (rows["text"],)
