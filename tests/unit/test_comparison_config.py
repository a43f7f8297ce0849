"""What a comparison asks for, and what it refuses."""

import pytest

from frostline.comparison.config import make_comparison
from frostline.comparison.runs import Runs, slug
from frostline.config import make_config
from frostline.errors import ConfigError, FrostlineError

METHODS = {"full": {}, "far10": {"method": "far", "settings": {"retention": 0.1}}}


def runs(methods=METHODS, **values):
    return Runs(make_comparison({"output": "out", "methods": methods, **values}, {}))


def test_a_train_config_will_do_and_lends_its_method_s_settings():
    config = make_comparison(
        {"output": "out", "method": "slimfit", "settings": {"rate": 0.8}, "epochs": 1}, {}, ["full", "slimfit", "lora"]
    )
    assert list(config.methods) == ["full", "slimfit", "lora"]
    assert config.methods["slimfit"] == {"method": "slimfit", "settings": {"rate": 0.8}}
    assert config.train == {"epochs": 1}


def test_a_number_of_seeds_counts_from_zero():
    assert make_comparison({"output": "o", "methods": METHODS, "seeds": 3}, {}).seeds == [0, 1, 2]
    assert make_comparison({"output": "o", "methods": METHODS, "seeds": [7, 3]}, {}).seeds == [7, 3]


def test_the_later_source_wins_and_methods_are_chosen_in_order():
    config = make_comparison(
        {"output": "o", "methods": METHODS, "epochs": 1, "train": {"batch_size": 8}}, {"epochs": 2}, ["far10", "full"]
    )
    assert config.train == {"batch_size": 8, "epochs": 2}
    assert list(config.methods) == ["far10", "full"]


def test_cells_are_interleaved_seed_by_seed():
    found = runs(seeds=2, tasks={"a": {"data": "x"}, "b": {"data": "y"}})
    assert [run.name for run in found.cells()] == [
        f"{task}.{method}.seed{seed}" for seed in (0, 1) for task in "ab" for method in ("full", "far10")
    ]
    assert {run.config["data"] for run in found.cells() if run.task == "b"} == {"y"}


def test_keys_of_the_method_go_over_the_task_s_and_those_over_train_s():
    found = runs(
        {"full": {"batch_size": 4}, "head": {}},
        tasks={"a": {"batch_size": 8, "epochs": 2}},
        train={"batch_size": 16, "epochs": 5, "learning_rate": 1e-3},
    )
    full, head = found.cells()
    assert (full.config["batch_size"], full.config["epochs"], full.config["learning_rate"]) == (4, 2, 1e-3)
    assert head.config["batch_size"] == 8


def test_only_some_tasks_may_be_measured():
    tasks = {"a": {"data": "x"}, "b": {"data": "y"}}
    found = runs(tasks=tasks, measured_tasks=["b"])
    assert {run.task for run in (*found.memory(), *found.time())} == {"b"}
    assert {run.task for run in found.cells()} == {"a", "b"}
    with pytest.raises(ConfigError, match="'c' is none of the tasks"):
        runs(tasks=tasks, measured_tasks=["c"])


def test_what_is_measured_follows_the_tasks_that_are_chosen():
    values = {"output": "o", "methods": METHODS, "tasks": {"a": "x", "b": "y"}, "measured_tasks": ["b"]}
    assert make_comparison(values, {}, tasks=["a"]).measured_tasks == []


@pytest.mark.parametrize("budget", ["2 bananas", -1, "0x", True])
def test_a_budget_that_is_no_amount_is_refused_before_any_run(budget):
    with pytest.raises(FrostlineError, match=r"budget"):
        runs(columns={"budget": ["1GiB", budget]})


def test_what_a_validator_says_stands_alone():
    with pytest.raises(ConfigError, match=r"^seeds=0 is refused: a number of seeds"):
        make_comparison({"output": "o", "methods": METHODS, "seeds": 0}, {})


