"""Sentences in columns, the tags of words through their first tokens, and the F1 of entities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frostline.config import make_config
from frostline.errors import ConfigError, DataError
from frostline.tasks.metrics import METRICS
from frostline.tasks.sources.conll import read
from frostline.tasks.token_classification import IGNORE_INDEX, TokenClassification

TASK = TokenClassification()
TEXT = """-DOCSTART- -X- O

EU NNP B-ORG
rejects VBZ O
German JJ B-MISC
call NN O

Peter NNP B-PER
Blackburn NNP I-PER
"""


def config(**values: Any) -> Any:
    return make_config({"task": "token-classification", "output": "x", **values})


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a tiny BERT whose tokenizer knows the pieces of a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "bert"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "EU", "Peter", "Black", "##burn", "##s", "call", "German", "rejects"]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=16, **sizes)).save_pretrained(folder)
    return folder


def test_columns_are_read_as_conll_writes_them(tmp_path: Path) -> None:
    found = read(write(tmp_path, a=TEXT) / "a.txt", "a", tags_needed=True)
    assert found.words == (("EU", "rejects", "German", "call"), ("Peter", "Blackburn"))
    assert found.tags == (("B-ORG", "O", "B-MISC", "O"), ("B-PER", "I-PER"))
    assert found.lines == (3, 8)


def test_words_may_have_blanks_between_tabs_and_blanks_of_other_kinds(tmp_path: Path) -> None:
    text = "New York\tB-LOC\nis \t O\n\n10\u00a0000\tO\n\x0c\tO\n"
    found = read(write(tmp_path, a=text) / "a.txt", "a", tags_needed=True)
    assert found.words == (("New York", "is"), ("10\u00a0000", "\x0c"))
    assert found.tags == (("B-LOC", "O"), ("O", "O"))
    found = read(write(tmp_path, a="10\u00a0000 O\nfrancs  O\n") / "a.txt", "a", tags_needed=True)
    assert found.words == (("10\u00a0000", "francs"),)


def test_older_writing_is_rewritten(tmp_path: Path) -> None:
    """IOB1: entities begin with I-, and with B- only behind one of their own type."""
    text = "a I-PER\nb I-PER\nc B-PER\nd O\ne I-LOC\nf I-PER\n"
    found = read(write(tmp_path, a=text) / "a.txt", "a", tags_needed=True)
    assert found.tags == (("B-PER", "I-PER", "B-PER", "O", "B-LOC", "B-PER"),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "a B-PER\nb O\nc I-PER\n",
            "line 3: 'I-PER' follows 'O', so it goes on with nothing; an entity begins with B-PER",
        ),
        ("a B-PER\nb I-LOC\n", "line 2: 'I-LOC' follows 'B-PER'"),
        ("a O\n\nb S-PER\n", "line 3: the tag 'S-PER' is none of O, B-TYPE and I-TYPE"),
        ("a B-\n", "line 1: the tag 'B-' is none of O"),
        ("a x O\nb O\n", "line 2: 2 columns where the lines above have 3"),
        ("a\nb\n", "line 1: 'a' is a word without a tag"),
        ("-DOCSTART- O\n\n", "there is no sentence in this file"),
        ("", "the file is empty"),
        ("a O\nb O\n", "all its tags are 'O'; there is nothing to learn"),
        ("a B-PER\n", "1 sentences are too few to split some off"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError) as refused:
        TASK.read(config(data=str(write(tmp_path, a=text) / "a.txt")))
    assert says in str(refused.value)
    assert "a.txt" in str(refused.value)


def test_other_sources_that_are_refused(tmp_path: Path) -> None:
    for data, says in (("nowhere", "there is no such file or folder"), (str(tmp_path), "there is no train file")):
        with pytest.raises(DataError, match=says):
            TASK.read(config(data=data))
    write(tmp_path, train=TEXT, valid="Rome B-LOC\n")
    with pytest.raises(
        DataError, match=r"valid.txt, line 1: the tag 'B-LOC' is none of the training data's: O, B-MISC"
    ):
        TASK.read(config(data=str(tmp_path)))
    write(tmp_path, valid=TEXT)
    with pytest.raises(DataError, match="validation is the same file as training"):
        TASK.read(config(data=str(tmp_path)))
    with pytest.raises(ConfigError, match="image_size=8 is nothing for sentences in columns"):
        TASK.read(config(data=str(tmp_path), image_size=8))


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev", "test"])
def test_folder_brings_its_validation_sentences(tmp_path: Path, name: str) -> None:
    data = TASK.read(config(data=str(write(tmp_path, train=TEXT, **{name: "call O\nEU B-ORG\n"}))))
    assert data.label_names == ("O", "B-MISC", "I-MISC", "B-ORG", "I-ORG", "B-PER", "I-PER")
    assert list(data.validation) == [{"words": ["call", "EU"], "label": [0, 3]}]
    assert (len(data.train), data.metric) == (2, "entity_f1")
    split = TASK.read(config(data=str(tmp_path), validation="split", validation_share=0.5))
    assert len(split.train) == len(split.validation) == 1


def test_first_token_of_a_word_has_its_tag_and_the_scores_are_of_words(tmp_path: Path, model: Path) -> None:
    asked = config(data=str(write(tmp_path, train=TEXT, dev=TEXT + "call NN O\n")), max_length=8)
    data = TASK.read(asked)
    loaded = TASK.load(str(model), data.label_names, asked)
    encoded = TASK.encode(data, loaded, asked)
    row = encoded.train[1]
    assert loaded.processor.convert_ids_to_tokens(row["input_ids"]) == ["[CLS]", "Peter", "Black", "##burn", "[SEP]"]
    assert row["labels"] == [IGNORE_INDEX, 5, 6, IGNORE_INDEX, IGNORE_INDEX]
    # The outputs of an evaluation, padded: each token says its label, or nonsense where it has none.
    kept = np.full((2, 9), 4)
    for index in range(2):
        labels = encoded.validation[index]["labels"]
        kept[index, : len(labels)] = [4 if label == IGNORE_INDEX else label for label in labels]
    assert encoded.outputs is not None
    scores = TASK.scorer(None, data.label_names)(encoded.outputs(kept), data.validation["label"])
    assert scores == {"entity_f1": 1.0, "entity_precision": 1.0, "entity_recall": 1.0}
    assert not encoded.notes


def test_words_that_are_cut_off_count_as_no_entity(tmp_path: Path, model: Path) -> None:
    asked = config(data=str(write(tmp_path, train=TEXT, dev=TEXT + "call NN O\n")), max_length=4)
    data = TASK.read(asked)
    loaded = TASK.load(str(model), data.label_names, asked)
    encoded = TASK.encode(data, loaded, asked)
    # EU rejects [German call]; and, of the validation sentence, Peter Black[burn call].
    assert encoded.notes == ("3 sentences have words beyond max_length=4 tokens; they count as O.",)
    assert encoded.outputs is not None
    assert list(encoded.outputs([[9, 3, 4, 9], [9, 5, 6, 9]])) == [[3, 4, 0, 0], [5, 6, 0]]


def test_entities_count_whole_and_with_their_type() -> None:
    true = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-ORG"]]
    said = [["B-PER", "O", "O", "B-LOC"], ["B-ORG", "O"]]
    # One of three entities said is right, and one of three true ones is found.
    assert METRICS["entity_f1"](said, true) == {
        "entity_f1": pytest.approx(1 / 3),
        "entity_precision": pytest.approx(1 / 3),
        "entity_recall": pytest.approx(1 / 3),
    }
    assert METRICS["entity_f1"]([["O"]], [["O"]])["entity_f1"] == 0.0


def test_a_text_without_words_is_refused() -> None:
    with pytest.raises(DataError, match="holds no word"):
        TASK.examples(["  "])


def test_a_tokenizer_that_counts_blanks_is_told_of_words(tmp_path: Path) -> None:
    from transformers import RobertaConfig, RobertaForTokenClassification, RobertaTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", "a", "b", "Ġa"])}
    RobertaTokenizerFast(vocab=vocabulary, merges=[("Ġ", "a")]).save_pretrained(tmp_path)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {"id2label": {0: "O", 1: "B-X", 2: "I-X"}, "label2id": {"O": 0, "B-X": 1, "I-X": 2}}
    RobertaForTokenClassification(RobertaConfig(vocab_size=9, **sizes, **labels)).save_pretrained(tmp_path)
    loaded = TASK.load(str(tmp_path))
    ids = loaded.processor([["a", "a"]], is_split_into_words=True)["input_ids"][0]
    assert loaded.processor.convert_ids_to_tokens(ids) == ["<s>", "Ġa", "Ġa", "</s>"]
    rows = TASK.examples(["a a b"])
    (tags,) = TASK.outputs(loaded, rows, 4, None)
    assert len(tags) == 3
    assert TASK.predictions(loaded, rows, TASK.outputs(loaded, rows, 4, None))[0]["words"] == ["a", "a", "b"]
