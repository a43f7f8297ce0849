"""The tables of the README beside this file, from the committed results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frostline.report import numbers

HERE = Path(__file__).parent


def _results(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return content


def crossover() -> tuple[list[str], list[list[str]]]:
    """Return what the last t blocks take to LoRA of rank 1 on all; of seconds to rank 8, beside which these were."""
    networks = _results("crossover")["networks"]
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
    return ["of LoRA's", *heads], rows


def devices() -> tuple[list[str], list[list[str]]]:
    """Return the server's peak after the last round, and how long a federation took, by number of devices."""
    rows = [
        [
            f"{found['devices']:,}",
            numbers.mebibytes(found["server_process"][-1]),
            numbers.mebibytes(found["server_process"][0]),
            f"{found['seconds']:.0f} s",
        ]
        for found in _results("devices")["federations"]
    ]
    return ["devices", "server's peak", "after the first round", "whole federation"], rows


TABLES: dict[str, Callable[[], tuple[list[str], list[list[str]]]]] = {"crossover": crossover, "devices": devices}
