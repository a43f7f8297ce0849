"""Records: what is kept, what is made anew, and which learning rate wins."""

import json
from dataclasses import replace

import pytest

from frostline.children import why
from frostline.comparison.compare import choose_learning_rates
from frostline.comparison.folder import ComparisonFolder
from frostline.comparison.records import command_of, make_record
from frostline.comparison.runs import Run
from frostline.errors import ConfigError

RUN = Run("cell", "t.full.seed0", "t", "full", 0, {"method": "full", "learning_rate": 0.1, "seed": 0})


@pytest.fixture
def folder(tmp_path):
    found = ComparisonFolder(tmp_path / "c")
    found.open()
    return found


def record(**changes):
    result = {"metrics": {"a": 1.0}, "metric": "a"}
    return make_record(RUN, command="-", status="finished", result=result, run_info={"seconds": 1.0}) | changes


def test_a_record_comes_back_as_it_was_written(folder):
    assert folder.read(RUN) is None
    folder.write(record())
    assert folder.read(RUN) == record()
    assert record()["train_info"] == {"metric": "a", "metrics": {"a": 1.0}}


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"format": "other"}', '{"format": "frostline-cell/1"}'])
def test_a_damaged_or_foreign_record_is_made_anew(folder, content):
    (folder.path / f"{RUN.name}.json").write_text(content)
    assert folder.read(RUN) is None


@pytest.mark.parametrize("lost", ["run_info", "train_info"])
def test_a_record_that_lacks_a_part_is_made_anew(folder, lost):
    folder.write({key: value for key, value in record().items() if key != lost})
    assert folder.read(RUN) is None


def test_a_key_at_its_default_is_the_same_as_none(folder):
    folder.write(record())
    run = replace(RUN, config={**RUN.config, "weight_decay": 0.0})
    assert folder.read(run) == record()


def test_a_second_comparison_in_the_folder_is_refused(folder):
    with pytest.raises(ConfigError, match="under way"):
        ComparisonFolder(folder.path).open()


def test_a_record_of_other_keys_is_refused_unless_it_may_be_made_anew(folder):
    folder.write(record(config={**RUN.config, "learning_rate": 0.2}))
    with pytest.raises(ConfigError, match=r"learning_rate=0\.2, not 0\.1"):
        folder.read(RUN)
    assert folder.read(RUN, overwrite=True) is None


def test_a_folder_with_other_things_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="no comparison"):
        ComparisonFolder(tmp_path).open()
    with pytest.raises(ConfigError, match="is a file"):
        ComparisonFolder(tmp_path / "thesis.tex").open()


def test_a_second_start_adds_to_what_is_planned(folder):
    def plan(names):
        return {
            "format": "frostline-comparison/1",
            "started": names[0],
            "tasks": ["t"],
            "methods": list(names),
            "seeds": [0],
            "expected": {"cell": [f"t.{name}.seed0" for name in names]},
        }

    folder.write(record())
    folder.write_plan(plan(["full", "head"]))
    folder.write_plan(plan(["lora"]))
    found = json.loads(folder.plan.read_text())
    assert found["methods"] == ["lora", "full"], "of head nothing was made, so nothing is missing"
    assert found["expected"]["cell"] == ["t.lora.seed0", "t.full.seed0"]
    assert found["started"] == "full"


@pytest.mark.parametrize("plan", ["{", '{"expected": {"cell": null}}', '{"expected": [], "tasks": null}', "[[[["])
def test_a_damaged_plan_is_written_anew(folder, plan):
    own = {"format": "frostline-comparison/1", "started": "now", "tasks": ["t"], "methods": ["full"], "seeds": [0]}
    damaged = plan.replace('{"', '{"format": "frostline-comparison/1", "', 1) if plan.endswith("}") else plan
    folder.plan.write_text(damaged)
    folder.write_plan({**own, "expected": {"cell": [RUN.name]}})
    assert json.loads(folder.plan.read_text()) == {**own, "expected": {"cell": [RUN.name]}}


@pytest.mark.parametrize("content", ['{"my": "precious"}', "[]", '{"format": "other"}'])
def test_a_foreign_plan_is_not_written_over(tmp_path, content):
    (tmp_path / "comparison.json").write_text(content)
    with pytest.raises(ConfigError, match=r"comparison\.json is no plan"):
        ComparisonFolder(tmp_path).open()
    assert (tmp_path / "comparison.json").read_text() == content


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "running"},
        {"status": 3},
        {"task": None},
        {"seed": "0"},
        {"config": []},
        {"reason": 3},
        {"train_info": {"metric": ["a"], "metrics": {"a": 1.0}}},
        {"train_info": {"metric": "a", "metrics": {"a": "1.0"}}},
        {"train_info": {"metric": "a", "metrics": {"a": None}}},
        {"train_info": {"metric": "a", "metrics": {"a": 1.0, "loss": None}}},
    ],
)
def test_a_record_that_cannot_be_used_is_made_anew(folder, changes):
    folder.write(record(**changes))
    assert folder.read(RUN) is None


