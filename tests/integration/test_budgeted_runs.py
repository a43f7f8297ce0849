"""`frostline plan` and `frostline train --budget`: what is predicted is measured, and what cannot be is refused."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import torch
from datasets import Dataset, Features, Value
from PIL import Image
from rich.console import Console
from transformers import T5Config, TrainerCallback, TrainerControl, TrainerState

from frostline import meter
from frostline.config import make_config
from frostline.errors import BudgetExceeded, BudgetInfeasible, OutOfMemory
from frostline.meter.process import Peaks
from frostline.planner import machine
from frostline.planner.hindsight import hindsight
from frostline.training.planned import with_budget, within_budget
from frostline.training.run import run
from frostline.training.start import resumed
from frostline.training.watchdog import Watchdog
from tiny_pictures import make_vit

COMMAND = Path(sys.executable).with_name("frostline")


def test_a_plan_before_anything_is_loaded(command, tiny):
    done = command("plan", tiny, "--batch-size", 4, "--seq-len", 16, "--budget", "30TiB", "--json")
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["budget"] == 30 * 2**40
    assert found["plan"]["method"] == "full"
    assert found["plan"]["storage"] == "exact"
    assert found["predicted"]["peak"] == found["predicted"]["tensors"] + found["runtime"]
    assert found["runtime"] < found["smallest_budget"] < 1.03 * found["predicted"]["peak"]
    assert found["largest_batch"] > 4
    assert sum(found["predicted"]["saved_by_operation"].values()) == found["predicted"]["saved"]
    assert any("memory that this machine has" in warning for warning in found["warnings"])


def test_a_plan_to_read(command, tiny):
    done = command("plan", tiny, "--batch-size", 4, "--seq-len", 16, "--budget", "2GiB", "--no-bounds")
    assert done.code == 0, done.stderr
    for words in ("full, stock storage", "fits", "at the peak", "runtime", "saved: attention", "2.00 GiB"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("budget", "code", "said"),
    [
        ("2 bananas", 2, "the budget '2 bananas' is no amount of memory"),
        ("-1GB", 2, "the budget '-1GB' is no amount of memory"),
        ("0", 2, "give more than 0"),
        ("20MiB", 3, "the smallest that"),
    ],
)
def test_refused(command, tiny, budget, code, said):
    done = command("plan", tiny, "--batch-size", 2, "--seq-len", 8, "--method", "full", "--budget", budget)
    assert done.code == code
    assert said in done.stderr


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_planned(command, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    done = command("plan", tiny, "--budget", "2GiB", "--output", tmp_path / "file" / "plan.json")
    assert done.code == 2
    assert "cannot be written: " in done.stderr
    assert "is no folder to write in" in done.stderr


@pytest.mark.parametrize(("upload", "said"), [("auto", "the upload auto is refused"), ("0", "the upload '0' is 0")])
def test_uploads_are_said_in_bytes(command, tiny, upload, said):
    done = command("plan", tiny, "--budget", "2GiB", "--upload", upload)
    assert done.code == 2
    assert said in done.stderr


def test_a_step_that_fails_by_itself_is_not_said_to_look_at_data(command, tmp_path):
    T5Config(vocab_size=99, d_model=16, d_ff=32, d_kv=8, num_layers=2, num_heads=2).save_pretrained(tmp_path)
    done = command("plan", tmp_path, "--batch-size", 2, "--seq-len", 8, "--budget", "2GiB", "--no-bounds")
    assert done.code == 2
    assert "decoder_start_token_id" in done.stderr
    assert "depends on the data" not in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_a_gpu_has_free_that_is_not_here(command, tiny):
    done = command("plan", tiny, "--budget", "auto", "--device", "cuda")
    assert done.code == 2
    assert "there is none here" in done.stderr


def test_a_run_keeps_its_budget_and_says_how_well_it_was_predicted(tmp_path):
    output = tmp_path / "run"
    options = ["--max-steps", "4", "--batch-size", "8", "--max-length", "32", "--no-report"]
    words = [COMMAND, "train", "--output", output, "--budget", "1100MiB", *options]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads((output / "run.json").read_text(encoding="utf-8"))
    assert record["prediction"]["measured"] <= record["prediction"]["budget"] == 1100 * 2**20
    assert 0.93 < record["prediction"]["ratio"] < 1.07
    assert record["planned"]["rungs"][-1]["fits"]
    assert record["config"]["allocator"] == "compact"
    config = make_config({"output": output, "max_steps": 4, "batch_size": 8, "max_length": 32, "eval_batch_size": 8})
    without = hindsight(config, record)
    assert without["predicted"] == pytest.approx(record["prediction"]["predicted"], rel=0.05)
    assert without["measured"] == record["peak_bytes"]


@pytest.mark.slow
def test_a_budget_that_depends_on_the_process_stays_when_a_run_plans_anew(task, tiny, tmp_path):
    where = {"output": tmp_path / "run", "model": str(tiny), "data": str(task)}
    config = make_config({**where, "max_length": 16, "batch_size": 4, "budget": "1.5x"})
    _, found = within_budget(config, Console(quiet=True))
    _, anew = within_budget(config, Console(quiet=True), found, found["runtime"] + 50 * 2**20)
    assert anew["runtime"] == found["runtime"] + 50 * 2**20
    assert anew["budget"] == found["budget"]


def test_an_allocator_that_no_plan_counts_on_is_kept_and_warned_of(task, tiny, tmp_path):
    said = Console(file=io.StringIO(), width=10_000)
    asked = {"data": str(task), "model": str(tiny), "max_length": 16, "budget": "20GiB", "output": tmp_path / "run"}
    config, _ = within_budget(make_config({**asked, "allocator": "default"}), said)
    assert config.allocator == "default"
    assert "the prediction is of allocator=compact: the run may pass its budget" in said.file.getvalue()


@pytest.mark.slow
def test_a_run_that_passes_its_budget_is_stopped_with_a_checkpoint(tmp_path, task, tiny, monkeypatch):
    def planned_for_more(config, console):
        chosen, found = within_budget(config, console)
        return chosen, {**found, "budget": 2**20}

    monkeypatch.setattr("frostline.training.start.within_budget", planned_for_more)
    monkeypatch.setattr("frostline.training.opening.with_data", lambda start, *_: start)
    output = tmp_path / "run"
    shape = {"max_steps": 5, "batch_size": 4, "max_length": 32, "budget": "8GiB"}
    config = make_config({"model": str(tiny), "data": str(task), "output": output, **shape})
    with pytest.raises(BudgetExceeded, match=r"step 1 took .* budget of 1,048,576.* kept most: .*checkpoint-1"):
        run(config, console=Console(quiet=True))
    assert json.loads((output / "run.json").read_text(encoding="utf-8"))["status"] == "budgetexceeded"


@pytest.mark.slow
def test_so_is_one_whose_evaluation_does(tmp_path, task, tiny, monkeypatch):
    class EvaluatesInMore(TrainerCallback):
        def on_evaluate(self, *_, **__):
            monkeypatch.setattr(meter, "peaks", lambda: Peaks(2**40))

    where = {"model": str(tiny), "data": str(task), "output": tmp_path / "run", "budget": "8GiB"}
    shape = {"max_steps": 4, "batch_size": 4, "max_length": 16, "eval_strategy": "steps", "eval_steps": 2}
    config = make_config({**where, **shape, "save_strategy": "no"})
    with pytest.raises(BudgetExceeded, match=r"the evaluation after step 2 took .*eval_batch_size.*checkpoint-2"):
        run(config, console=Console(quiet=True), callbacks=[EvaluatesInMore()])


def test_an_evaluation_is_held_to_the_budget(monkeypatch):
    monkeypatch.setattr(meter, "peaks", lambda: Peaks(2**30))
    for budget, passed in ((2**31, False), (2**29, True)):
        watchdog, control = Watchdog(budget), TrainerControl()
        watchdog.on_evaluate(None, TrainerState(global_step=7), control)
        assert (control.should_training_stop, control.should_save, watchdog.asked) == (passed,) * 3
    assert "the evaluation after step 7 took 1,073,741,824 bytes" in str(watchdog.exceeded)


def test_a_run_may_have_another_budget_that_its_plan_fits():
    planned = {"request": {"device": "cpu"}, "inference": 2**29, "predicted": {"peak": 2**30}, "budget": 2**30}
    assert with_budget(planned, "2GiB") == {**planned, "budget": 2**31}
    assert with_budget(planned, "3x")["budget"] == 3 * 2**29
    with pytest.raises(BudgetInfeasible, match="too small for the plan that the run was started with"):
        with_budget(planned, "1GB")


@pytest.mark.slow
def test_and_goes_on_with_a_larger_budget(tmp_path, task, tiny, command):
    shape = {"max_steps": 2, "batch_size": 4, "max_length": 16, "save_strategy": "steps", "save_steps": 1}
    config = make_config({"model": str(tiny), "data": str(task), "output": tmp_path / "run", **shape, "budget": "8GiB"})
    run(config, console=Console(quiet=True))
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    (tmp_path / "run" / "run.json").write_text(json.dumps(record | {"status": "budgetexceeded"}), encoding="utf-8")
    more = resumed(make_config(json.loads(config.model_dump_json(exclude_unset=True)) | {"budget": "9GiB"}))
    assert more.planned == {**record["planned"], "budget": 9 * 2**30}
    with pytest.raises(BudgetInfeasible, match="too small for the plan that the run was started with"):
        resumed(make_config(json.loads(config.model_dump_json(exclude_unset=True)) | {"budget": "9MiB"}))
    done = command("train", "--resume", "--output", tmp_path / "run", "--budget", "9GiB", "--no-report")
    assert done.code == 0, done.stderr
    again = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert (again["status"], again["prediction"]["budget"]) == ("finished", 9 * 2**30)


def test_a_run_that_cannot_fit_is_refused_before_anything_is_written(command, tmp_path):
    output = tmp_path / "run"
    done = command("train", "--output", output, "--budget", "300MiB", "--method", "full", "--batch-size", 2)
    assert done.code == 3
    assert "too small: the smallest that minilm can be trained in is" in done.stderr
    assert not output.exists()


_BEYOND = """
import torch
from frostline.meter.enforce import enforce
import psutil
enforce(psutil.Process().memory_info().rss + 200 * 2**20)
kept = torch.ones(100 * 2**18)
print("within")
torch.ones(400 * 2**18)
print("beyond")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux only")
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU's memory is limited where there is one")
def test_the_system_itself_keeps_an_enforced_budget():
    done = subprocess.run([sys.executable, "-c", _BEYOND], capture_output=True, text=True)
    assert done.stdout.split() == ["within"]
    assert "can't allocate memory" in done.stderr


