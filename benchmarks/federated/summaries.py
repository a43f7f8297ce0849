"""The tables of the README beside this file, from the committed results."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from federated.curves import read, score
from table import Table, results

from frostline.report import numbers

HERE = Path(__file__).parent
LAST = 3
"""Rounds at the end whose mean is the score of a federation."""


def crossover() -> Table:
    """Return what the last t blocks take to LoRA of rank 1 on all; of seconds to rank 8, beside which these were."""
    networks = results(HERE, "crossover")["networks"]
    rows = []
    for place in range(max(network["depth"] for network in networks) + 1):
        row = [f"t = {place}"]
        for network in networks:
            if place > network["depth"]:
                row += [numbers.DASH] * 3
                continue
            mine, lora = network["rows"][place], next(each for each in network["rows"] if each["rank"] == 1)
            row += [f"{mine[key] / lora[key]:.2f}" for key in ("flops", "measured_memory")]
            row.append(f"{mine['seconds_to_lora']:.2f}")
        rows.append(row)
    heads = [
        f"d={network['width']}, l={network['depth']}: {what}"
        for network in networks
        for what in ("FLOPs", "memory", "time")
    ]
    return Table(["of LoRA's", *heads], rows)


def devices() -> Table:
    """Return the server's peak after the last round, and how long a federation took, by number of devices."""
    rows = [
        [
            f"{found['devices']:,}",
            numbers.mebibytes(found["server_process"][-1]),
            numbers.mebibytes(found["server_process"][0]),
            f"{found['seconds']:.0f} s",
        ]
        for found in results(HERE, "devices")["federations"]
    ]
    return Table(["devices", "server's peak", "after the first round", "whole federation"], rows)


def trials() -> Table:
    """Return the score of each learning rate, in points."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in HERE.glob("results/trials/*.json")}
    rates = sorted({record["config"]["learning_rate"] for record in found.values()})
    rows: dict[str, dict[float, str]] = {}
    for name, record in sorted(found.items()):
        task, rest = name.split(".rate")[0].split(".", 1)  # a limit may have points, too
        row = rows.setdefault(", ".join([task, *rest.rsplit(".", 1)]), {})
        row[record["config"]["learning_rate"]] = numbers.points(_at_the_end(record))
    return Table(
        ["", *(f"{rate:g}" for rate in rates)],
        [[name, *(by_rate.get(rate, numbers.DASH) for rate in rates)] for name, by_rate in rows.items()],
    )


def accuracy() -> Table:
    """Return the score of each rule at the end, mean and deviation over seeds, in points; and its network."""
    found = read()
    rules = list(dict.fromkeys(rule for by_rule in found.values() for rule in by_rule))
    rows = [
        [f"{task}, {limit}", *(_cell(by_rule.get(rule, [])) for rule in rules)]
        for (task, limit), by_rule in found.items()
    ]
    return Table(["", *rules], rows)


def _cell(records: list[dict[str, Any]]) -> str:
    done = [record for record in records if "rounds" in record]
    if not records:
        return numbers.DASH
    if not done:
        return "refused"
    scores = [_at_the_end(record) for record in done]
    deviation = statistics.stdev(scores) if len(scores) > 1 else None
    seeds = {3: "", 1: ", 1 seed"}.get(len(scores), f", {len(scores)} seeds")
    return f"{numbers.spread(statistics.fmean(scores), deviation)} (l={done[0]['depth']}{seeds})"


def _at_the_end(record: dict[str, Any]) -> float:
    """Return the mean score of the last rounds, from one round to the next it moves by several points."""
    return statistics.fmean(score(one) for one in record["rounds"][-LAST:])


TABLES = {"crossover": crossover, "devices": devices, "trials": trials, "accuracy": accuracy}