def test_a_column_multiplies_the_rows():
    found = runs(columns={"batch_size": [8, 16]})
    assert [row.label for row in found.rows] == [
        "full batch_size=8",
        "far10 batch_size=8",
        "full batch_size=16",
        "far10 batch_size=16",
    ]
    assert found.reference == "full batch_size=8"
    assert [run.config["batch_size"] for run in found.cells()] == [8, 8, 16, 16]


def test_every_method_has_the_same_number_of_trials_and_none_touches_the_validation_data():
    found = runs(
        {"full": {}, "lora": {"learning_rates": [1, 2]}, "lora16": {"method": "lora", "learning_rate_of": "lora"}},
        learning_rates={"grid": [1e-4, 1e-3], "train": {"max_train": 10}},
    )
    trials = list(found.trials())
    assert [(run.method, run.config["learning_rate"]) for run in trials] == [
        ("full", 1e-4),
        ("lora", 1),
        ("full", 1e-3),
        ("lora", 2),
    ]
    assert all(run.config["validation"] == "split" and run.config["max_train"] == 10 for run in trials)
    assert {run.method: run.group for run in found.cells()} == {"full": "full", "lora": "lora", "lora16": "lora"}


def test_every_run_is_a_config_that_train_takes():
    found = runs(learning_rates={"grid": [1e-4]})
    for run in (*found.trials(), *found.cells(), *found.memory(), *found.time()):
        make_config({**run.config, "output": "x"})