@pytest.mark.slow
def test_a_plan_is_written_edited_and_passed_back(command, task, tiny, tmp_path):
    file, output = tmp_path / "plan.json", tmp_path / "run"
    shape = ["--batch-size", 4, "--seq-len", 16]
    done = command("plan", tiny, *shape, "--budget", "8GiB", "--no-bounds", "--output", file)
    assert done.code == 0, done.stderr
    plan = json.loads(file.read_text(encoding="utf-8"))
    plan["plan"] |= {"method": "layers", "settings": {"count": 1}, "storage": "compact"}
    file.write_text(json.dumps(plan))
    words = ["train", "--plan", file, "--model", tiny, "--data", task, "--max-steps", 2, "--max-length", 16]
    done = command(*words, "--output", output, "--no-report")
    assert done.code == 0, done.stderr
    record = json.loads((output / "run.json").read_text(encoding="utf-8"))
    assert record["config"]["method"] == "layers"
    assert record["config"]["batch_size"] == 4
    assert record["planned"]["rungs"][0]["name"] == "as planned"
    plan["budget"] = 100 * 2**20
    file.write_text(json.dumps(plan))
    done = command(*words, "--output", tmp_path / "other")
    assert done.code == 3
    assert "this plan of" in done.stderr


_NO_PLANS = ("", "[]", '{"budget": 1}', '{"budget": "1GiB", "plan": []}', '{"budget": "1GiB", "plan": {}}')
_OTHER_KEYS = tuple(f'{{"budget": "1GiB", "plan": {{"method": "full", "{key}": "x"}}}}' for key in ("methd", "output"))


