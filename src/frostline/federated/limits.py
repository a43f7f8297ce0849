"""One limit of a device as people write it: an amount with a unit, or a share of what full fine-tuning takes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from frostline.budget import parse_budget
from frostline.errors import nearest

BYTES = {unit: parse_budget(f"1{unit}") for unit in ("B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB")}
FLOPS = {"FLOP": 1, "kFLOP": 10**3, "MFLOP": 10**6, "GFLOP": 10**9, "TFLOP": 10**12, "PFLOP": 10**15}

_WRITTEN = re.compile(r"\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*(\S*)\s*")


@dataclass(frozen=True, slots=True)
class Limit:
    """An upper bound: one of the two.

    Attributes:
        amount: bytes, or floating-point operations.
        share: in (0, 1], of what full fine-tuning of the deepest network takes.
    """

    amount: float | None = None
    share: float | None = None

    def of(self, whole: float) -> float:
        """Return the bound, where full fine-tuning takes `whole`."""
        return self.amount if self.amount is not None else (self.share or 0.0) * whole


def parse(value: object, units: dict[str, int], example: str) -> Limit:
    """Return the limit that a value of a YAML file says.

    Args:
        value: a number, one with a unit, or one with a percent sign.
        units: what may stand behind a number, and how much it is.
        example: a limit as it should be written, for messages.

    Raises:
        ValueError: it is no number, not above 0, above 100 %, or has an unknown unit; names the nearest.
    """
    found = _WRITTEN.fullmatch(str(value)) if isinstance(value, int | float | str) else None
    if found is None or isinstance(value, bool):
        raise ValueError(f"{value!r} is no amount; write for instance {example}, or 25% of what full fine-tuning takes")
    try:
        number = float(found[1])
    except ValueError:
        raise ValueError(f"{value!r} is no amount: {found[1]!r} is no number") from None
    if not 0 < number < math.inf:
        raise ValueError(f"{value!r} is refused: give more than 0, and leave the key out for no limit")
    if found[2] == "%":
        if number > 100:
            raise ValueError(f"{value!r} is refused: 100% is what full fine-tuning takes; leave it out for no limit")
        return Limit(share=number / 100)
    factors = {"": 1} | {unit.casefold(): factor for unit, factor in units.items()}
    if found[2].casefold() not in factors:
        raise ValueError(f"{value!r} has an unknown unit {found[2]!r}{nearest(found[2], [*units, '%'])}")
    amount = number * factors[found[2].casefold()]
    if not math.isfinite(amount):
        raise ValueError(f"{value!r} is refused: no machine has as much; leave it out for no limit")
    if amount < 1:
        raise ValueError(f"{value!r} is less than 1; a share is written with a percent sign: {number:.0%}")
    return Limit(amount=amount)
