"""Scores, predictions and exports of what was trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

FAR = {"method": "far", "settings": {"priming": 0.2, "retention": 0.3}}
LORA = {"method": "lora", "settings": {"rank": 2}}


def logits(folder: Path) -> torch.Tensor:
    model, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    inputs = AutoTokenizer.from_pretrained(folder)(["the day was lovely", "sad"], padding=True, return_tensors="pt")
    with torch.no_grad():
        result: torch.Tensor = model.eval()(**inputs).logits
    return result


@pytest.fixture(scope="module")
def run(train: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that has learnt something."""
    folder = tmp_path_factory.mktemp("runs") / "full"
    train(folder, epochs=20, learning_rate=0.01, eval_strategy="no", save_strategy="no")
    return folder


def test_eval_gives_the_scores_of_the_run(command: Any, run: Path, record: Any) -> None:
    scores = json.loads(command("eval", run, "--json").stdout)
    assert scores == {"accuracy": record(run)["metrics"]["accuracy"], "examples": 12}
    assert command("eval", run, "--batch-size", 5).stdout == f"accuracy     {scores['accuracy']:.4f}\nexamples     12\n"


def test_eval_scores_other_data_by_another_metric(command: Any, run: Path, task: Path) -> None:
    from sklearn.metrics import matthews_corrcoef

    scores = json.loads(command("eval", run, "--data", task / "train.csv", "--metric", "matthews", "--json").stdout)
    predicted = command("predict", run, "--data", task / "train.csv").stdout.splitlines()
    labels = [line.split(",")[1] for line in (task / "train.csv").read_text().splitlines()[1:]]
    assert scores["examples"] == 40
    assert scores["matthews"] > 0.8  # it has learnt them; else this would compare coin tosses
    assert scores["matthews"] == pytest.approx(matthews_corrcoef(labels, [json.loads(p)["label"] for p in predicted]))


def test_eval_reads_columns_by_the_names_given(command: Any, run: Path, task: Path, tmp_path: Path) -> None:
    lines = (task / "validation.csv").read_text().replace("text,label", "what;how", 1).splitlines()
    data = tmp_path / "data.csv"
    data.write_text("\n".join([lines[0], *(line.replace(",", ";") for line in lines[1:])]))
    words = ["--data", data, "--text", "what", "--label", "how", "--delimiter", ";", "--json"]
    assert command("eval", run, *words).stdout == command("eval", run, "--json").stdout


