"""Draws what the federations of accuracy.py came to, against rounds, bytes sent up, and operations.

python benchmarks/federated/curves.py     # results/accuracy_*.svg
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

RESULTS = Path(__file__).parent / "results"
AGAINST = {"rounds": ("round", 1.0), "upload": ("sent up so far, MB", 1e6), "flops": ("operations so far, TFLOP", 1e12)}
SCORES = ("accuracy", "token_accuracy")
Found = dict[tuple[str, str], dict[str, list[dict[str, Any]]]]


def read(results: Path = RESULTS) -> Found:
    """Return the records of each task and limit, by rule, seed by seed."""
    found: Found = defaultdict(lambda: defaultdict(list))
    for path in sorted((results / "accuracy").glob("*.json")):
        task, rest = path.stem.split(".", 1)  # a limit may have points, too
        limit, rule, _ = rest.rsplit(".", 2)
        found[task, limit][rule].append(json.loads(path.read_text(encoding="utf-8")))
    return found


def score(metrics: dict[str, Any]) -> float:
    """Return the share that was right, of the metrics of a round."""
    return float(next(metrics[name] for name in SCORES if name in metrics))


def draw(results: Path = RESULTS) -> list[Path]:
    """Draw a picture against each of `AGAINST`: a row a task, a column a limit, a line a rule; return their paths."""
    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": "frostline", "font.size": 8}
    found = read(results)
    tasks, limits = (list(dict.fromkeys(key[place] for key in found)) for place in (0, 1))
    rules = list(dict.fromkeys(rule for by_rule in found.values() for rule in by_rule))
    colours = {rule: f"C{place}" for place, rule in enumerate(rules)}
    paths = []
    for against, (label, scale) in AGAINST.items():
        size = (2.6 * len(limits), 2.2 * len(tasks) + 0.4)
        figure, axes = pyplot.subplots(len(tasks), len(limits), figsize=size, squeeze=False, sharey="row")
        for (task, limit), by_rule in found.items():
            axis = axes[tasks.index(task)][limits.index(limit)]
            for rule, records in by_rule.items():
                done = [record["rounds"] for record in records if "rounds" in record]
                if done:
                    scores = np.mean([[100 * score(one) for one in rounds] for rounds in done], axis=0)
                    places = np.mean([_places(rounds, against) for rounds in done], axis=0) / scale
                    axis.plot(places, scores, color=colours[rule], linewidth=1, label=rule)
            refused = [rule for rule, records in by_rule.items() if not any("rounds" in each for each in records)]
            if refused:
                axis.text(0.03, 0.97, "refused: " + ", ".join(refused), va="top", transform=axis.transAxes, fontsize=6)
            if len(refused) == len(by_rule):
                axis.set(xticks=[])
            elif against == "rounds":
                axis.xaxis.get_major_locator().set_params(integer=True)
            axis.set(title=f"{task}, {limit}", xlabel=label, ylabel="points" if limit == limits[0] else None)
        handles = [pyplot.Line2D([], [], color=colour, label=rule) for rule, colour in colours.items()]
        figure.legend(handles=handles, loc="lower center", ncols=len(rules), frameon=False)
        figure.tight_layout(rect=(0, 0.4 / size[1], 1, 1))
        paths.append(results / f"accuracy_{against}.svg")
        figure.savefig(paths[-1], metadata={"Date": None})
        pyplot.close(figure)
    return paths


def _places(rounds: list[dict[str, Any]], against: str) -> list[float]:
    if against == "rounds":
        return [float(number) for number, _ in enumerate(rounds, 1)]
    return [float(one[against]) for one in rounds]


if __name__ == "__main__":
    draw()
