"""Blocks, what is kept of logits, perplexity, and what a language model's data may be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import BertConfig, BertLMHeadModel

from frostline.config import make_config
from frostline.errors import ConfigError, DataError
from frostline.models import Loaded
from frostline.tasks.characters import character_tokenizer
from frostline.tasks.language_modeling import LanguageModeling
from frostline.tasks.metrics import METRICS
from frostline.tasks.next_tokens import IGNORE_INDEX, Blocks, collate, token_scores
from language_models import TEXT, make_language_model

TASK = LanguageModeling()


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def loaded(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return TASK.load(str(make_language_model(tmp_path_factory.mktemp("models") / request.param, kind=request.param)))


def config(**values: Any) -> Any:
    return make_config({"task": "language-modeling", "output": "x", "max_length": 8, **values})


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def test_training_blocks_hold_every_token_once_but_the_last_incomplete_block() -> None:
    ids = torch.arange(23)
    blocks = Blocks(ids, 5, overlap=False)
    assert torch.cat([blocks[i]["input_ids"] for i in range(len(blocks))]).equal(ids[:20])


@pytest.mark.parametrize("count", [0, 1, 2, 5, 6, 9, 10, 23])
def test_validation_blocks_ask_for_every_token_but_the_first_once(count: int) -> None:
    blocks = Blocks(torch.arange(count), 5, overlap=True)
    rows = [blocks[index] for index in range(len(blocks))]
    asked = [int(label) for row in rows for label in row["labels"] if label != IGNORE_INDEX]
    assert asked == list(range(1, count))
    assert all(2 <= len(row["input_ids"]) <= 5 and row["labels"][0] == IGNORE_INDEX for row in rows)


def test_what_is_kept_of_a_batch_is_its_loss_and_its_right_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    batch = collate([Blocks(torch.randint(0, 9, (n,), generator=generator), 6, overlap=True)[0] for n in (6, 3)])
    logits = torch.randn(2, 6, 9, generator=generator)
    kept = token_scores(logits, batch["labels"])
    for row, count in ((0, 5), (1, 2)):
        wanted = batch["input_ids"][row, 1 : count + 1]
        said = logits[row, :count]
        right = (said.argmax(-1) == wanted).sum()
        loss = functional.cross_entropy(said, wanted) * count
        assert kept[row].tolist() == [pytest.approx(float(loss), rel=1e-6), int(right), count]  # float32's rounding
    assert token_scores((logits, "cache"), batch["labels"]).equal(kept)


def test_perplexity_weighs_tokens_and_not_rows() -> None:
    rows = np.array([[10.0, 1, 2], [0.0, 8, 8]])
    scores = METRICS["perplexity"](rows, None)
    assert scores == {"perplexity": pytest.approx(math.e), "token_accuracy": 0.9}
    assert list(METRICS["token_accuracy"](rows, None)) == ["token_accuracy", "perplexity"]
    assert METRICS["perplexity"](np.array([[1e6, 0, 1]]), None)["perplexity"] == math.inf


def test_perplexity_of_a_text_is_that_of_each_token_after_what_its_block_shows(loaded: Loaded) -> None:
    """By hand: one forward pass for each token, with the tokens of its block that stand before it."""
    text, length = TEXT[:20], 8
    ids = loaded.processor(text, return_tensors="pt")["input_ids"]
    losses = []
    for index in range(1, ids.shape[1]):
        start = (index - 1) // (length - 1) * (length - 1)
        with torch.no_grad():
            said = loaded.model.eval()(input_ids=ids[:, start:index]).logits[0, -1]
        losses.append(float(functional.cross_entropy(said, ids[0, index])))
    found = TASK.outputs(loaded, TASK.examples([text]), 2, length)
    # One summation order against another, in float32.
    assert TASK.scorer(None, ())(found, np.empty(0))["perplexity"] == pytest.approx(math.exp(np.mean(losses)), rel=1e-4)
    assert found[0, 2] == 19


def test_loss_in_training_is_the_mean_over_the_tokens_that_are_predicted(loaded: Loaded) -> None:
    """Transformers counts labels before it shifts them, so a first token with a label would make the loss smaller."""
    ids = loaded.processor(TEXT, return_tensors="pt")["input_ids"][0]
    batch = collate([Blocks(ids, 8, overlap=False)[index] for index in range(3)])
    asked = (batch["labels"] != IGNORE_INDEX).sum()
    with torch.no_grad():
        found = loaded.model.eval()(**batch, num_items_in_batch=asked)
    total, _, count = token_scores(found.logits, batch["labels"]).sum(0).tolist()
    assert float(found.loss) == pytest.approx(total / count, rel=1e-5)


def test_end_of_the_text_is_for_validation(tmp_path: Path) -> None:
    text = TEXT * 4
    data = TASK.read(config(data=str(write(tmp_path / "one", story=text) / "story.txt"), validation_share=0.25))
    assert data.train["text"][0] + data.validation["text"][0] == text
    assert len(data.validation["text"][0]) == math.ceil(len(text) / 4)
    assert (data.name, data.metric, data.label_names) == ("story", "perplexity", ())


def test_end_may_begin_within_a_document_of_a_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "books", a="x" * 60, b="y" * 30, c="z" * 10)
    data = TASK.read(config(data=str(folder), validation_share=0.2))
    assert (list(data.train["text"]), list(data.validation["text"])) == (["x" * 60, "y" * 20], ["y" * 10, "z" * 10])
    assert not TASK.origin(config(data=str(folder))).own_validation


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev", "test"])
def test_folder_may_bring_its_own_validation_text(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "books", train="abcd" * 9, **{name: "dcba"}, readme="not read")
    data = TASK.read(config(data=str(folder)))
    assert (list(data.train["text"]), list(data.validation["text"])) == (["abcd" * 9], ["dcba"])
    assert TASK.origin(config(data=str(folder))).own_validation
    split = TASK.read(config(data=str(folder), validation="split", validation_share=0.5))
    assert [list(side["text"]) for side in (split.train, split.validation)] == [
        ["abcd" * 4 + "ab"],
        ["cd" + "abcd" * 4],
    ]
    assert list(TASK.read_examples(str(folder), None, {})["text"]) == ["dcba"]


def test_documents_are_joined_by_the_token_for_an_end(tmp_path: Path, loaded: Loaded) -> None:
    data = TASK.read(
        config(data=str(write(tmp_path / "books", a="the cat", b="sat on the mat")), validation_share=0.28)
    )
    encoded = TASK.encode(data, loaded, config())
    decoded = loaded.processor.decode(torch.cat([row["input_ids"] for row in encoded.train]))
    assert decoded == "the cat[END]sat on t"  # 15 of the 21 characters
    assert encoded.notes == ("Blocks of 8 tokens to train on: 2.",)


def test_long_texts_are_tokenized_in_pieces_that_change_nothing(loaded: Loaded, monkeypatch: Any) -> None:
    from frostline.tasks import language

    whole = TASK.outputs(loaded, TASK.examples([TEXT]), 4, 8)
    monkeypatch.setattr(language, "PIECE", 40)
    assert (TASK.outputs(loaded, TASK.examples([TEXT]), 4, 8) == whole).all()


def test_max_train_keeps_the_first_blocks(tmp_path: Path, loaded: Loaded) -> None:
    data = TASK.read(config(data=str(write(tmp_path / "one", a=TEXT))))
    whole, few = (TASK.encode(data, loaded, config(max_train=n)) for n in (None, 3))
    assert [len(whole.train), len(few.train)] == [len(data.train["text"][0]) // 8, 3]
    assert few.train[2]["input_ids"].equal(whole.train[2]["input_ids"])


def test_unknown_characters_are_counted(tmp_path: Path, loaded: Loaded) -> None:
    data = TASK.read(config(data=str(write(tmp_path / "one", a=TEXT + "ß é" + TEXT))))
    assert (
        "2 tokens of the training text are unknown to the model's tokenizer."
        in TASK.encode(data, loaded, config()).notes
    )


def test_characters_come_back_as_they_were() -> None:
    text = "a  b\n\tc. 'd' – é\r\n\n"
    tokenizer = character_tokenizer([text])
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer("q")["input_ids"] == [tokenizer.unk_token_id]


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    folder = make_language_model(tmp_path / "tiny")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertLMHeadModel(BertConfig(vocab_size=30, initializer_range=0.5, **sizes)).save_pretrained(folder)
    with pytest.raises(ConfigError, match=r"\(bert\) sees the tokens behind the one it is asked for"):
        TASK.load(str(folder))


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = make_language_model(tmp_path / "tiny", vocab_size=5)
    data = TASK.read(config(data=str(write(tmp_path / "one", a=TEXT))))
    with pytest.raises(ConfigError, match=r"gives token \d+, but the model has only 5 tokens"):
        TASK.encode(data, TASK.load(str(folder)), config())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"data": "nowhere.txt"}, "data='nowhere.txt': there is no such file or folder; give a .txt file"),
        ({"data": "empty"}, "there is no .txt file in this folder"),
        ({"data": "table.csv"}, "not from a table"),
        ({"data": "latin.txt"}, "byte 0xe9 cannot be decoded as UTF-8"),
        ({"data": "blank.txt"}, "the file is empty"),
        ({"data": "story.txt", "validation": "none.txt"}, "validation='none.txt': there is no such file"),
        ({"data": "story.txt", "validation": "story.txt"}, "validation is the same text as one of training's"),
        ({"data": "one.txt"}, "leaves one side without text"),
        ({"data": "story.txt", "label": "mood"}, "label='mood' names no column of plain texts"),
        ({"data": "story.txt", "image_size": 8}, "image_size=8 is nothing for plain texts"),
    ],
)
def test_data_that_cannot_be_learnt_from_are_refused(
    values: dict[str, Any], says: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("text\na\n")
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    (tmp_path / "blank.txt").write_text("\n\n")
    (tmp_path / "one.txt").write_text("x")
    (tmp_path / "story.txt").write_text(TEXT)
    with pytest.raises((ConfigError, DataError), match=says.replace("(", r"\(")):
        TASK.read(config(**values))


@pytest.mark.parametrize(
    ("text", "values", "says"),
    [
        (TEXT, {"max_length": 17}, "max_length=17 is more than the model's 16 positions"),
        (TEXT, {"max_length": 1}, "give 2 or more"),
        ("the cat", {}, "6 tokens to train on are less than one block of max_length=8"),
        ("the cat s", {}, "the validation text holds no token that follows another"),
    ],
)
def test_blocks_that_cannot_be_made_are_refused(
    text: str, values: dict[str, Any], says: str, tmp_path: Path, loaded: Loaded
) -> None:
    asked = config(data=str(write(tmp_path / "one", a=text)), **values)
    with pytest.raises((ConfigError, DataError), match=says):
        TASK.encode(TASK.read(asked), loaded, asked)


@pytest.mark.parametrize(("text", "why"), [("", "is empty"), ("the cat sat on the mat", "has 22 tokens")])
def test_a_text_that_cannot_be_gone_on_with_is_refused(text: str, why: str, loaded: Loaded) -> None:
    rows = TASK.examples([text])
    with pytest.raises(DataError, match=why):
        TASK.predictions(loaded, rows, TASK.outputs(loaded, rows, 4, 8))