@pytest.mark.parametrize("content", [*_NO_PLANS, *_OTHER_KEYS])
def test_a_file_that_holds_no_plan(command, tmp_path, content):
    file = tmp_path / "plan.json"
    file.write_text(content)
    done = command("train", "--plan", file, "--output", tmp_path / "run")
    assert done.code == 2
    assert str(file) in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "more", "when"),
    [(-300, 300, "data and libraries take"), (-300, 300, "first step"), (200, 450, "first step")],
    ids=["too-little", "too-little-at-first", "too-much"],
)
def test_a_process_that_takes_more_than_predicted_is_planned_anew(tmp_path, monkeypatch, wrong, more, when):
    output, said = tmp_path / "run", io.StringIO()
    true = machine.machine().runtime
    if when == "first step":
        monkeypatch.setattr("frostline.training.opening.with_data", lambda start, *_: start)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # for how many threads it is written below
    machine._write({"runtime": true + wrong * 2**20, "growth": 0}, False)
    shape = {"max_steps": 3, "batch_size": 8, "max_length": 32}
    config = make_config({"output": output, **shape, "budget": true + more * 2**20})
    record = run(config, console=Console(file=said, width=200))
    assert when in said.getvalue()
    assert ("planned anew" if wrong < 0 else "the plan stays as it is") in said.getvalue()
    assert record["prediction"]["measured"] <= record["prediction"]["budget"]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU data take nothing")
