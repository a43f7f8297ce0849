"""The next token of plain texts: blocks of one length to learn from, perplexity, and texts gone on with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frostline.errors import ConfigError, DataError
from frostline.heads import LANGUAGE_MODELING
from frostline.tasks.base import Encoded, Inputs, Origin, Scorer, Task, TaskData
from frostline.tasks.metrics import DEFAULT, get_metric
from frostline.tasks.sources.plain import digest, divide, read_evaluation, read_train

if TYPE_CHECKING:
    import datasets
    from numpy.typing import NDArray

    from frostline.config import TrainConfig
    from frostline.models import Loaded
    from frostline.tasks.next_tokens import Blocks

NEW_TOKENS = 64
"""That a text is gone on with, where the model's generation config says nothing."""
LENGTH = 128
"""Of a block to score where neither the run nor the model's positions say."""


class LanguageModeling(Task):
    """Texts, of which each token follows from those before it (causal language modelling)."""

    head = LANGUAGE_MODELING
    pipeline = "text-generation"
    reads = "plain texts"
    columns = ()

    def read(self, config: TrainConfig) -> TaskData:
        """Return the data of a run: a row is a document, {"text"}."""
        self.refuse_keys(config)
        train, own = read_train(config.data, config.validation)
        sha256 = digest([train] if own is None else [train, own])
        train, held = (train, own) if own is not None else divide(train, config.validation_share)
        return TaskData(
            train=_rows(train.texts),
            validation=_rows(held.texts),
            label_names=(),
            metric=DEFAULT[LANGUAGE_MODELING],
            name=train.name,
            sha256=sha256,
        )

    def origin(self, config: TrainConfig) -> Origin:
        """Return where the rows come from."""
        train, held = read_train(config.data, config.validation)
        return Origin(held is not None, digest([train] if held is None else [train, held]))

    def read_examples(
        self, source: str, label_names: tuple[str, ...] | None, columns: Mapping[str, str]
    ) -> datasets.Dataset:
        """Return a row for each file."""
        return _rows(read_evaluation(source).texts)

    def examples(self, words: Sequence[str]) -> datasets.Dataset:
        """Return a row for each text to go on with."""
        return _rows(words)

    def labels(self, rows: datasets.Dataset) -> NDArray[Any]:
        """Return nothing for each row: a text's labels are its own tokens, which its outputs count already."""
        import numpy as np

        return np.empty((len(rows), 0))

    def load(self, name: str, label_names: Sequence[str] | None = None, config: TrainConfig | None = None) -> Loaded:
        """Load a model that predicts the next token; ConfigError for one that sees it."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from frostline.models import load_pretrained
        from frostline.tasks.language import require_causal

        loaded = load_pretrained(
            name, AutoModelForCausalLM, AutoTokenizer.from_pretrained, None, "causal language modelling"
        )
        require_causal(name, loaded.model)
        return loaded

    def encode(self, data: TaskData, loaded: Loaded, config: TrainConfig) -> Encoded:
        """Return the training documents, one behind the other, as blocks of `max_length` tokens, and the validation
        documents as blocks in which each token but a document's first is predicted once.
        """
        import torch

        from frostline.models import require_positions
        from frostline.tasks.language import joined
        from frostline.tasks.next_tokens import Blocks, collate, token_scores

        length = config.max_length
        if length < 2:
            raise ConfigError(f"max_length={length}: a block needs a token and one that follows it; give 2 or more.")
        require_positions(loaded.model, length)
        tokens, unknown = joined(loaded, data.train["text"])
        train = Blocks(tokens, length, overlap=False)
        if not len(train):
            raise DataError(
                f"{data.name}: {len(tokens)} tokens to train on are less than one block of max_length={length}; give "
                f"more text, or say max_length={max(2, len(tokens))} or less."
            )
        order: Sequence[int] = range(min(len(train), config.max_train or len(train)))
        of_all = f" of {len(train):,}" if len(order) < len(train) else ""
        notes = [f"Blocks of {length} tokens to train on: {len(order):,}{of_all}."]
        left = len(tokens) - len(train) * length
        if left:
            notes.append(f"The last {left} tokens of the training text are less than a block and were left out.")
        if unknown:
            notes.append(f"{unknown:,} tokens of the training text are unknown to the model's tokenizer.")
        held = [_blocks(loaded, text, length) for text in data.validation["text"]]
        if not sum(map(len, held)):
            raise DataError(f"{data.name}: the validation text holds no token that follows another; give more text.")
        return Encoded(
            torch.utils.data.Subset(train, order),
            torch.utils.data.ConcatDataset(held),
            collate,
            None,
            tuple(notes),
            reduce=token_scores,
        )

    def scorer(self, metric: str | None, label_names: tuple[str, ...]) -> Scorer:
        """Return what scores outputs, shape (rows, 3); the labels are not looked at."""
        return get_metric(metric or DEFAULT[LANGUAGE_MODELING], LANGUAGE_MODELING)

    def outputs(self, loaded: Loaded, rows: datasets.Dataset, batch_size: int, max_length: int | None) -> NDArray[Any]:
        """Return of each text, as `next_tokens.token_scores`, the summed loss, the right tokens, and all of them."""
        import numpy as np
        import torch

        from frostline.models import in_evaluation, longest_text
        from frostline.tasks.next_tokens import collate, token_scores

        length = max_length or longest_text(loaded.model) or LENGTH
        model = in_evaluation(loaded.model)
        found = np.zeros((len(rows), 3))
        for row, text in enumerate(rows["text"]):
            blocks = _blocks(loaded, text, length)
            for start in range(0, len(blocks), batch_size):
                chosen = [blocks[index] for index in range(start, min(start + batch_size, len(blocks)))]
                batch = {name: value.to(model.device) for name, value in collate(chosen).items()}
                with torch.inference_mode():
                    logits = model(input_ids=batch["input_ids"], use_cache=False).logits
                    found[row] += token_scores(logits, batch["labels"]).sum(0).cpu().numpy()
        return found

    def predictions(self, loaded: Loaded, rows: datasets.Dataset, outputs: NDArray[Any]) -> list[dict[str, Any]]:
        """Return each text, its perplexity (none of a single token), and how the model goes on with it: as its
        generation config says, by the likeliest token where that says nothing.
        """
        import torch

        from frostline.models import longest_text
        from frostline.tasks.language import tokens_of

        model, tokenizer, found = loaded.model, loaded.processor, []
        room, asked = longest_text(model), model.generation_config.max_new_tokens or NEW_TOKENS
        for text, (loss, _, count) in zip(rows["text"], outputs, strict=True):
            ids, _ = tokens_of(loaded, text)
            left = asked if room is None else min(asked, room - len(ids))
            if not len(ids) or left < 1:
                why = "is empty" if not len(ids) else f"has {len(ids)} tokens, and the model only {room} positions"
                raise DataError(f"the text {text[:40]!r} {why}; there is nothing to go on with.")
            given = ids[None].long().to(model.device)
            with torch.inference_mode():
                whole = model.generate(
                    input_ids=given,
                    attention_mask=torch.ones_like(given),
                    max_new_tokens=left,
                    pad_token_id=tokenizer.pad_token_id or 0,
                    use_cache=True,
                )
            new = tokenizer.decode(whole[0, len(ids) :], skip_special_tokens=True)
            found.append({"text": text, "perplexity": math.exp(loss / count) if count else None, "continuation": new})
        return found

    def step_sizes(self, config: TrainConfig) -> dict[str, int | None]:
        """Return the length of a block."""
        return {"sequence_length": config.max_length}

    def tokens(self, inputs: Inputs, model: Any) -> int:
        """Return how many tokens a batch of training blocks holds."""
        return int(inputs["input_ids"].numel())


def _rows(texts: Sequence[str]) -> datasets.Dataset:
    from datasets import Dataset, Features, Value

    # large_string: the offsets of the usual kind end at 2 GiB.
    return Dataset.from_dict({"text": list(texts)}, features=Features({"text": Value("large_string")}))


def _blocks(loaded: Loaded, text: str, length: int) -> Blocks:
    from frostline.tasks.language import tokens_of
    from frostline.tasks.next_tokens import Blocks

    return Blocks(tokens_of(loaded, text)[0], length, overlap=True)
