"""Sites as tables on a terminal: rich is loaded when a table is drawn, not before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frostline.report.numbers import DASH, share, times

if TYPE_CHECKING:
    from rich.console import Console

    from frostline.anatomy import Site

_WIDTH = 140  # where the output goes into a file: module names are long


def console() -> Console:
    """Return a console for tables, wide enough where nobody looks."""
    from rich.console import Console

    plain = Console(markup=False, emoji=False, highlight=False)
    return plain if plain.is_terminal else Console(markup=False, emoji=False, highlight=False, width=_WIDTH)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], total: Sequence[str] = ()) -> Any:
    """Return a rich table: words to the left, numbers to the right, the last row apart.

    Args:
        title: above the table.
        columns: the headings; those that begin with a space are of numbers.
        rows, total: the cells.
    """
    from rich.table import Table

    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False, show_footer=bool(total))
    for index, heading in enumerate(columns):
        number = heading.startswith(" ")
        drawn.add_column(
            heading.strip(),
            total[index] if total else "",
            justify="right" if number else "left",
            no_wrap=number,
            overflow="fold",
        )
    for row in rows:
        drawn.add_row(*row)
    return drawn


def site_name(site: Site) -> tuple[str, str]:
    """Return the module's name and the operation, numbered from its second call on."""
    return site.module or "(the model)", site.operation if site.call == 0 else f"{site.operation} ({site.call + 1})"


def mebibytes(size: int | None) -> str:
    """Return bytes in MiB, to a hundredth: many sites are small."""
    return DASH if size is None else f"{size / 2**20:,.2f}"


def portion(part: int, whole: int) -> str:
    """Return a share in percent, a dash of nothing."""
    return share(part / whole) if whole else DASH


def ratio(measured: int, predicted: int) -> str:
    """Return measured over predicted, a dash where nothing was predicted."""
    return times(measured / predicted) if predicted else DASH


def predicted_beside_measured(
    title: str,
    names: Sequence[str],
    sites: Iterable[Mapping[str, Any]],
    name: Callable[[Mapping[str, Any]], tuple[str, ...]],
) -> Any:
    """Return a table with the sums of `predicted` and `measured` bytes over all sites of the same `name`."""
    sums: dict[tuple[str, ...], tuple[int, int]] = {}
    for site in sites:
        key = name(site)
        predicted, measured = sums.get(key, (0, 0))
        sums[key] = predicted + site["predicted"], measured + site["measured"]
    totals = sum(pair[0] for pair in sums.values()), sum(pair[1] for pair in sums.values())
    rows = ((*key, *_pair(*pair)) for key, pair in sums.items())
    total = ("total", *[""] * (len(names) - 1), *_pair(*totals))
    return table(title, (*names, " predicted MiB", " measured MiB", " ratio"), rows, total)


def _pair(predicted: int, measured: int) -> tuple[str, str, str]:
    return mebibytes(predicted), mebibytes(measured), ratio(measured, predicted)


def place(key: int | str) -> str:
    """Return the name of a block's depth, or of what lies outside the blocks."""
    return f"block {key}" if isinstance(key, int) else key