def test_times_are_paired_with_the_reference_on_the_same_batches():
    found = runs(learning_rates={"grid": [1e-4]})
    (run,) = found.time()
    reference = run.reference
    assert (run.method, reference.method) == ("far10", "full")
    assert run.config["seed"] == reference.config["seed"]
    assert run.config["max_steps"] == reference.config["max_steps"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"methods": {"full": {}, "FULL ": {"method": "full"}}}, "share the record"),
        ({"methods": {"a b": {"method": "full"}, "a-b": {"method": "head"}}}, "share the record"),
        ({"seeds": [1, 1]}, "share the record"),
        ({"columns": {"batch_size": [8, 8]}}, "share the record"),
        ({"columns": {"batch_sise": [8]}}, "batch_size"),
        ({"columns": {"seed": [1, 2]}}, "'seed'"),
        ({"methods": {"fra": {}}}, "far"),
        ({"methods": {"far": {"settings": {"retension": 0.1}}}}, "retention"),
        ({"methods": {"far": {"settings": {"retention": 1.5}}}}, "1.5"),
        ({"methods": {"far": {"batch_sise": 3}}}, "batch_size"),
        ({"methods": {"far": 3}}, "far"),
        ({"methods": {}}, "--methods"),
        ({"methods": ["full"]}, "methods"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": True}, "seeds"),
        ({"seeds": "many"}, "many"),
        ({"jobs": 0}, "jobs"),
        ({"reference": "ful"}, "full"),
        ({"reserence": "full"}, "reference"),
        ({"tasks": {"a": {"dada": "x"}}}, "data"),
        ({"learning_rates": {"grid": []}}, "grid"),
        ({"learning_rates": {"grid": [1e-4]}, "methods": {"full": {"learning_rates": [1, 2]}}}, "same number"),
        ({"learning_rates": {"grid": [1e-4]}, "methods": {"full": {"learning_rate_of": "x"}}}, "learning_rate_of"),
        ({"learning_rates": {"grid": [-1.0]}}, "learning_rate"),
        ({"learning_rates": [1e-4], "columns": {"learning_rate": [0.1, 0.2]}}, "learning_rate"),
        ({"learning_rates": [1e-4], "methods": {"full": {"learning_rate": 0.1}}}, "learning_rates, a list of 1"),
        ({"learning_rates": {"grid": [1e-4], "train": {"seed": 3}}}, "'seed'"),
        ({"learning_rates": {"grid": [1e-4], "train": {"epochs": 3}}, "columns": {"epochs": [1, 2]}}, "'epochs'"),
        ({"columns": {"batch_size": []}}, "batch_size"),
        ({"methods": {"inference": {"method": "full"}}, "inference": False}, "inference"),
        ({"memory_steps": 1}, "at least 2"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(values, says):
    with pytest.raises(ConfigError, match=says):
        Runs(make_comparison({"output": "out", "methods": METHODS, **values}, {}))


def test_unknown_methods_and_tasks_on_the_command_line_are_refused_by_name():
    with pytest.raises(ConfigError, match="'slimft'; did you mean 'slimfit'"):
        make_comparison({"output": "o", "methods": METHODS}, {}, ["slimft"])
    with pytest.raises(ConfigError, match="cola"):
        make_comparison({"output": "o", "methods": METHODS, "tasks": {"cola": {}}}, {}, [], ["colla"])
    with pytest.raises(ConfigError, match="output=runs/compare"):
        make_comparison({"methods": METHODS}, {})


def test_the_reference_is_paired_row_by_row_with_the_same_columns():
    found = runs(
        {"full_small": {"method": "layers"}, "full": {}, "wide": {"method": "head", "batch_size": 4}},
        reference="full",
        columns={"max_length": [8, 16]},
    )
    assert found.reference == "full max_length=8"
    pairs = [(run.method, run.reference.method) for run in found.time()]
    assert pairs == [
        ("full_small max_length=8", "full max_length=8"),
        ("full_small max_length=16", "full max_length=16"),
    ]  # and none for the method with batches of its own


def test_a_column_that_changes_no_batch_is_paired_with_its_first_value():
    found = runs({"full": {}, "head": {}}, columns={"storage": ["exact", "compact"], "batch_size": [4, 8]})
    pairs = {run.method: run.reference.method for run in found.time()}
    assert pairs == {
        f"{method} storage={storage} batch_size={size}": f"full storage=exact batch_size={size}"
        for method in ("full", "head")
        for storage in ("exact", "compact")
        for size in (4, 8)
        if (method, storage) != ("full", "exact")
    }


def test_a_list_of_learning_rates_and_a_path_for_a_task_will_do():
    config = make_comparison({"output": "o", "methods": METHODS, "learning_rates": [1e-4], "tasks": {"a": "x.csv"}}, {})
    assert config.learning_rates.grid == [1e-4]
    assert config.tasks == {"a": {"data": "x.csv"}}


def test_a_label_becomes_a_file_name():
    assert slug("far 10/hidden <b>") == "far-10-hidden-b"
    assert slug("مرحبا") == "مرحبا"
    assert slug("🧊") == "-"
    assert len(slug("é" * 300).encode()) <= 80
    assert slug("a" * 300) != slug("a" * 301)


def test_learning_rates_that_yaml_reads_as_text_are_numbers():
    found = runs({"full": {}, "lora": {"learning_rates": ["1e-3"]}}, learning_rates={"grid": ["1e-5"]})
    assert {run.method: run.config["learning_rate"] for run in found.trials()} == {"full": 1e-5, "lora": 1e-3}
    assert next(iter(runs({"full": {"learning_rate": "1e-4"}}).cells())).config["learning_rate"] == 1e-4


def test_a_row_with_a_budget_and_no_method_is_the_planner_s_to_choose():
    methods = {"planned": {"budget": "1GiB"}, "lora": {"budget": "1GiB"}, "mine": {"method": "far", "budget": "1GiB"}}
    config = make_comparison({"output": "out", "methods": methods}, {})
    assert [entry.get("method") for entry in config.methods.values()] == [None, "lora", "far"]
    runs = list(Runs(config).cells())
    assert [run.config.get("method") for run in runs] == [None, "lora", "far"]
    assert "method" not in make_config({**runs[0].config, "output": "o"}).model_fields_set
