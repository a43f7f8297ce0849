"""One group of a fleet: devices alike, with their limits; and the boards that are known by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from frostline.config import told
from frostline.errors import ConfigError, nearest
from frostline.federated.limits import BYTES, FLOPS, Limit, parse

MOST_DEVICES = 1_000_000


class Group(BaseModel):
    """Devices alike; a limit that is left out does not bind."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, arbitrary_types_allowed=True)

    name: str = Field(min_length=1, description="of the group; its devices are name-0, name-1, ...")
    count: int = Field(ge=1, le=MOST_DEVICES, strict=True, description="devices")
    board: str | None = Field(None, description="gives memory and speed: raspberry-pi-5, jetson-nano, ...")
    memory: Limit | None = Field(None, description="4GiB, or a share of full fine-tuning's peak: 25%")
    reserved: int = Field(0, description="of memory, for what is no tensor: system, interpreter, libraries: 600MiB")
    flops: Limit | None = Field(None, description="of a round: 2TFLOP, 3e12, or a share of full fine-tuning's: 66%")
    seconds: float | None = Field(None, gt=0, strict=True, description="of a round, in place of flops; needs a speed")
    flops_per_second: Limit | None = Field(None, description="the speed: 40GFLOP; the board's peak if left out")
    upload: Limit | None = Field(None, description="bytes a round: 5MiB, or a share of all weights: 25%")
    download: Limit | None = Field(None, description="bytes a round: 20MiB, or a share of all weights")
    availability: float = Field(1.0, gt=0, le=1, strict=True, description="chance of being there when a round begins")
    data: tuple[float, float] = Field((1.0, 1.0), description="examples, to the largest's: 0.5, or a range [0.5, 1]")

    @field_validator("memory", "upload", "download", mode="before")
    @classmethod
    def _bytes(cls, value: object) -> Limit | None:
        return value if value is None or isinstance(value, Limit) else parse(value, BYTES, "512MiB")

    @field_validator("flops", "flops_per_second", mode="before")
    @classmethod
    def _flops(cls, value: object) -> Limit | None:
        return value if value is None or isinstance(value, Limit) else parse(value, FLOPS, "2TFLOP")

    @field_validator("seconds", "availability", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        """Take a number that YAML reads as text: 1e3, without a point."""
        try:
            return float(value) if isinstance(value, str) else value
        except ValueError:
            return value

    @field_validator("reserved", mode="before")
    @classmethod
    def _reserved(cls, value: object) -> int:
        found = Limit(amount=0) if value == 0 and not isinstance(value, bool) else parse(value, BYTES, "600MiB")
        if found.amount is None:
            raise ValueError(f"{value!r} is a share; write bytes, for instance 600MiB")
        return int(found.amount)

    @field_validator("data", mode="before")
    @classmethod
    def _data(cls, value: object) -> tuple[float, float]:
        ends = value if isinstance(value, list | tuple) else [value, value]
        numbers = [end for end in ends if isinstance(end, int | float) and not isinstance(end, bool)]
        if len(ends) != 2 or len(numbers) != 2 or not 0 < numbers[0] <= numbers[1] <= 1:
            raise ValueError(f"{value!r} is no share of data; write for instance 0.5, or [0.5, 1], above 0 and up to 1")
        return float(numbers[0]), float(numbers[1])


def make_group(entry: object, place: int) -> Group:
    """Return the group of plain values, `place` being where it stands; ConfigError names it, the value, the way out."""
    if not isinstance(entry, Mapping):
        raise ConfigError(f"fleet: group {place} is {entry!r}; write keys: name, count, memory, ...")
    where = f"fleet: group {entry.get('name', place)!r}"
    for key in entry:
        if key not in Group.model_fields:
            raise ConfigError(f"{where}: unknown key {key!r}{nearest(str(key), Group.model_fields)}")
    values = dict(entry)
    if (board := values.get("board")) is not None:
        if not isinstance(board, str) or board not in boards():
            raise ConfigError(f"{where}: board {board!r} is unknown{nearest(str(board), boards())}")
        values = {key: boards()[board][key] for key in ("memory", "flops_per_second")} | values
    try:
        group = Group(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "the group"
        if first["type"] == "missing":
            raise ConfigError(f"{where}: the key {key!r} is missing.") from error
        raise ConfigError(f"{where}: {key}={first['input']!r} is refused: {told(first)}") from error
    if group.seconds is not None and group.flops is not None:
        raise ConfigError(f"{where}: seconds and flops both limit the work of a round; give one of them.")
    if group.seconds is not None and group.flops_per_second is None:
        raise ConfigError(f"{where}: seconds={group.seconds} needs a speed: name a board, or give flops_per_second.")
    if group.flops_per_second is not None and group.flops_per_second.amount is None:
        raise ConfigError(f"{where}: flops_per_second is a share; write a speed, for instance 40GFLOP.")
    if group.memory is not None and group.memory.amount is not None and group.reserved >= group.memory.amount:
        raise ConfigError(
            f"{where}: reserved={group.reserved:,} bytes leave nothing of its memory of {group.memory.amount:,.0f}."
        )
    if group.reserved and (group.memory is None or group.memory.amount is None):
        raise ConfigError(
            f"{where}: reserved={group.reserved:,} bytes are of a memory in bytes; give memory=4GiB or the like, or "
            "leave reserved out: a share of full fine-tuning's peak is of tensors alone."
        )
    return group


@cache
def boards() -> dict[str, dict[str, Any]]:
    """Return the boards that are known by name: memory, flops_per_second, and where the figures are from."""
    found: dict[str, dict[str, Any]] = data_file("boards.yaml")
    return found


def data_file(name: str) -> Any:
    """Return the values of a YAML file that lies beside this module."""
    return yaml.safe_load(files("frostline.federated").joinpath(name).read_text(encoding="utf-8"))
