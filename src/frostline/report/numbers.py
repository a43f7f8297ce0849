"""Numbers as text, the same everywhere. What is not there is a dash."""

from __future__ import annotations

DASH = "–"
MINUS = "−"


def points(score: float | None, digits: int = 1, unit: float = 100) -> str:
    """Return a score in points out of 100, or in another unit."""
    if score is None:
        return DASH
    return _signed(unit * score, digits if unit == 100 else digits + 2)


def difference(value: float | None, digits: int = 1, unit: float = 100) -> str:
    """Return a difference of scores, always with its sign."""
    text = points(value, digits, unit)
    return text if text[0] in (DASH, MINUS) or not float(text) else f"+{text}"


def spread(mean: float | None, deviation: float | None, digits: int = 1, unit: float = 100) -> str:
    """Return `84.3 ± 0.4`, or the mean alone where there is no deviation."""
    text = points(mean, digits, unit)
    return text if deviation is None else f"{text} ± {points(deviation, digits, unit)}"


def mebibytes(value: float | None, unit: str = " MiB") -> str:
    """Return bytes in whole MiB."""
    return DASH if value is None else f"{value / 2**20:,.0f}{unit}"


def times(value: float | None) -> str:
    """Return a ratio as `0.81×`."""
    return DASH if value is None else f"{value:.2f}×"


def share(value: float | None) -> str:
    """Return a share of 1 in percent."""
    return DASH if value is None else f"{value:.1%}"


def whole(value: float | None) -> str:
    """Return a count."""
    return DASH if value is None else f"{value:,.0f}"


def millions(value: float | None) -> str:
    """Return a count in millions: `22.71 M`."""
    return DASH if value is None else f"{value / 1e6:,.2f} M"


def seconds(value: float | None) -> str:
    """Return a time: `0.412 s`, `48 s`, `12 min 5 s`, `3 h 20 min`."""
    if value is None:
        return DASH
    if value < 10:
        return f"{value:.3f} s" if value < 1 else f"{value:.2f} s"
    total = round(value)
    if total < 120:
        return f"{total} s"
    if total < 7200:
        return f"{total // 60} min {total % 60} s"
    return f"{total // 3600:,} h {total % 3600 // 60} min"


def rate(value: float | None) -> str:
    """Return a learning rate as it is typed: `5e-5`, `0.01`."""
    if value is None:
        return DASH
    text = f"{value:g}" if value >= 0.001 or value <= 0 else f"{value:.3e}"
    mantissa, exponent, power = text.partition("e")
    if not exponent:
        return text
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(power)}"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return `1 cell` or `3 cells`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _signed(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    if not float(text):
        return text.removeprefix("-")
    return text.replace("-", MINUS)
