"""What cannot be done is refused in one line that names thing, value and way out; nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

Refused = Callable[..., str]


@pytest.fixture
def refused(command: Any, flags: list[str], tmp_path: Path) -> Refused:
    """Return a function that calls `frostline train` in vain, and returns what it said."""

    def call(*words: object) -> str:
        output = tmp_path / "run"
        before = sorted(tmp_path.rglob("*"))
        done = command("train", *flags, "--output", output, *words)
        assert done.code == 2, done.stdout
        assert sorted(tmp_path.rglob("*")) == before
        said: str = done.said
        return said

    return call


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["learning_rat=1"], ["unknown key 'learning_rat'; did you mean 'learning_rate'?"]),
        (["--colour", "red"], ["unknown key 'colour'"]),
        (["--method", "slimfi"], ["there is no method 'slimfi'; did you mean 'slimfit'?"]),
        (["method=slimfit", "settings.rat=0.5"], ["method 'slimfit' has no setting 'rat'; did you mean 'rate'?"]),
        (["rate=0.5"], ["unknown key 'rate'"]),
        (["method=full", "settings.rate=0.5"], ["method 'full' has no setting 'rate'; it has no settings"]),
        (["method=slimfit", "rate=1"], ["rate=1 is refused", "less than 1"]),
        (["method=slimfit", "rate=-0.1"], ["rate=-0.1 is refused", "greater than or equal to 0"]),
        (["method=far", "retention=1.5"], ["retention=1.5 is refused", "less than 1"]),
        (["method=far", "priming=0"], ["priming=0 leaves nothing to choose by", "choose='random'"]),
        (["method=far", "priming=0.9", "max_steps=1"], ["priming=0.9 takes all 1 steps", "train longer or prime less"]),
        (["method=layers", "count=7"], ["count=7 is more than the model's 2 blocks"]),
        (["method=lisa", "count=7"], ["count=7 is more than the model's 2 blocks"]),
        (["method=lora", "targets=[quer]"], ["'quer' is no target; did you mean 'query'?"]),
        (["learning_rate=-1"], ["learning_rate=-1 is refused", "greater than 0"]),
        (["learning_rate=0"], ["learning_rate=0 is refused", "greater than 0"]),
        (["learning_rate=abc"], ["learning_rate='abc' is refused", "valid number"]),
        (["learning_rate=.inf"], ["learning_rate=inf is refused", "finite number"]),
        (["learning_rate=.nan"], ["learning_rate=nan is refused"]),
        (["--learning-rate", "-1"], ["learning_rate=-1 is refused"]),
        (["seed=4294967296"], ["seed=4294967296 is refused", "less than 4294967296"]),
        (["epochs=0"], ["epochs=0 is refused", "greater than 0"]),
        (["batch_size=2.5"], ["batch_size=2.5 is refused", "valid integer"]),
        (["eval_strategy=sometimes"], ["eval_strategy='sometimes' is refused", "'no', 'steps' or 'epoch'"]),
        (["early_stopping_patience=1", "eval_strategy=no"], ["early stopping", "set eval_strategy to epoch or steps"]),
        (["load_best_model_at_end=true", "save_strategy=steps"], ["save_strategy equal to eval_strategy"]),
        (["max_length=33"], ["max_length=33 is more than the model's 32 positions; say max_length=32 or less"]),
        (["lr_scheduler_type=cosin"], ["lr_scheduler_type='cosin' is unknown", "did you mean 'cosine'?"]),
        (["lr_scheduler_type=cosine_with_min_lr"], ["lr_scheduler_type='cosine_with_min_lr' cannot be used here"]),
        (["storage=compcat"], ["storage='compcat' is unknown", "did you mean 'compact'?"]),
        (["storage={linear: int9}"], ["storage of linear: 'int9' is unknown", "did you mean 'int8'?"]),
        (
            ["storage={preset: compact, bert.encoder.layer.0.output.dens: int4}"],
            ["no such module keeps anything", "did you mean 'bert.encoder.layer.0.output.dense'?"],
        ),
        (["optim=adamw_torh"], ["optim='adamw_torh' is unknown", "did you mean 'adamw_torch'?"]),
        (["optim=galore_adamw"], ["optim='galore_adamw' cannot be used here", "pip install"]),
        (["report_to=[tensorbord]"], ["report_to='tensorbord' is unknown", "did you mean 'tensorboard'?"]),
        (["metric=acuracy"], ["unknown metric 'acuracy'; did you mean 'accuracy'?"]),
        (["optimizer_state=kep"], ["optimizer_state='kep' is refused", "'keep', 'release' or 'offload'"]),
        (["fused_backward=true"], ["nothing can clip the gradients", "set max_grad_norm=0"]),
        (
            ["fused_backward=true", "max_grad_norm=0", "gradient_accumulation_steps=2"],
            ["gradient_accumulation_steps=1"],
        ),
        (["--batch-size"], ["the flag --batch-size needs a value: --batch-size VALUE"]),
        (["--batch-size", "--seed", "1"], ["the flag --batch-size needs a value"]),
        (["settings={rate: 0.5"], ["settings='{rate: 0.5' cannot be read"]),
        (["no.yaml"], ["there is no config file 'no.yaml'"]),
        (["-o", "x"], ["-o"]),
        (["--resume", "--overwrite"], ["--resume and --overwrite contradict each other"]),
        (["--resume"], ["there is no run to resume", "leave --resume out"]),
        (["model=minilmm"], ["model 'minilmm'", "'minilm'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and "=" in value[0] else None,
)
def test_config_is_refused(refused: Refused, words: list[str], parts: list[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = refused(*words)
    for part in parts:
        assert part in said


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("- method\n- full\n", "must hold `key: value` lines; it holds list"),
        ("", "must hold `key: value` lines; it holds NoneType"),
        ("method:\n\tfull\n", "cannot be read as YAML"),
        ("method: [full\n", "cannot be read as YAML"),
        ("metod: full\n", "unknown key 'metod'; did you mean 'method'?"),
        ("1: 2\n", "unknown key '1'"),
        ("settings: 3\n", "settings=3 is refused: write for instance settings: {rate: 0.9}"),
        ("method: slimfit\nrate: 0.5\n", "unknown key 'rate'"),
    ],
)
def test_config_file_is_refused(refused: Refused, tmp_path: Path, content: str, part: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content)
    assert part in refused(path)


def test_setting_at_the_top_of_a_file_is_told_where_it_belongs(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("method: slimfit\nrate: 0.5\n")
    assert "settings: {rate: 0.5}" in refused(path)


def test_second_config_file_is_refused(refused: Refused, tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("method: full\n")
    assert "b.yaml' is neither key=value nor the only config file" in refused(tmp_path / "a.yaml", tmp_path / "b.yaml")


def test_missing_output_is_named(command: Any, flags: list[str]) -> None:
    done = command("train", *flags)
    assert done.code == 2
    assert "the key 'output' is missing; say for instance output=runs/first" in done.said


def test_resume_without_a_folder_is_refused(command: Any) -> None:
    done = command("train", "--resume")
    assert done.code == 2
    assert "--resume needs the run folder: --output FOLDER" in done.said


class TestData:
    """Data that cannot be read or learnt from."""

    ROWS: ClassVar = [("the day", "good"), ("the cat", "bad")] * 6

    def test_missing(self, refused: Refused) -> None:
        assert "'no/such.csv': there is no such file or folder" in refused("data=no/such.csv")

    def test_empty(self, refused: Refused, tmp_path: Path) -> None:
        (tmp_path / "empty.csv").touch()
        assert "empty.csv: the file is empty" in refused(f"data={tmp_path / 'empty.csv'}")

    def test_only_a_header(self, refused: Refused, table: Any, tmp_path: Path) -> None:
        assert "there are no rows" in refused(f"data={table(tmp_path / 'a.csv', [])}")

    def test_other_delimiter(self, refused: Refused, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("text;label\n" + "".join(f"the day {i};good\nthe cat {i};bad\n" for i in range(6)))
        assert "delimiter" in refused(f"data={path}")

    def test_unknown_column(self, refused: Refused, table: Any, tmp_path: Path) -> None:
        said = refused(f"data={table(tmp_path / 'a.csv', self.ROWS)}", "label=lable")
        assert "'lable'" in said
        assert "label" in said.replace("'lable'", "")

    def test_one_class(self, refused: Refused, table: Any, tmp_path: Path) -> None:
        path = table(tmp_path / "a.csv", [(f"the day {i}", "good") for i in range(9)])
        assert "every label is 'good'; to learn, two classes are needed" in refused(f"data={path}")

    def test_class_of_one_example(self, refused: Refused, table: Any, tmp_path: Path) -> None:
        path = table(tmp_path / "a.csv", [*self.ROWS, ("a song", "lone")])
        assert "class 'lone' has just one example" in refused(f"data={path}")

    def test_label_only_in_validation(self, refused: Refused, table: Any, tmp_path: Path) -> None:
        train = table(tmp_path / "train.csv", self.ROWS)
        held = table(tmp_path / "held.csv", [("the day", "good"), ("a song", "ugly")])
        said = refused(f"data={train}", f"validation={held}")
        assert "'ugly'" in said
        assert "held.csv" in said

    def test_score_for_two_classes_on_three(self, refused: Refused, table: Any, tmp_path: Path) -> None:
        path = table(tmp_path / "a.csv", [*self.ROWS, *[("a song", "so")] * 6])
        assert "metric 'f1' is for two classes" in refused(f"data={path}", "metric=f1", "validation_share=0.3")


class TestModel:
    """Models that cannot be loaded."""

    def test_missing_folder(self, refused: Refused) -> None:
        assert "model './no/such' is no Hugging Face model folder: it has no config.json" in refused("model=./no/such")

    def test_folder_without_config(self, refused: Refused, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert "it has no config.json" in refused(f"model={tmp_path / 'empty'}")

    def test_garbage_for_weights(self, refused: Refused, tiny: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny, tmp_path / "model")
        (tmp_path / "model" / "model.safetensors").write_bytes(b"garbage" * 100)
        assert "cannot be loaded for classification" in refused(f"model={tmp_path / 'model'}")

    def test_weights_cut_short(self, refused: Refused, tiny: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny, tmp_path / "model")
        os.truncate(tmp_path / "model" / "model.safetensors", 5000)
        assert "cannot be loaded for classification" in refused(f"model={tmp_path / 'model'}")

    def test_garbage_for_config(self, refused: Refused, tiny: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny, tmp_path / "model")
        (tmp_path / "model" / "config.json").write_text("{")
        assert "cannot be loaded for classification" in refused(f"model={tmp_path / 'model'}")

    def test_half_of_the_weights(self, refused: Refused, tiny: Path, tmp_path: Path) -> None:
        """The stock library would fill them up with random numbers."""
        from safetensors.torch import load_file, save_file

        shutil.copytree(tiny, tmp_path / "model")
        path = tmp_path / "model" / "model.safetensors"
        tensors = {name: tensor for name, tensor in load_file(path).items() if "layer.1." not in name}
        save_file(tensors, path, {"format": "pt"})
        assert "has no weights for 'bert.encoder.layer.1." in refused(f"model={tmp_path / 'model'}")

    def test_no_tokenizer(self, refused: Refused, tiny: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny, tmp_path / "model", ignore=shutil.ignore_patterns("tokenizer*"))
        assert "tokenizer" in refused(f"model={tmp_path / 'model'}")

    def test_infinite_weights(self, command: Any, flags: list[str], tiny: Path, record: Any, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        shutil.copytree(tiny, tmp_path / "model")
        path = tmp_path / "model" / "model.safetensors"
        tensors = load_file(path)
        tensors["pooler.dense.weight"].fill_(float("inf"))
        save_file(tensors, path, {"format": "pt"})
        done = command("train", *flags, f"model={tmp_path / 'model'}", "--output", tmp_path / "run")
        assert done.code == 2
        assert "the loss is nan at step 1" in done.said
        assert "No checkpoint had been written yet" in done.said
        assert record(tmp_path / "run")["status"] == "trainingdiverged"


def test_method_that_trains_nothing_is_refused(train: Any, tmp_path: Path, monkeypatch: Any) -> None:
    from frostline import methods
    from frostline.errors import PlanError
    from frostline.methods.base import ConstantMethod

    class Nothing(ConstantMethod):
        name, summary, source = "nothing", "", ""

        def trained(self, anatomy: Any) -> tuple[Any, ...]:
            return ()

    monkeypatch.setitem(methods._registered, "nothing", Nothing)
    with pytest.raises(PlanError, match="method 'nothing' with these settings would train nothing"):
        train(tmp_path / "run", method="nothing")
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def stopped(train: Any, record: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that looks killed after its first epoch."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    train(folder, method="slimfit", settings={"rate": 0.5}, save_total_limit=5)
    shutil.rmtree(folder / "checkpoints" / "checkpoint-10")
    (folder / "run.json").write_text(json.dumps(record(folder) | {"status": "running"}))
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["method=full"], "this run was started with method='slimfit', not 'full'"),
        (["rate=0.6"], "this run was started with settings={'rate': 0.5}, not {'rate': 0.6}"),
        (["learning_rate=0.1"], "this run was started with learning_rate=0.003, not 0.1"),
        (["seed=1"], "this run was started with seed=0, not 1"),
        (["epochs=3"], "this run was started with epochs=2.0, not 3.0"),
    ],
)
def test_resume_with_another_config_is_refused(command: Any, stopped: Path, words: list[str], said: str) -> None:
    before = (stopped / "run.json").read_text()
    done = command("train", "--resume", "--output", stopped, *words)
    assert done.code == 2
    assert said in done.said
    assert "or start another run folder" in done.said
    assert (stopped / "run.json").read_text() == before


@pytest.mark.parametrize("what", ["data", "base model"])
def test_resume_on_other_files_is_refused(
    command: Any, train: Any, record: Any, new_model: Any, task: Path, tmp_path: Path, what: str
) -> None:
    data, model, output = tmp_path / "data", new_model(tmp_path / "model"), tmp_path / "run"
    shutil.copytree(task, data)
    train(output, data=str(data), model=str(model))
    (output / "run.json").write_text(json.dumps(record(output) | {"status": "running"}))
    if what == "data":
        with (data / "train.csv").open("a") as stream:
            stream.write("the house,good\n")
    else:
        new_model(model, initializer_range=0.1)
    done = command("train", "--resume", "--output", output)
    assert done.code == 2
    assert f"the {what} is not what this run was started with" in done.said
    assert record(output)["status"] == "running"


def test_finished_run_is_not_taken_for_another(command: Any, train: Any, tmp_path: Path) -> None:
    train(tmp_path / "run", max_steps=1)
    done = command("train", "--resume", "--output", tmp_path / "run", "method=head")
    assert done.code == 2
    assert "this run was started with method='full', not 'head'" in done.said


def test_folder_that_is_no_run_is_not_overwritten(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("the only copy")
    assert "is no run folder (it has no run.json) and is not overwritten" in refused("--overwrite")
    assert "exists" in refused()


def test_output_that_is_or_lies_in_a_file_is_refused(
    refused: Refused, command: Any, flags: Any, tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("a file")
    assert "run' is a file; name a folder" in refused()
    done = command("train", *flags, "--output", tmp_path / "run" / "in" / "it", "max_steps=1")
    assert done.code == 2
    assert "cannot be made" in done.said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_place_is_refused(refused: Refused, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        assert "cannot be made" in refused()
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("text", ["{", "[]", '{"other": "program"}'])
def test_damaged_record_is_refused(command: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    for words in (
        ["train", "--resume", "--output", tmp_path],
        ["eval", tmp_path],
        ["export", tmp_path, tmp_path / "x"],
    ):
        done = command(*words)
        assert done.code == 2
        assert "run.json" in done.said
