"""A run on the next tokens of a text: trained, scored, gone on with, exported, within a budget."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from language_models import TEXT, make_language_model

KEYS = {"task": "language-modeling", "max_length": 16, "batch_size": 4, "epochs": 8, "learning_rate": 0.02}
SHAKESPEARE = Path(__file__).parents[2].parent / "shared" / "data" / "text" / "tinyshakespeare.txt"


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def network(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_language_model(tmp_path_factory.mktemp("models") / request.param, kind=request.param)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "story.txt"
    path.write_text(TEXT * 3)
    return path


@pytest.fixture(scope="module")
def run(command: Any, network: Path, story: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that has learnt something, with a checkpoint of its last step."""
    folder = tmp_path_factory.mktemp("runs") / "full"
    words = [f"{key}={value}" for key, value in {**KEYS, "model": network, "data": story, "output": folder}.items()]
    done = command("train", *words)
    assert done.code == 0, done.stderr
    assert "story: 1 train, 1 validation, language-modeling" in done.stdout
    assert f"Blocks of 16 tokens to train on: {int(len(TEXT) * 3 * 0.9) // 16}." in done.stdout
    return folder


def by_hand(folder: Path, text: str, length: int) -> float:
    """Return the perplexity of a text that stock transformers gives, block by block."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")["input_ids"][0]
    losses = []
    for start in range(0, len(ids) - 1, length - 1):
        block = ids[start : start + length]
        with torch.no_grad():
            losses.append(functional.cross_entropy(model(block[None]).logits[0, :-1], block[1:], reduction="none"))
    return math.exp(torch.cat(losses).mean())


def test_perplexity_is_that_of_stock_transformers_over_all_tokens(run: Path, record: Any, story: Path) -> None:
    values = record(run)
    assert (values["task"], values["metric"], values["pipeline"]) == (
        "language-modeling",
        "perplexity",
        "text-generation",
    )
    assert list(values["metrics"]) == ["loss", "perplexity", "token_accuracy"]
    held = story.read_text()[int(len(story.read_text()) * 0.9) :]
    # One batch against another, in float32.
    assert values["metrics"]["perplexity"] == pytest.approx(by_hand(run, held, 16), rel=1e-4)
    assert values["metrics"]["perplexity"] < 10  # of 20 characters; it has learnt them
    assert 0.4 < values["metrics"]["token_accuracy"] <= 1


def test_eval_gives_the_runs_own_scores_and_those_of_another_text(
    command: Any, run: Path, record: Any, tmp_path: Path
) -> None:
    found = json.loads(command("eval", run, "--json").stdout)
    scores = record(run)["metrics"]
    assert found == {
        "perplexity": pytest.approx(scores["perplexity"], rel=1e-4),
        "token_accuracy": pytest.approx(scores["token_accuracy"]),
        "examples": 1,
    }
    (tmp_path / "other.txt").write_text("the hen sat on the cat.\n")
    found = json.loads(command("eval", run, "--data", tmp_path / "other.txt", "--json").stdout)
    assert found["perplexity"] == pytest.approx(by_hand(run, "the hen sat on the cat.\n", 16), rel=1e-4)
    assert "use one of 'perplexity', 'token_accuracy'" in command("eval", run, "--metric", "accuracy").said


def test_predict_goes_on_with_a_text_as_the_stock_pipeline_does(command: Any, run: Path) -> None:
    from transformers import pipeline

    (row,) = (json.loads(line) for line in command("predict", run, "the cat s").stdout.splitlines())
    assert list(row) == ["text", "perplexity", "continuation"]
    assert len(row["continuation"]) == 16 - len("the cat s")  # as many as there are positions for
    assert row["perplexity"] == pytest.approx(by_hand(run, "the cat s", 16), rel=1e-4)
    (found,) = pipeline("text-generation", model=str(run), device="cpu")(
        ["the cat s"], max_new_tokens=7, max_length=None, do_sample=False, return_full_text=False
    )
    assert found[0]["generated_text"] == row["continuation"]


def test_checkpoint_is_exported_and_the_card_says_what_it_is(command: Any, run: Path, tmp_path: Path) -> None:
    checkpoint = max((run / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    assert command("export", checkpoint, tmp_path / "plain").code == 0
    assert command("predict", tmp_path / "plain", "the d").stdout == command("predict", run, "the d").stdout
    card = (run / "README.md").read_text()
    assert "pipeline_tag: text-generation" in card
    assert "| perplexity |" in card
    assert "Regression" not in card
    assert "perplexity" in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("method", "settings", "storage"),
    [
        ("head", {}, "exact"),
        ("bitfit", {}, "lossless"),
        ("layers", {"count": 1}, "compact"),
        ("lisa", {"count": 1, "every": 1}, "slimfit"),
        ("slimfit", {"rate": 0.5}, "compact"),
        ("random", {"rate": 0.5}, "lossless"),
        ("auto", {"every": 1}, "compact"),
        ("lora", {"rank": 2}, "exact"),
        ("full", {}, "smallest"),
    ],
)
def test_methods_and_storage(
    train: Any, network: Path, story: Path, tmp_path: Path, method: str, settings: dict[str, Any], storage: str
) -> None:
    keys = {**KEYS, "model": str(network), "data": str(story), "max_steps": 3, "max_train": 30}
    values = train(tmp_path / "run", **keys, method=method, settings=settings, storage=storage)
    assert (values["status"], values["steps"]) == ("finished", 3)
    assert values["metrics"]["perplexity"] < 40


def test_resumed_run_ends_with_the_same_weights(train: Any, network: Path, story: Path, tmp_path: Path) -> None:
    import shutil

    keys = {**KEYS, "model": str(network), "data": str(story), "epochs": 2, "save_total_limit": 2}
    values = train(tmp_path / "run", **keys)
    whole = (tmp_path / "run" / "model.safetensors").read_bytes()
    newest = max((tmp_path / "run" / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    shutil.rmtree(newest)
    (tmp_path / "run" / "run.json").write_text(json.dumps({**values, "status": "running"}))
    train(tmp_path / "run", resume=True, **keys)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == whole


def test_best_model_is_the_one_of_least_perplexity(train: Any, network: Path, story: Path, tmp_path: Path) -> None:
    keys = {**KEYS, "model": str(network), "data": str(story), "metric": "perplexity", "epochs": 3, "seed": 1}
    values = train(tmp_path / "run", **{**keys, "learning_rate": 0.3}, load_best_model_at_end=True, save_total_limit=9)
    newest = max((tmp_path / "run" / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    state = json.loads((newest / "trainer_state.json").read_text())
    seen = [entry["eval_perplexity"] for entry in state["log_history"] if "eval_perplexity" in entry]
    assert values["metrics"]["perplexity"] == pytest.approx(min(seen))


def test_what_cannot_be_is_refused_before_anything_is_written(
    command: Any, network: Path, story: Path, tiny: Path, tmp_path: Path
) -> None:
    words = [f"{key}={value}" for key, value in {**KEYS, "data": story, "output": tmp_path / "run"}.items()]
    assert "has no weights for 'cls.predictions" in command("train", *words, f"model={tiny}").said
    words.append(f"model={network}")
    assert "17 is more than the model's 16 positions" in command("train", *words, "max_length=17").said
    assert "metric 'f1' is for classification" in command("train", *words, "metric=f1").said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_within_a_budget(command: Any, network: Path, story: Path, tmp_path: Path, record: Any) -> None:
    keys = {**KEYS, "model": network, "data": story, "output": tmp_path / "run", "max_steps": 3}
    done = command("train", *(f"{key}={value}" for key, value in keys.items()), "--budget", "4GiB")
    assert done.code == 0, done.stderr
    planned = record(tmp_path / "run")["planned"]
    assert planned["budget"] == 4 * 2**30
    assert planned["plan"]["method"] == "full"


@pytest.mark.skipif(not SHAKESPEARE.is_file(), reason=f"no text at {SHAKESPEARE}")
def test_shakespeare_as_it_comes() -> None:
    from frostline.config import make_config
    from frostline.tasks import task_of

    config = make_config({"task": "language-modeling", "data": str(SHAKESPEARE), "output": "x"})
    data = task_of(config).read(config)
    # nanoGPT's split of the same file: 1,003,854 characters to train on, 111,540 to validate on.
    assert [len(side["text"][0]) for side in (data.train, data.validation)] == [1_003_854, 111_540]