def test_a_record_of_another_row_or_of_other_threads_is_refused(folder):
    folder.write(record(method="fu ll"))
    with pytest.raises(ConfigError, match="made with method='fu ll', not 'full'"):
        folder.read(RUN)
    folder.write(record(run_info={"seconds": 1.0, "threads": 1}))
    assert folder.read(RUN, threads=1) is not None
    with pytest.raises(ConfigError, match="made with threads=1, not 2"):
        folder.read(RUN, threads=2)


def test_what_failed_is_made_anew_on_demand_whatever_its_keys(folder):
    folder.write(record(status="failed", reason="no trial finished", config={"method": "full"}))
    with pytest.raises(ConfigError, match="learning_rate"):
        folder.read(RUN)
    assert folder.read(RUN, retry=True) is None


def test_a_pair_with_another_reference_is_made_anew(folder):
    other = replace(RUN, method="head", config={**RUN.config, "method": "head"})
    run = replace(RUN, kind="time", name="t.full.time", reference=other)
    made = make_record(run, command="-", status="finished", result={}, run_info={"seconds": 1.0})
    folder.write(made)
    assert folder.read(run) == made
    assert folder.read(replace(run, reference=replace(other, method="bitfit"))) is None
    assert folder.read(replace(run, reference=replace(other, config={**other.config, "bf16": True}))) is None


@pytest.mark.parametrize("text", ["null", "~", "'x'", '"y"', "plain words", "5", "äö", ""])
def test_the_command_gives_back_every_text(text):
    import shlex

    from frostline.config import parse_values

    (word,) = [word for word in shlex.split(command_of({"data": text}, "x")) if word.startswith("data=")]
    assert parse_values({"data": word.removeprefix("data=")}) == {"data": text}


def test_the_command_can_be_pasted_into_a_shell():
    command = command_of({"data": "my data/it's", "settings": {"rate": 0.9}, "max_train": 5}, "x")
    import shlex

    words = shlex.split(command)
    assert words[:2] == ["frostline", "train"]
    assert words[2:] == ["data=my data/it's", 'settings={"rate": 0.9}', "max_train=5", "output=runs/x"]


def trial(method, rate, score, loss=1.0, status="finished"):
    info = {"metric": "m", "metrics": {"m": score, "loss": loss}}
    return {
        "task": "t",
        "method": method,
        "status": status,
        "config": {"learning_rate": rate},
        "train_info": info if status == "finished" else {},
        "reason": None,
    }


def test_the_learning_rate_is_chosen_by_score_then_loss_then_the_lower():
    found = choose_learning_rates(
        [
            trial("score", 1, 0.5),
            trial("score", 2, 0.6),
            trial("loss", 1, 0.5, 0.9),
            trial("loss", 2, 0.5, 0.8),
            trial("tie", 2, 0.5),
            trial("tie", 1, 0.5),
            trial("failed", 1, 0.1),
            trial("failed", 2, 0.9, status="failed"),
            trial("nan", 1, float("nan")),
            trial("nan", 2, -1.0),
            trial("none", 1, 1.0, status="out_of_memory"),
        ]
    )
    assert found == {("t", "score"): 2, ("t", "loss"): 2, ("t", "tie"): 1, ("t", "failed"): 1, ("t", "nan"): 2}


@pytest.mark.parametrize(
    ("code", "errors", "status", "reason"),
    [
        (-9, "", "out_of_memory", "SIGKILL"),
        (
            1,
            "Traceback\nRuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory",
            "out_of_memory",
            "DefaultCPU",
        ),
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried", "out_of_memory", "CUDA"),
        (1, "x\nMemoryError\n", "out_of_memory", "MemoryError"),
        (2, "there is no method 'x'\n\n", "failed", "there is no method 'x'"),
        (3, "", "failed", "exit status 3"),
    ],
)
def test_why_a_child_failed(code, errors, status, reason):
    found = why(code, errors)
    assert found[0] == status
    assert reason in found[1]


def test_of_an_error_the_lower_one_is_chosen():
    trials = [trial("full", 1, 0.3), trial("full", 2, 0.9)]
    for each in trials:
        each["train_info"] = {"metric": "mse", "metrics": {"mse": each["train_info"]["metrics"]["m"]}}
    assert choose_learning_rates(trials) == {("t", "full"): 1}
