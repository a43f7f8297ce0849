"""GLUE's files as they come, recognised by their header.

Wang et al., "GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language Understanding", ICLR 2019.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from frostline.errors import DataError
from frostline.tasks.kinds import kind_of
from frostline.tasks.sources.rows import Rows, label_name
from frostline.tasks.sources.separated import Records, parse

_SAMPLE_LINES = 20


@dataclass(frozen=True)
class Layout:
    """How one of GLUE's tasks writes its files."""

    name: str
    header: tuple[str, ...]
    """All columns in order; for MNLI, whose files differ, those that must be among them."""
    text: str
    label: str
    values: tuple[str, ...]
    """Labels as the file writes them; none where they are scores."""
    text_pair: str | None = None
    classes: tuple[str, ...] | None = None
    """Names for `values`, where the file writes numbers and the header leaves no doubt what they mean."""
    metric: str | None = None
    has_header: bool = True
    has_short_rows: bool = False
    exact: bool = True


_ENTAILMENT = ("entailment", "not_entailment")
_MRPC_HEADER = ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String")
_QQP_HEADER = ("id", "qid1", "qid2", "question1", "question2", "is_duplicate")
_PAIR_HEADER = ("index", "sentence1", "sentence2", "label")
_STS_B_SOURCE = ("genre", "filename", "year", "old_index", "source1", "source2")
_STS_B_HEADER = ("index", *_STS_B_SOURCE, "sentence1", "sentence2", "score")

COLA = Layout(
    "CoLA",
    ("source", "label", "star", "sentence"),
    "sentence",
    "label",
    ("0", "1"),
    classes=("unacceptable", "acceptable"),
    metric="matthews",
    has_header=False,
)
LAYOUTS = (
    # The headers of SST-2 and WNLI say too little to give 0 and 1 a meaning: the file may be another task's.
    Layout("SST-2", ("sentence", "label"), "sentence", "label", ("0", "1")),
    Layout("WNLI", _PAIR_HEADER, "sentence1", "label", ("0", "1"), "sentence2"),
    Layout("RTE", _PAIR_HEADER, "sentence1", "label", _ENTAILMENT, "sentence2"),
    Layout("QNLI", ("index", "question", "sentence", "label"), "question", "label", _ENTAILMENT, "sentence"),
    Layout(
        "MRPC",
        _MRPC_HEADER,
        "#1 String",
        "Quality",
        ("0", "1"),
        "#2 String",
        classes=("not_equivalent", "equivalent"),
        metric="f1",
    ),
    Layout(
        "QQP",
        _QQP_HEADER,
        "question1",
        "is_duplicate",
        ("0", "1"),
        "question2",
        classes=("not_duplicate", "duplicate"),
        metric="f1",
        has_short_rows=True,
    ),
    Layout("STS-B", _STS_B_HEADER, "sentence1", "score", (), "sentence2", metric="pearson"),
    Layout(
        "MNLI",
        ("sentence1", "sentence2", "gold_label"),
        "sentence1",
        "gold_label",
        ("contradiction", "entailment", "neutral"),
        "sentence2",
        exact=False,
    ),
)


def read(path: Path, content: str) -> Rows | None:
    """Read a file if it is one of GLUE's.

    Args:
        path: the file, for messages.
        content: its text.

    Returns:
        Its rows, numbered by line; None where the file has no layout of GLUE's.

    Raises:
        DataError: a line has too few or too many fields.
    """
    # Recognition needs no more than the first lines, and most files are recognised or not by their first.
    sample = parse(path, "\n".join(content.split("\n", _SAMPLE_LINES)[:_SAMPLE_LINES]), "\t", quoted=False)
    if not sample:
        return None
    header = sample[0][1]
    layout = _recognise(sample)
    if layout is None:
        return None
    records = parse(path, content, "\t", quoted=False)
    columns = header if layout.has_header else list(layout.header)
    return _rows(path, layout, columns, records[1:] if layout.has_header else records)


def _recognise(sample: Records) -> Layout | None:
    header = sample[0][1]
    if all(len(fields) == 4 and fields[1] in COLA.values for _, fields in sample):
        return COLA
    for layout in LAYOUTS:
        fits = tuple(header) == layout.header if layout.exact else set(layout.header) <= set(header)
        if fits and _starts_with(sample, header.index(layout.label), layout.values):
            return layout
    return None


def _starts_with(sample: Records, column: int, values: tuple[str, ...]) -> bool:
    # The first label is enough to tell RTE from WNLI; a later one that fits neither is an error, not another layout.
    first = next((fields[column] for _, fields in sample[1:] if len(fields) > column), None)
    return first in values or not values


def _rows(path: Path, layout: Layout, columns: list[str], records: Records) -> Rows:
    if layout.has_short_rows:
        whole = [(number, fields) for number, fields in records if len(fields) == len(columns)]
        if len(whole) < len(records):
            warnings.warn(
                f"{path}: {len(records) - len(whole)} of {len(records)} rows were skipped because they do not have "
                f"{len(columns)} fields; {layout.name}'s files are known to hold some",
                stacklevel=2,
            )
        records = whole
    for number, fields in records:
        if len(fields) != len(columns):
            raise DataError(
                f"{path}, line {number}: {len(fields)} fields where {layout.name} has {len(columns)}; mend the line"
            )

    def column(name: str) -> list[str]:
        position = columns.index(name)
        return [fields[position] for _, fields in records]

    names = dict(zip(layout.values, layout.classes or layout.values, strict=True))
    labels = [label_name(cell) for cell in column(layout.label)]
    return Rows(
        origin=str(path),
        name=layout.name,
        texts=column(layout.text),
        pairs=column(layout.text_pair) if layout.text_pair else None,
        labels=[None if label is None else names.get(label, label) for label in labels],
        numbers=[number for number, _ in records],
        unit="line",
        classes=layout.classes,
        kind=kind_of(layout.values),
        metric=layout.metric,
        path=path,
    )
