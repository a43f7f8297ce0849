"""What the papers claim and exact storage can check, beside what we measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from comparisons import comparison
from table import Table, results
from transformers import BertConfig, BertForSequenceClassification

from frostline.anatomy.batches import example_batch
from frostline.anatomy.sites import sites
from frostline.report import numbers
from frostline.report.study import Study
from frostline.report.summary import Entry

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Claim:
    """One figure of a paper.

    Attributes:
        says: the claim, with its section.
        measured: our figure as text, from the comparison and the step costs; a dash until there is one.
        why: the reason for the difference, or what the comparison is of.
    """

    says: str
    measured: Callable[[Study, dict[str, Any]], str]
    why: str


def _mean(study: Study, method: str) -> Entry | None:
    return next((entry for entry in study.means if entry.method == method), None)


def _drop(method: str) -> Callable[[Study, dict[str, Any]], str]:
    """Change of the mean score to full fine-tuning's, in percent of it, and its deviation over the seeds."""

    def measured(study: Study, costs: dict[str, Any]) -> str:
        full, found = _mean(study, "full"), _differences(study, method, "full")
        if full is None or not full.mean or not found:
            return numbers.DASH
        return f"{_spread([100 * value / full.mean for value in found])} %"

    return measured


def _against(method: str, other: str) -> Callable[[Study, dict[str, Any]], str]:
    """Difference of two methods' mean scores, in points, and its deviation over the seeds."""

    def measured(study: Study, costs: dict[str, Any]) -> str:
        found = _differences(study, method, other)
        return f"{_spread([100 * value for value in found])} points" if found else numbers.DASH

    return measured


def _differences(study: Study, method: str, other: str) -> list[float]:
    """Return the difference of two methods' mean scores, seed by seed."""
    mine, its = _mean(study, method), _mean(study, other)
    return [] if mine is None or its is None else [mine.scores[seed] - its.scores[seed] for seed in mine.scores]


def _spread(values: list[float]) -> str:
    text = f"{statistics.fmean(values):+.1f} ± {statistics.stdev(values):.1f}"
    return text.replace("-", numbers.MINUS)


def _time(method: str) -> Callable[[Study, dict[str, Any]], str]:
    """Step time over full fine-tuning's on batches of 16 and of 128 tokens."""

    def measured(study: Study, costs: dict[str, Any]) -> str:
        found = [shape[method]["ratio"] for shape in costs["results"].values() if method in shape]
        return (
            ", ".join(f"{round((ratio - 1) * 100):+d} %".replace("-", numbers.MINUS) for ratio in found) or numbers.DASH
        )

    return measured


def _peak(method: str) -> Callable[[Study, dict[str, Any]], str]:
    """Process peak of full fine-tuning over the method's, at 128 tokens."""

    def measured(study: Study, costs: dict[str, Any]) -> str:
        shape = costs["results"]["32 x 128"]
        return f"{shape['full']['peak_bytes'] / shape[method]['peak_bytes']:.2f}×"

    return measured


def _traced(study: Study, costs: dict[str, Any]) -> str:
    """Return what a step of full fine-tuning keeps for backward, all of it and what is kept whatever trains."""
    with torch.device("meta"):
        model = BertForSequenceClassification(BertConfig())
    found = sites(model, example_batch(model, 128, 384, labels=True))
    return f"{found.total / 1e9:.1f} GB, {found.static / 1e9:.1f} static"


CLAIMS = (
    Claim(
        "FAR_10: scores 1.13 % below full on average, DistilBERT on six tasks (arXiv 2205.01541)",
        _drop("far10_output"),
        "a smaller model, fewer examples, other tasks, the paper's node definition; ±: the deviation over our seeds is "
        "larger than what is claimed",
    ),
    Claim("FAR_40: 0.74 % below full", _drop("far40_output"), "as above"),
    Claim(
        "learned nodes beat random ones: 52.8 to 52.0 on CoLA, 81.9 to 81.8 on MNLI",
        _against("far10_hidden", "far10_random"),
        "mean over our tasks, hidden units; our deviation is larger than the claim, and 1 % of such runs is a step "
        "or two to choose by",
    ),
    Claim(
        "FAR_10 beats BitFit: 52.8 to 51.7 on CoLA",
        _against("far10_output", "bitfit"),
        "mean over our tasks; on CoLA alone it does, by 9 points",
    ),
    Claim(
        "FAR_10: 29 % less time, 47 % less of it in memory operations, on a Jetson",
        _time("far10_output"),
        "16 and 128 tokens; matrix products are 54 % of a step here, weight gradients of 90 % of the FFNs at most a "
        "fifth of those, and AdamW 9 %: 13 % is all there is to save; time in memory was not measured",
    ),
    Claim("FAR_40: 17 % less time", _time("far40_output"), "as above"),
    Claim(
        "retention .90 is slower than full fine-tuning (+3 %)",
        _time("far90_output"),
        "the price of splitting: here both parts share one storage, so the product is not split",
    ),
    Claim(
        "SlimFit, 90 % frozen: scores 0.2 % below full on average, at most 0.4 % (arXiv 2305.18513)",
        _drop("slimfit90"),
        "its models are larger, and train until they have converged",
    ),
    Claim(
        "the schedule beats random freezing",
        _against("slimfit90", "random90"),
        "mean over our tasks: confirmed, most of all where there is much to learn (STS-B, TREC)",
    ),
    Claim(
        "SlimFit: 2.2 times less memory on average, up to 3.1 times",
        _peak("slimfit90"),
        "with exact storage: the static activations, which freezing cannot remove, are the larger part; the published "
        "figure is with compression",
    ),
    Claim(
        "BERT-base, 128 texts of 384 tokens: 65.7 GB of activations, 52.9 GB of them static",
        _traced,
        "one step traced without memory, as `frostline sites` does it",
    ),
)


def claims() -> Table:
    """Claimed, measured and reason of every claim."""
    found, costs = comparison(HERE), results(HERE.parent / "step_cost", "step_cost")
    rows = [[claim.says, claim.measured(found, costs), claim.why] for claim in CLAIMS]
    return Table(["claimed", "measured", "of what, and why it differs"], rows, words=(0, 2))


TABLES = {"claims": claims}