def test_predict_names_the_class_and_its_probability(command: Any, run: Path, task: Path) -> None:
    learnt = [line.split(",") for line in (task / "train.csv").read_text().splitlines()[1:9]]
    texts = [text for text, _ in learnt]
    rows = [json.loads(line) for line in command("predict", run, *texts).stdout.splitlines()]
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(run), AutoTokenizer.from_pretrained(run)
    for text, row in zip(texts, rows, strict=True):
        with torch.no_grad():
            scores = model.eval()(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
        best = int(scores.argmax())
        assert row == {
            "text": text,
            "label": ("bad", "good")[best],
            "score": pytest.approx(float(scores[best]), abs=1e-6),
        }
    assert [row["label"] for row in rows] == [label for _, label in learnt]


def test_predict_writes_a_file_and_needs_no_labels(command: Any, run: Path, tmp_path: Path) -> None:
    data = tmp_path / "texts.csv"
    data.write_text("text\nthe day was lovely\n<b>🎉</b> سعيد\n", encoding="utf-8")
    output = tmp_path / "out.jsonl"
    done = command("predict", run, "--data", data, "--output", output)
    assert done.stdout == f"2 predictions in {output}\n"
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == ["the day was lovely", "<b>🎉</b> سعيد"]
    assert "🎉" in output.read_text(encoding="utf-8")
    assert not list(tmp_path.glob("*.tmp"))


def test_text_longer_than_the_model_is_cut_not_crashed_on(command: Any, run: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    command("export", run, plain)
    assert command("predict", plain, "lovely " * 500).code == 0


def test_roberta_whose_positions_start_late_takes_long_texts(
    train: Any, command: Any, new_model: Any, tmp_path: Path
) -> None:
    """RoBERTa's table of positions is two longer than the longest text it can take."""
    model = new_model(tmp_path / "roberta", kind="roberta", max_position_embeddings=34)
    train(tmp_path / "run", model=str(model), max_length=32, max_steps=1)
    command("export", tmp_path / "run", tmp_path / "plain")
    assert command("predict", tmp_path / "plain", "lovely " * 500).code == 0


def test_export_is_a_plain_folder(command: Any, run: Path, tmp_path: Path) -> None:
    done = command("export", run, tmp_path / "new" / "plain")
    count = sum(tensor.numel() for tensor in load_file(run / "model.safetensors").values())
    assert done.stdout == f"{count:,} parameters in {tmp_path / 'new' / 'plain'}\n"
    assert torch.equal(logits(tmp_path / "new" / "plain"), logits(run))
    names = {path.name for path in (tmp_path / "new" / "plain").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_export_in_half_precision(command: Any, run: Path, tmp_path: Path, dtype: str) -> None:
    assert command("export", run, tmp_path / "half", "--dtype", dtype).code == 0
    tensors = load_file(tmp_path / "half" / "model.safetensors")
    assert {str(tensor.dtype) for tensor in tensors.values()} == {f"torch.{dtype}"}
    assert torch.allclose(logits(tmp_path / "half").float(), logits(run), atol=0.1)
    assert command("predict", tmp_path / "half", "the day was lovely").code == 0


@pytest.mark.parametrize("changes", [{"method": "head"}, {"method": "layers", "settings": {"count": 1}}, LORA])
def test_delta_holds_only_what_changed_and_makes_the_model_again(
    command: Any, train: Any, tiny: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    train(tmp_path / "run", max_steps=3, **changes)
    done = command("export", tmp_path / "run", tmp_path / "delta", "--delta")
    assert done.code == 0, done.stderr
    delta = load_file(tmp_path / "delta" / "delta.safetensors")
    facts = json.loads((tmp_path / "delta" / "delta.json").read_text())
    assert (facts["model"], facts["tensors"]) == (str(tiny), len(delta))
    trained = load_file(tmp_path / "run" / "model.safetensors")
    body = load_file(tiny / "model.safetensors")
    head = {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}
    expected = {
        "head": head,
        "layers": head | {name for name in trained if name.startswith("bert.encoder.layer.1.")},
        "lora": head
        | {f"bert.encoder.layer.{i}.attention.self.{k}.weight" for i in (0, 1) for k in ("query", "value")},
    }[changes["method"]]
    assert set(delta) == expected
    for name, tensor in trained.items():
        assert torch.equal(delta[name] if name in delta else body[name.removeprefix("bert.")], tensor)


@pytest.mark.parametrize("changes", [{}, FAR, LORA], ids=["full", "far", "lora"])
def test_last_checkpoint_is_exported_as_the_model_of_the_run(
    command: Any, train: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    train(tmp_path / "run", **changes)
    for step in (5, 10):
        checkpoint = tmp_path / "run" / "checkpoints" / f"checkpoint-{step}"
        if checkpoint.exists():  # the best one is kept besides the last
            assert command("export", checkpoint, tmp_path / str(step)).code == 0
    assert torch.equal(logits(tmp_path / "10"), logits(tmp_path / "run"))


@pytest.mark.parametrize("step", [1, 3], ids=["priming", "reconfigured"])
def test_checkpoint_in_between_is_exported_as_the_run_that_ends_there(
    command: Any, train: Any, tmp_path: Path, step: int
) -> None:
    far = {"method": "far", "settings": {"total_steps": 10, "priming": 0.2}, "lr_scheduler_type": "constant"}
    train(tmp_path / "run", save_strategy="steps", save_steps=step, save_total_limit=20, **far)
    checkpoint = tmp_path / "run" / "checkpoints" / f"checkpoint-{step}"
    assert command("export", checkpoint, tmp_path / "exported").code == 0
    train(tmp_path / "short", max_steps=step, **far)
    assert torch.equal(logits(tmp_path / "exported"), logits(tmp_path / "short"))


def test_checkpoint_of_adapters_is_not_taken_for_a_model(command: Any, train: Any, task: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", **LORA)
    checkpoint = tmp_path / "run" / "checkpoints" / "checkpoint-10"
    for verb in (["predict", checkpoint, "lovely"], ["eval", checkpoint, "--data", task / "validation.csv"]):
        done = command(*verb)
        assert done.code == 2
        assert "has no weights for" in done.said
        assert "frostline export" in done.said


def test_encoder_without_a_head_makes_no_predictions(command: Any, tiny: Path) -> None:
    done = command("predict", tiny, "lovely")
    assert (done.code, done.stdout) == (2, "")
    lost = f"model {str(tiny)!r} has no weights for 'classifier.bias' and 1 more"
    assert f"{lost}: it is no trained model for classification" in done.said


def test_export_refuses_what_it_would_spoil(command: Any, run: Path, tiny: Path, tmp_path: Path) -> None:
    for words, said in (
        ([run, tmp_path], f"{str(tmp_path)!r} exists; name a new folder."),
        ([run, tmp_path / "x", "--dtype", "float61"], "dtype='float61' is unknown; did you mean 'float16'?"),
        ([tiny, tmp_path / "x"], f"{str(tiny)!r} is neither a run folder nor a whole checkpoint of one."),
        ([tmp_path / "no", tmp_path / "x"], "no' is neither a run folder nor a whole checkpoint of one."),
        ([run, run / "run.json" / "x"], "cannot be made"),
    ):
        done = command("export", *words)
        assert done.code == 2
        assert said in done.said
    assert not list(tmp_path.iterdir())


def test_delta_against_another_base_is_refused(command: Any, train: Any, new_model: Any, tmp_path: Path) -> None:
    base = new_model(tmp_path / "base")
    train(tmp_path / "run", model=str(base), max_steps=1)
    shutil.rmtree(base)
    new_model(base, initializer_range=0.1)
    done = command("export", tmp_path / "run", tmp_path / "delta", "--delta")
    assert done.code == 2
    assert "is not the one this run started from" in done.said
    assert not (tmp_path / "delta").exists()


def test_half_done_run_is_neither_scored_nor_exported(command: Any, train: Any, record: Any, tmp_path: Path) -> None:
    train(tmp_path / "run", max_steps=1)
    values = record(tmp_path / "run") | {"status": "interrupted"}
    (tmp_path / "run" / "run.json").write_text(json.dumps(values))
    for words in (
        ["eval", tmp_path / "run"],
        ["predict", tmp_path / "run", "a"],
        ["export", tmp_path / "run", tmp_path / "x"],
    ):
        done = command(*words)
        assert done.code == 2
        assert "is not finished (status: interrupted)" in done.said


@pytest.mark.parametrize("words", [[], ["lovely", "--data", "x.csv"]], ids=["neither", "both"])
def test_predict_wants_texts_or_data(command: Any, run: Path, words: list[str]) -> None:
    done = command("predict", run, *words)
    assert done.code == 2
    assert "give texts or --data FILE, one of the two" in done.said


def test_folder_without_a_model_is_refused(command: Any, run: Path, tmp_path: Path) -> None:
    for words, said in (
        (["eval", tmp_path, "--data", "acceptability"], "is no Hugging Face model folder: it has no config.json"),
        (["predict", tmp_path / "no", "a"], f"there is no folder {str(tmp_path / 'no')!r}"),
        (["eval", tmp_path / "no"], f"there is no folder {str(tmp_path / 'no')!r}"),
        (["predict", run, "a", "--output", tmp_path / "no" / "x.jsonl"], "there is no folder"),
        (["eval", run, "--data", tmp_path / "no.csv"], "there is no such file or folder"),
        (["eval", run, "--metric", "acuracy"], "unknown metric 'acuracy'; did you mean 'accuracy'?"),
    ):
        done = command(*words)
        assert done.code == 2
        assert said in done.said


def test_labels_the_model_does_not_know_are_refused(command: Any, run: Path, table: Any, tmp_path: Path) -> None:
    data = table(tmp_path / "other.csv", [("the day", "good"), ("the cat", "ugly")])
    done = command("eval", run, "--data", data)
    assert done.code == 2
    assert "'ugly'" in done.said