def test_room_is_left_for_the_data(command, tmp_path):
    """Sixty megabytes of pictures, which no calibration knows of, leave less room for what waits for backward."""
    vit = make_vit(tmp_path / "vit", hidden_size=64, intermediate_size=256, num_hidden_layers=6, image_size=128)
    images, size = [], 320
    for index in range(200):
        file = io.BytesIO()
        Image.frombytes("RGB", (size, size), random.Random(index).randbytes(size * size * 3)).save(file, "PNG")
        images.append({"bytes": file.getvalue(), "path": None})
    rows = {"image": images, "label": [f"{index % 2}" for index in range(200)]}
    features = Features({"image": datasets.Image(), "label": Value("string")})
    Dataset.from_dict(rows, features).to_parquet(tmp_path / "noise.parquet")
    shape = ["--model", vit, "--batch-size", 32, "--image-size", 128]
    whole = command("plan", vit, *shape[2:], "--budget", "20GiB", "--no-bounds", "--json")
    budget = int(json.loads(whole.stdout)["predicted"]["peak"] / 0.98) + 2**20
    words = [*shape, "--data", tmp_path / "noise.parquet", "--max-steps", 3, "--eval-strategy", "no"]
    words = [COMMAND, "train", *words, "--budget", budget, "--output", tmp_path / "run", "--no-report"]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "data and libraries take" in done.stdout
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["config"]["storage"] != "exact"
    assert record["prediction"]["measured"] <= budget
    assert 0.93 < record["prediction"]["ratio"] < 1.07


class RefusedOnce(TrainerCallback):
    """The system refuses the first step of the first attempt its memory, as a GPU's allocator does."""

    def __init__(self):
        self.begun = 0

    def on_step_begin(self, args, state, control, **kwargs):
        self.begun += 1
        if self.begun == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.slow
def test_a_first_step_that_is_refused_its_memory_is_planned_anew(tmp_path):
    said = io.StringIO()
    shape = {"max_steps": 2, "batch_size": 8, "max_length": 32, "eval_batch_size": 8}
    config = make_config({"output": tmp_path / "run", **shape, "budget": machine.machine().runtime + 300 * 2**20})
    record = run(config, console=Console(file=said, width=200), callbacks=[RefusedOnce()])
    assert "the first step: CUDA out of memory: planned anew" in said.getvalue()
    assert record["status"] == "finished"


def test_out_of_memory_in_a_run_is_an_error_with_a_way_out(tmp_path, task, tiny):
    where = {"output": tmp_path / "run", "model": str(tiny), "data": str(task)}
    config = make_config({**where, "max_steps": 2, "max_length": 16})
    with pytest.raises(OutOfMemory, match="CUDA out of memory: give what there is as the budget"):
        run(config, console=Console(file=io.StringIO()), callbacks=[RefusedOnce()])
    assert json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["status"] == "outofmemory"


@pytest.mark.slow
def test_a_run_within_a_budget_is_resumed_by_its_config_alone(command, task, tiny, tmp_path):
    words = ["--model", tiny, "--data", task, "--budget", "2GiB", "--batch-size", 4, "--max-length", 16]
    words += ["--output", tmp_path / "run", "--no-report", "--save-strategy", "steps", "--save-steps", 1]
    assert command("train", *words, "--max-steps", 2, "--method", "layers").code == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    record["status"] = "interrupted"
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    done = command("train", *words, "--max-steps", 2, "--method", "layers", "--resume")
    assert done.code == 0, done.stderr


def test_limits_besides_memory(command, tiny):
    words = ["plan", tiny, "--batch-size", 4, "--seq-len", 16, "--budget", "30GiB", "--no-bounds", "--json"]
    free = json.loads(command(*words).stdout)["predicted"]
    found = json.loads(command(*words, "--upload", free["upload"] // 2).stdout)
    assert found["plan"]["method"] == "layers"
    assert found["predicted"]["upload"] <= free["upload"] // 2
    found = json.loads(command(*words, "--flops", int(0.6 * free["flops"])).stdout)
    assert found["plan"]["method"] == "auto"
    assert found["predicted"]["flops"] <= 0.6 * free["flops"]
    refused = command(*words, "--flops", 1)
    assert refused.code == 3
    assert "FLOPs a step" in refused.stderr
    assert command(*words, "--seconds", -1).code == 2


@pytest.mark.slow
def test_a_first_step_that_is_refused_its_memory_with_no_other_plan_ends_the_run(tmp_path, monkeypatch):
    def none(*_):
        raise BudgetInfeasible("none")

    monkeypatch.setattr("frostline.training.watchdog.within_budget", none)
    shape = {"max_steps": 2, "batch_size": 8, "max_length": 32, "eval_batch_size": 8}
    config = make_config({"output": tmp_path / "run", **shape, "budget": machine.machine().runtime + 300 * 2**20})
    with pytest.raises(BudgetExceeded, match="CUDA out of memory, with a budget of"):
        run(config, console=Console(file=io.StringIO()), callbacks=[RefusedOnce()])
    assert json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["status"] == "budgetexceeded"
