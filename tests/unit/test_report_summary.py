"""What a report makes of the numbers: statistics over seeds, ratios, the mean over tasks, the front, the headline."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.config import TrainConfig
from frostline.report import settings, words
from frostline.report.document import parts
from frostline.report.pareto import front
from frostline.report.reading import read
from frostline.report.study import Study, study
from frostline.report.summary import Entry
from frostline.report.tables import results as results_table
from report_folders import MIB, change, comparison, results, run_folder

METHODS = ("full", "layers2", "slimfit90")
points = st.dictionaries(
    st.text(min_size=1, max_size=3), st.tuples(st.integers(0, 5).map(float), st.integers(0, 5).map(float)), max_size=12
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return comparison(tmp_path / "c", tasks=("cola", "rte"), methods=METHODS, seeds=(0, 1, 2), steps=5)


def entry(found: Study, task: str, method: str) -> Entry:
    return next(e for e in found.entries[task] if e.method == method)


def headline(folder: Path) -> str:
    return "".join(parts(words.headline(study(read(folder)))))


def score(folder: Path, method: str, *scores: float, task: str = "cola", peak: float = 1000, **extra: object) -> None:
    for seed, value in enumerate(scores):
        made = results(task, value, peak, method, 5) | extra
        change(folder / f"{task}.{method}.seed{seed}.json", train_info=made)


@given(points)
def test_front_is_what_nobody_dominates(found: dict[str, tuple[float, float]]) -> None:
    def dominated(name: str) -> bool:
        score, memory = found[name]
        return any(s >= score and m <= memory and (s, m) != (score, memory) for s, m in found.values())

    assert front(found) == {name for name in found if not dominated(name)}


@given(points)
def test_every_point_is_in_the_front_or_beaten_by_a_member(found: dict[str, tuple[float, float]]) -> None:
    members = front(found)
    assert bool(members) == bool(found)
    for score, memory in found.values():
        assert any(found[name][0] >= score and found[name][1] <= memory for name in members)


@given(points, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_front_does_not_depend_on_units(found: dict[str, tuple[float, float]], one: float, other: float) -> None:
    assert front({name: (s * one, m * other) for name, (s, m) in found.items()}) == front(found)


def test_statistics_over_seeds(folder: Path) -> None:
    score(folder, "full", 0.5, 0.6, 0.7, peak=2000)
    score(folder, "slimfit90", 0.4, 0.6, 0.65, peak=1000)
    found = entry(study(read(folder)), "cola", "slimfit90")
    assert found.mean == pytest.approx(statistics.mean([0.4, 0.6, 0.65]))
    assert found.deviation == pytest.approx(statistics.stdev([0.4, 0.6, 0.65]))
    assert found.difference == pytest.approx(-0.05)
    assert (found.peak, found.peak_ratio) == (1000 * MIB, 0.5)
    assert found.inference_ratio == pytest.approx(1000 / (0.31 * 1130), rel=1e-3)
    assert found.time_ratio == 0.73
    assert found.quartiles == pytest.approx((0.73 * 0.97, 0.73 * 1.04))
    assert found.learning_rates == (1e-4,)
    assert found.complete


def test_peak_is_the_median_over_seeds(folder: Path) -> None:
    for seed, peak in enumerate((900, 5000, 1000)):
        change(folder / f"cola.full.seed{seed}.json", train_info=results("cola", 0.5, peak, "full", 5))
    assert entry(study(read(folder)), "cola", "full").peak == 1000 * MIB


def test_memory_of_a_gpu_counts_where_all_cells_have_it(folder: Path) -> None:
    def on_gpu(path: Path) -> None:
        made = json.loads(path.read_text(encoding="utf-8"))["train_info"]
        change(path, train_info=made | {"memory": made["memory"] | {"cuda_reserved": 7 * MIB}})

    paths = sorted(folder.glob("*.seed*.json"))
    for path in paths[1:]:
        on_gpu(path)
    report = read(folder)
    assert (report.peak_name, entry(study(report), "cola", "full").peak == 7 * MIB) == ("process peak", False)
    on_gpu(paths[0])
    report = read(folder)
    assert (report.peak_name, entry(study(report), "cola", "full").peak) == ("GPU peak", 7 * MIB)


def test_missing_seed_is_neither_in_the_front_nor_in_the_mean(folder: Path) -> None:
    change(folder / "cola.slimfit90.seed1.json", status="failed", train_info={}, meta_info={})
    found = study(read(folder))
    one = entry(found, "cola", "slimfit90")
    assert (one.complete, one.on_front, len(one.scores)) == (False, False, 2)
    assert [e.method for e in found.means] == ["full", "layers2"]
    assert "Not in the mean over tasks, for want of a seed on some task: slimfit90." in [
        "".join(parts(paragraph.text)) for paragraph in words.lead(found)
    ]


def test_difference_is_over_the_seeds_that_both_have(folder: Path) -> None:
    score(folder, "full", 0.1, 0.6, 0.7)
    score(folder, "slimfit90", 0.4, 0.6, 0.7)
    change(folder / "cola.full.seed0.json", status="failed", train_info={})
    assert entry(study(read(folder)), "cola", "slimfit90").difference == pytest.approx(0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "high"])
def test_scores_and_peaks_that_are_no_numbers_are_left_out(folder: Path, value: object) -> None:
    made = results("cola", 0.5, 1000, "full", 5)
    made |= {"metrics": {"matthews": value}, "memory": {"process_peak": value}, "train_seconds": value}
    for seed in range(3):
        change(folder / f"cola.full.seed{seed}.json", train_info=made)
    found = entry(study(read(folder)), "cola", "full")
    assert (found.mean, found.deviation, found.peak, found.train_seconds, found.on_front) == (None,) * 4 + (False,)
    assert entry(study(read(folder)), "cola", "slimfit90").difference is None


def test_mean_over_tasks(folder: Path) -> None:
    for task, values in (("cola", (0.5, 0.6, 0.7)), ("rte", (0.7, 0.6, 0.8))):
        score(folder, "slimfit90", *values, task=task, peak={"cola": 1000, "rte": 2000}[task])
    found = next(e for e in study(read(folder)).means if e.method == "slimfit90")
    assert dict(found.scores) == pytest.approx({0: 0.6, 1: 0.6, 2: 0.75})
    assert found.mean == pytest.approx(0.65)
    assert found.peak == 1500 * MIB
    assert found.time_ratio == pytest.approx(0.73)


def test_mean_of_times_is_over_the_tasks_that_were_measured(folder: Path) -> None:
    (folder / "rte.inference.memory.json").unlink()
    for method in METHODS:
        (folder / f"rte.{method}.time.json").unlink(missing_ok=True)
    found = {e.method: e for e in study(read(folder)).means}
    assert (found["full"].time_ratio, found["slimfit90"].time_ratio) == (1.0, pytest.approx(0.73))
    alone = entry(study(read(folder)), "cola", "slimfit90").inference_ratio
    assert alone is not None
    assert found["slimfit90"].inference_ratio == pytest.approx(alone)


def test_error_as_a_metric_is_better_when_lower(folder: Path) -> None:
    for method, values, peak in (("full", (1.0, 1.1, 1.2), 2000), ("layers2", (2.0, 2.1, 2.2), 2500)):
        for seed, value in enumerate(values):
            made = results("cola", value, peak, method, 5) | {"metric": "mse", "metrics": {"mse": value}}
            change(folder / f"cola.{method}.seed{seed}.json", train_info=made)
    (folder / "cola.slimfit90.seed0.json").unlink()
    found = study(read(folder))
    assert entry(found, "cola", "full").on_front
    assert not entry(found, "cola", "layers2").on_front
    assert found.means == ()


def test_headline_names_the_lightest_close_method(folder: Path) -> None:
    for task in ("cola", "rte"):
        score(folder, "full", 0.50, 0.60, 0.70, task=task, peak=2000)
        score(folder, "slimfit90", 0.497, 0.597, 0.697, task=task, peak=1620)
        score(folder, "layers2", 0.30, 0.40, 0.50, task=task, peak=1000)
    expected = "Of 3 methods, 3 are on the front; slimfit90 comes within 0.3 points of full at 0.81× its memory."
    assert headline(folder) == expected


def test_headline_where_nothing_is_close(folder: Path) -> None:
    for task in ("cola", "rte"):
        score(folder, "full", 0.50, 0.60, 0.70, task=task, peak=2000)
        score(folder, "slimfit90", 0.40, 0.50, 0.60, task=task, peak=1000)
        score(folder, "layers2", 0.40, 0.50, 0.60, task=task, peak=3000)
    assert headline(folder).endswith(
        "; slimfit90 comes closest with less memory, 10.0 points worse than full at 0.50× its memory."
    )


def test_headline_without_reference_or_lighter_methods(folder: Path) -> None:
    for task in ("cola", "rte"):
        score(folder, "full", 0.9, 0.9, 0.9, task=task, peak=100)
    assert headline(folder) == "Of 3 methods, 1 is on the front; none of them needs less memory than full."
    change(folder / "comparison.json", reference=None)
    assert headline(folder) == "Of 3 methods, 1 is on the front; full scores best, 90.0 points at 100 MiB."


def test_headline_of_a_comparison_that_has_just_begun(folder: Path) -> None:
    for path in folder.glob("*.seed*.json"):
        if path.name != "cola.full.seed0.json":
            path.unlink()
    assert headline(folder) == "No method has a score for all its seeds yet: there is nothing to compare."
    (folder / "cola.full.seed0.json").unlink()
    assert headline(folder) == "No cell has finished yet: there is nothing to compare."
    assert words.progress(study(read(folder))) == "0 of 18 cells finished"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "slimfit reached 51.0 points (matthews) on cola, with a process peak of 915 MiB."),
        ({"status": "running"}, "slimfit on cola. This run is still going, or was killed, after 60 steps."),
        (
            {"status": "trainingdiverged", "message": "the loss is nan."},
            "slimfit on cola. This run diverged, after 60 steps. the loss is nan.",
        ),
        (
            {"metric": "mse", "metrics": {"mse": 1.25}},
            "slimfit reached 1.250 (mse) on cola, with a process peak of 915 MiB.",
        ),
    ],
)
def test_headline_of_a_run(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    assert headline(run_folder(tmp_path / "r", **changes)) == said


def test_a_ratio_to_another_reference_is_told_apart(folder: Path) -> None:
    path = folder / "cola.slimfit90.time.json"
    made = json.loads(path.read_text(encoding="utf-8"))["train_info"] | {"reference": "layers2"}
    change(path, train_info=made)
    found = study(read(folder))
    one = entry(found, "cola", "slimfit90")
    assert (one.time_ratio, one.other_time) == (None, ("layers2", 0.73))
    assert next(e for e in found.means if e.method == "slimfit90").time_ratio is None
    table = results_table(found, "cola", found.entries["cola"], "t")
    place = [column.title for column in table.columns].index("step time / reference")
    (cell,) = [row[place].text for row in table.rows if row[1].sort == "slimfit90"]
    assert "".join(parts(cell)) == "0.73× that of layers2"


def test_the_headline_speaks_of_those_with_all_their_seeds(folder: Path) -> None:
    for task in ("cola", "rte"):
        for method in ("full", "slimfit90"):
            change(folder / f"{task}.{method}.seed1.json", status="failed", train_info={}, meta_info={})
    assert headline(folder).startswith("Only layers2 has a score for all its seeds: ")


def test_the_headline_claims_nothing_of_unknown_memory(folder: Path) -> None:
    for path in folder.glob("*.full.seed*.json"):
        made = json.loads(path.read_text(encoding="utf-8"))["train_info"]
        change(path, train_info=made | {"memory": {}})
    assert headline(folder).endswith("not all have figures of memory beside full's.")


def test_scores_without_a_seed_or_beyond_all_numbers_make_no_mean(folder: Path) -> None:
    (folder / "comparison.json").unlink()
    for path in folder.glob("*.seed*.json"):
        change(path, seed=None)
    assert study(read(folder)).means == ()
    score(folder, "full", 1e308, 1e308, 1e308)
    assert entry(study(read(folder)), "cola", "full").mean is None


def test_settings_are_those_of_the_cells_and_defaults_are_none_of_them(folder: Path) -> None:
    for path in folder.glob("*.slimfit90.lr*.json"):
        trial = json.loads(path.read_text(encoding="utf-8"))
        change(path, config=trial["config"] | {"epochs": 2, "validation_share": 0.25})
    for path in folder.glob("*.layers2.seed*.json"):
        cell = json.loads(path.read_text(encoding="utf-8"))
        change(path, config=cell["config"] | {"max_grad_norm": TrainConfig.model_fields["max_grad_norm"].default})
    told = settings.in_words(read(folder))
    words = "".join("".join(parts(line)) for _, lines in told.entries for line in lines)
    assert "epochs" not in words
    assert "validation_share" not in words
    assert "max_grad_norm" not in words
    example = settings.example(read(folder))
    assert example is not None
    assert example.method == "full"


def test_the_headline_claims_no_difference_within_its_deviation(folder: Path) -> None:
    for path in folder.glob("rte.*"):
        path.unlink()
    change(folder / "comparison.json", tasks=["cola"])
    score(folder, "full", 0.50, 0.60, 0.70, peak=2000)
    score(folder, "layers2", 0.53, 0.59, 0.72, peak=1000)
    score(folder, "slimfit90", 0.1, 0.1, 0.1, peak=3000)
    assert headline(folder).endswith("layers2 scores like full, +1.3 ± 2.1 points between seeds, at 0.50× its memory.")
