"""The public data sets, as they come, are read whole. They stand beside the repository; see their own README."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from frostline.tasks.text import load, read_examples

DATA = Path(__file__).parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"public data sets are not at {DATA}")


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Path:
    """Return the folder of the data set a test asks for; skip where this one is absent."""
    path = DATA / str(request.param)
    if not path.is_dir():
        pytest.skip(f"no {path}")
    return path


@pytest.mark.parametrize(
    ("folder", "rows", "label_names", "metric", "name", "pairs"),
    [
        ("glue/CoLA", (8551, 1043), ("unacceptable", "acceptable"), "matthews", "CoLA", False),
        ("glue/SST-2", (67349, 872), ("0", "1"), "accuracy", "SST-2", False),
        ("glue/RTE", (2490, 277), ("entailment", "not_entailment"), "accuracy", "RTE", True),
        ("text/trec", (5452, 500), tuple("012345"), "accuracy", "trec", False),
    ],
    indirect=["folder"],
)
def test_data_set_is_read_whole(
    folder: Path, rows: tuple[int, int], label_names: tuple[str, ...], metric: str, name: str, pairs: bool
) -> None:
    data = load(str(folder))
    assert (len(data.train), len(data.validation)) == rows
    assert (data.label_names, data.metric, data.name) == (label_names, metric, name)
    columns = ["text", "text_pair", "label"] if pairs else ["text", "label"]
    assert data.train.column_names == data.validation.column_names == columns
    assert set(data.train["label"]) == set(data.validation["label"]) == set(range(len(label_names)))


@pytest.mark.parametrize("folder", ["glue/CoLA"], indirect=True)
def test_cola_keeps_sentence_label_and_digest(folder: Path) -> None:
    data = load(str(folder))
    assert data.train[0] == {
        "text": "Our friends won't buy this analysis, let alone the next one we propose.",
        "label": data.label_names.index("acceptable"),
    }
    files = (folder / "train.tsv").read_bytes() + (folder / "dev.tsv").read_bytes()
    assert data.sha256 == hashlib.sha256(files).hexdigest()


@pytest.mark.parametrize("folder", ["glue/SST-2"], indirect=True)
def test_sst_2_is_read_within_seconds(folder: Path) -> None:
    load(str(folder), max_train=10)  # imports what is needed
    start = time.perf_counter()
    load(str(folder))
    # Ten times what one slow core takes.
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("folder", ["glue/RTE"], indirect=True)
def test_evaluation_split_is_read_alone(folder: Path) -> None:
    examples, sha256 = read_examples(str(folder), label_names=("entailment", "not_entailment"))
    assert len(examples) == 277
    assert sha256 == hashlib.sha256((folder / "dev.tsv").read_bytes()).hexdigest()


@pytest.mark.parametrize("folder", ["glue/STS-B"], indirect=True)
def test_sts_b_is_regression(folder: Path) -> None:
    data = load(str(folder))
    assert (len(data.train), len(data.validation), data.name) == (5749, 1500, "STS-B")
    assert (data.kind, data.label_names, data.metric) == ("regression", (), "pearson")
    assert data.train[1] == {
        "text": "A man is playing a large flute.",
        "text_pair": "A man is playing a flute.",
        "label": 3.8,
    }
    for split in (data.train, data.validation):
        assert (min(split["label"]), max(split["label"])) == (0.0, 5.0)
    part = load(str(folder), validation="split", max_train=100)
    assert (len(part.train), len(part.validation)) == (100, 575)
    assert part.sha256 == hashlib.sha256((folder / "train.tsv").read_bytes()).hexdigest()
