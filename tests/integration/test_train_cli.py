"""`frostline train`: from a file, from flags, from both; and what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from frostline.errors import ConfigError
from frostline.training.run_folder import STEP_COLUMNS

Steps = Callable[[Path], list[dict[str, str]]]


def sha256(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@pytest.fixture(scope="module")
def config_file(base: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a YAML file with SlimFit at rate 0.5."""
    path = tmp_path_factory.mktemp("configs") / "moods.yaml"
    values = {**base, "method": "slimfit", "settings": {"rate": 0.5}, "max_steps": 3}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(process: Any, flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Return a run folder that a process of its own made from flags, and what it printed."""
    output = tmp_path_factory.mktemp("runs") / "first"
    child = process("train", *flags, "--output", output, "--method=slimfit", "--rate", "0.8", "--seed", "3", "--json")
    stdout, stderr = child.communicate(timeout=120)
    assert child.returncode == 0, stderr
    return output, stdout, stderr


def test_last_line_of_json_is_the_record_and_nothing_is_on_stderr(finished: tuple[Path, str, str], record: Any) -> None:
    output, stdout, stderr = finished
    assert json.loads(stdout.splitlines()[-1]) == record(output)
    assert stderr == ""


def test_run_folder_holds_the_record_and_the_model(finished: tuple[Path, str, str]) -> None:
    assert sorted(path.name for path in finished[0].iterdir()) == [
        "README.md",
        "checkpoints",
        "config.json",
        "model.safetensors",
        "plan.json",
        "report.html",
        "report.md",
        "run.json",
        "steps.csv",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_record_says_what_was_run_on_what_and_how_it_went(
    finished: tuple[Path, str, str], record: Any, tiny: Path, task: Path
) -> None:
    values = record(finished[0])
    assert values["status"] == "finished"
    assert (values["config"]["method"], values["config"]["settings"]) == ("slimfit", {"rate": 0.8})
    assert values["seed"] == values["config"]["seed"] == values["plan"]["seed"] == 3
    assert values["data"] == {
        "name": "moods",
        "sha256": sha256(task / "train.csv", task / "validation.csv"),
        "train": 40,
        "validation": 12,
        "label_names": ["bad", "good"],
    }
    inner = hashlib.sha256((tiny / "model.safetensors").read_bytes()).digest()
    assert values["model_sha256"] == hashlib.sha256(inner).hexdigest()
    assert values["versions"]["torch"] == torch.__version__
    assert {"python", "frostline", "transformers", "peft"} <= values["versions"].keys()
    assert values["hardware"]["cpu_count"] > 0
    assert 0 <= values["metrics"]["accuracy"] <= 1
    assert values["metrics"]["loss"] > 0
    assert values["steps"] == 10
    assert 0 < values["step_seconds"] < values["train_seconds"]
    assert values["tokens_per_second"] > 0
    assert 50 * 2**20 < values["peak_bytes"] < 8 * 2**30


def test_plan_is_the_records_own_and_can_be_loaded(finished: tuple[Path, str, str], record: Any) -> None:
    from frostline.plan import Plan

    plan = Plan.load(finished[0] / "plan.json")
    assert plan.to_json() == record(finished[0])["plan"]
    assert (plan.method, plan.settings["rate"], plan.blocks) == ("slimfit", 0.8, 2)


def test_steps_have_a_row_each_and_say_what_trained(finished: tuple[Path, str, str], steps: Steps, record: Any) -> None:
    rows, values = steps(finished[0]), record(finished[0])
    assert list(rows[0]) == [column for column in STEP_COLUMNS if column != "seconds"]
    assert [row["step"] for row in rows] == [str(step) for step in range(1, 11)]
    assert float(rows[0]["learning_rate"]) == pytest.approx(0.003)
    assert float(rows[-1]["learning_rate"]) == pytest.approx(0.0003)
    for row in rows:
        assert 0 < int(row["tokens"]) <= 8 * 16
        assert 0 < int(row["trainable_parameters"]) < values["plan"]["total_parameters"]
        assert not row["active"] or len(row["active"].split()) == int(row["active_units"])
    assert len({row["active"] for row in rows}) > 2  # it rotates
    mean = sum(int(row["trainable_parameters"]) for row in rows) / 10
    assert values["active_share"] == pytest.approx(mean / values["plan"]["total_parameters"])


def test_card_names_base_data_method_scores_and_classes(finished: tuple[Path, str, str], record: Any) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(finished[0] / "README.md")
    assert card.data.pipeline_tag == "text-classification"
    for part in ("# first", "`moods`", "**slimfit** (rate = 0.8)", "`bad`, `good`", "| optimizer steps | 10 |"):
        assert part in card.text
    assert f"| accuracy | {record(finished[0])['metrics']['accuracy']:.4f} |" in card.text


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "full"},
        {"method": "far", "settings": {"priming": 0.2, "nodes": "hidden"}},
        {"method": "far", "settings": {"priming": 0.2, "nodes": "output"}},
        {"method": "lora", "settings": {"rank": 2, "targets": ["query", "ffn_in"]}},
        {"method": "lisa", "settings": {"count": 1}},
        {"method": "bitfit"},
        {"method": "layers", "settings": {"count": 1}},
        {"method": "random"},
        {"method": "head"},
    ],
    ids=lambda changes: "-".join([changes["method"], *map(str, changes.get("settings", {}).values())]),
)
def test_result_is_a_plain_model_with_the_logits_of_the_trained_one(
    base: dict[str, Any], tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stock transformers gives from the folder the logits that the trained model gave before it was saved."""
    from rich.console import Console
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from frostline.config import make_config
    from frostline.training import run

    seen: dict[str, Any] = {}
    save = run._save_model

    def keep(folder: Any, loaded: Any, record: Any) -> None:
        seen["model"] = loaded.model
        save(folder, loaded, record)

    monkeypatch.setattr(run, "_save_model", keep)
    output = tmp_path / "run"
    record = run.run(
        make_config({**base, **changes, "max_steps": 4, "output": str(output)}), console=Console(quiet=True)
    )
    plain, report = AutoModelForSequenceClassification.from_pretrained(output, output_loading_info=True)
    assert not any(report.values()), report
    assert sum(p.numel() for p in plain.parameters()) == record["plan"]["total_parameters"]
    inputs = AutoTokenizer.from_pretrained(output)(["the day was lovely", "sad"], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected, logits = seen["model"].eval()(**inputs).logits, plain.eval()(**inputs).logits
    assert torch.equal(expected, logits)
    assert plain.config.id2label == {0: "bad", 1: "good"}


def test_config_file_is_followed_and_overridden(command: Any, config_file: Path, record: Any, tmp_path: Path) -> None:
    assert command("train", config_file, f"output={tmp_path / 'a'}").code == 0
    assert (
        command("train", "learning_rate=1e-3", config_file, "--output", tmp_path / "b", "settings.rate=0.9").code == 0
    )
    first, second = record(tmp_path / "a")["config"], record(tmp_path / "b")["config"]
    assert (first["settings"], first["learning_rate"], first["max_steps"]) == ({"rate": 0.5}, 0.003, 3)
    assert (second["settings"], second["learning_rate"], second["max_steps"]) == ({"rate": 0.9}, 0.001, 3)


@pytest.mark.parametrize("words", [["--rate", "0.9"], ["--rate=0.9"], ["rate=0.9"], ["--settings.rate", "0.9"]])
def test_a_setting_is_a_flag_too(
    command: Any, config_file: Path, record: Any, tmp_path: Path, words: list[str]
) -> None:
    assert command("train", *words, config_file, "max_steps=1", "--output", tmp_path / "run").code == 0
    assert record(tmp_path / "run")["plan"]["settings"] == {"rate": 0.9}


def test_dashes_and_underscores_are_the_same_in_a_flag(command: Any, config_file: Path, tmp_path: Path) -> None:
    done = command("train", config_file, "--output", tmp_path / "run", "--max-steps", "1", "--batch-size=4", "--json")
    config = json.loads(done.stdout.splitlines()[-1])["config"]
    assert (config["max_steps"], config["batch_size"]) == (1, 4)


def test_fused_backward_changes_the_memory_and_not_the_result(
    command: Any, config_file: Path, record: Any, steps: Steps, tmp_path: Path
) -> None:
    for name, words in (("plain", []), ("fused", ["--fused-backward", "true"])):
        assert command("train", config_file, "max_grad_norm=0", *words, "--output", tmp_path / name).code == 0
    assert sha256(tmp_path / "plain/model.safetensors") == sha256(tmp_path / "fused/model.safetensors")
    assert steps(tmp_path / "plain") == steps(tmp_path / "fused")
    assert [record(tmp_path / name)["plan"]["fused_backward"] for name in ("plain", "fused")] == [False, True]


def test_same_seed_same_weights_other_seed_others(train: Any, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(tmp_path / name, max_steps=3, seed=seed)
    first, same, other = (sha256(tmp_path / name / "model.safetensors") for name in "abc")
    assert first == same != other


def test_finished_run_is_left_alone_by_resume(command: Any, train: Any, record: Any, tmp_path: Path) -> None:
    train(tmp_path / "run", max_steps=2)
    before = sha256(tmp_path / "run" / "model.safetensors", tmp_path / "run" / "run.json")
    done = command("train", "--resume", "--output", tmp_path / "run", "--json")
    assert done.code == 0
    assert "finished already; nothing is left to do" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == record(tmp_path / "run")
    assert sha256(tmp_path / "run" / "model.safetensors", tmp_path / "run" / "run.json") == before


def test_run_folder_that_exists_is_refused_unless_overwritten(
    command: Any, flags: list[str], train: Any, record: Any, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    train(output, max_steps=2)
    (output / "left over").touch()
    before = record(output)
    refused = command("train", *flags, "--output", output, "max_steps=1")
    assert refused.code == 2
    assert f"the run folder {str(output)!r} exists: --resume goes on with it, --overwrite starts anew" in refused.said
    assert record(output) == before
    assert command("train", *flags, "--output", output, "max_steps=1", "--overwrite").code == 0
    assert record(output)["steps"] == 1
    assert not (output / "left over").exists()


def test_emoji_right_to_left_and_html_pass_through(
    command: Any, flags: list[str], table: Any, record: Any, tmp_path: Path
) -> None:
    labels = ("😀 glücklich", "<b>שלום</b> & [bold]")
    rows = [(f"the day {i} 🎉 مرحبا <script>alert('{i}')</script> {labels[i % 2]}", labels[i % 2]) for i in range(20)]
    data = table(tmp_path / "[red] :smile: données.csv", rows)
    output = tmp_path / "run [/bold] 🏔"
    done = command("train", *flags, f"data={data}", "max_steps=1", "--output", output, "--json")
    assert done.code == 0, done.stderr
    values = record(output)
    assert json.loads(done.stdout.splitlines()[-1]) == values
    assert sorted(values["data"]["label_names"]) == sorted(labels)
    assert "[red] :smile: données: 18 train" in done.stdout
    assert labels[0] in (output / "README.md").read_text(encoding="utf-8")
    asked = command("predict", output, rows[0][0])
    prediction = json.loads(asked.stdout)
    assert prediction["text"] == rows[0][0]
    assert prediction["label"] in labels


def test_long_texts_are_cut_and_counted(command: Any, flags: list[str], tmp_path: Path) -> None:
    done = command("train", *flags, "max_length=5", "max_steps=1", "--output", tmp_path / "run")
    assert " texts are longer than max_length=5 tokens and were cut." in done.stdout


def test_pairs_of_texts_are_trained_on(command: Any, flags: list[str], moods: Any, record: Any, tmp_path: Path) -> None:
    rows = moods(20, seed=5)
    data = tmp_path / "pairs.jsonl"
    lines = [json.dumps({"a": text, "b": "the day", "label": label}) for text, label in rows]
    data.write_text("\n".join(lines), encoding="utf-8")
    done = command(
        "train", *flags, f"data={data}", "text=a", "text_pair=b", "max_steps=1", "--output", tmp_path / "run"
    )
    assert done.code == 0, done.stderr
    assert record(tmp_path / "run")["data"]["validation"] == 2
    assert "accuracy" in command("eval", tmp_path / "run").stdout


def test_embedded_model_trains_without_network(
    process: Any, task: Path, record: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = [f"data={task}", "max_steps=1", "max_length=16", "--method", "head", "--eval-strategy", "no"]
    child = process("train", *words, "--output", "runs/first", cwd=tmp_path)
    _, stderr = child.communicate(timeout=120)
    assert child.returncode == 0, stderr
    values = record(tmp_path / "runs" / "first")
    assert (values["config"]["model"], values["plan"]["blocks"]) == ("minilm", 6)


def test_help_names_every_key_and_loads_no_torch() -> None:
    from frostline.config import TrainConfig

    code = (
        "import sys\nfrom frostline.cli import main\nsys.argv = ['frostline', 'train', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shown = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ") and line.strip()}
    assert shown >= set(TrainConfig.model_fields)
    assert "--resume" in done.stdout


def test_methods_are_listed_with_every_setting(command: Any) -> None:
    from frostline import methods

    table = json.loads(command("methods", "--json").stdout)
    assert [row["name"] for row in table] == list(methods.names())
    for row in table:
        assert row["summary"]
        assert row["source"]
        for setting in row["settings"].values():
            assert setting["meaning"]
    assert next(row for row in table if row["name"] == "slimfit")["settings"]["rate"]["default"] == 0.9
    text = command("methods").stdout
    for row in table:
        assert f"{row['name']:9} {row['summary']}" in text
        for key, setting in row["settings"].items():
            assert f"{key}={setting['default']}" in text


def test_environment_is_told(command: Any) -> None:
    found = json.loads(command("env", "--json").stdout)
    assert found["versions"]["torch"] == torch.__version__
    assert found["hardware"]["memory_bytes"] > 2**28
    lines = dict(line.split(maxsplit=1) for line in command("env").stdout.splitlines())
    assert lines["torch"] == torch.__version__


def test_config_error_is_raised_for_both_resume_and_overwrite_from_python(train: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="contradict"):
        train(tmp_path / "run", resume=True, overwrite=True)
