"""Score against peak memory, a point a method, with the front."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from frostline.report.charts.labels import fitted, place_labels
from frostline.report.charts.style import ACCENT, INK, MUTED, PAPER, draw, place
from frostline.report.document import Drawing
from frostline.report.summary import Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MIB = 2**20


def drawable(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries that have both a score and a peak."""
    return [entry for entry in entries if entry.mean is not None and entry.peak is not None]


def scatter(
    name: str,
    entries: Sequence[Entry],
    reference: str | None,
    peak: str,
    numbers: Mapping[str, int] | None = None,
    shown: str = "always",
) -> Drawing:
    """Return the chart: wide with the methods' names, or smaller with `numbers` in their place where those are given.

    Args:
        name: of the drawing.
        entries: drawable ones, at least one.
        reference: the method to mark.
        peak: what the peaks are peaks of.
        numbers: by method.
        shown: on which screens.
    """
    width, height = (370.0, 330.0) if numbers else (860.0, 480.0)
    found = drawable(entries)

    def paint(figure: Figure) -> None:
        axes = place(figure, 46, 22, 14, 40)
        xs, ys = [(e.peak or 0) / _MIB for e in found], [e.unit * (e.mean or 0) for e in found]
        _frame(axes, found, xs, ys)
        stairs = _front(axes, found)
        for entry, x, y in zip(found, xs, ys, strict=True):
            _point(axes, entry, x, y, entry.method == reference)
        texts = [str(numbers[e.method]) if numbers else fitted(e.method, 160) for e in found]
        strong = [entry.on_front or entry.method == reference for entry in found]
        _labels(axes, strong, list(zip(xs, ys, strict=True)), texts, stairs)
        axes.set_xlabel(f"{peak}, MiB")
        axes.annotate(
            fitted(found[0].metric, 264),
            (0, 1),
            (-40, 6),
            xycoords="axes fraction",
            textcoords="offset points",
            color=MUTED,
            annotation_clip=False,
        )

    return draw(name, width, height, paint, shown)


def _frame(axes: Axes, found: list[Entry], xs: list[float], ys: list[float]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    x_room = 0.09 * (max(xs) - min(xs)) or 0.1 * max(xs) or 1
    y_room = 0.09 * (max(ys) - min(ys)) or 1
    axes.set_xlim(min(xs) - x_room, max(xs) + x_room)
    axes.set_ylim(min(ys) - y_room, max(ys) + y_room)
    if found[0].better < 0:
        axes.invert_yaxis()
    axes.grid(True)
    axes.tick_params(length=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _front(axes: Axes, entries: list[Entry]) -> list[tuple[float, float, float, float]]:
    """Draw the front as a staircase; return boxes around its lines, in pixels, for the labels to keep clear of."""
    members = sorted(((e.peak or 0) / _MIB, e.unit * (e.mean or 0)) for e in entries if e.on_front)
    corners: list[tuple[float, float]] = []
    for x, y in members:
        corners += [(x, corners[-1][1]), (x, y)] if corners else [(x, y)]
    if not corners:
        return []
    corners.append((axes.get_xlim()[1], corners[-1][1]))
    axes.plot(*zip(*corners, strict=True), color=ACCENT, linewidth=1.6, alpha=0.7, zorder=2)
    pixels = [(float(x), float(y)) for x, y in axes.transData.transform(corners)]
    return [
        (min(a[0], b[0]) - 2, min(a[1], b[1]) - 2, max(a[0], b[0]) + 2, max(a[1], b[1]) + 2)
        for a, b in itertools.pairwise(pixels)
    ]


def _point(axes: Axes, entry: Entry, x: float, y: float, is_reference: bool) -> None:
    if entry.deviation is not None:
        bar = entry.unit * entry.deviation
        axes.plot([x, x], [y - bar, y + bar], color=MUTED, linewidth=1.2, alpha=0.45, zorder=1.5)
    shape = "s" if is_reference else "D" if entry.on_front else "o"
    colour = ACCENT if entry.on_front else INK if is_reference else MUTED
    filled = entry.on_front or is_reference
    axes.plot(
        [x],
        [y],
        shape,
        markersize=8 if filled else 6.5,
        markerfacecolor=colour if filled else PAPER,
        markeredgecolor=PAPER if filled else colour,
        markeredgewidth=1 if filled else 1.5,
        zorder=3,
        alpha=1 if entry.complete else 0.6,
    )


def _labels(
    axes: Axes,
    strong: list[bool],
    points: list[tuple[float, float]],
    texts: list[str],
    obstacles: list[tuple[float, float, float, float]],
) -> None:
    transform = axes.transData
    box = axes.get_window_extent()
    pixels = [(float(x), float(y)) for x, y in transform.transform(points)]
    places = place_labels(pixels, texts, (box.x0, box.y0, box.x1, box.y1), obstacles)
    for bold, at, label, text in zip(strong, pixels, places, texts, strict=True):
        if label.led:
            target = transform.inverted().transform([at, (label.x, label.y)])
            axes.plot(target[:, 0], target[:, 1], color=MUTED, linewidth=0.7, alpha=0.7, zorder=1.8)
        x, y = transform.inverted().transform((label.x, label.y))
        axes.text(
            x,
            y,
            text,
            ha="center",
            va="center_baseline",
            fontsize=11,
            color=INK if bold else MUTED,
            weight="bold" if bold else "normal",
            zorder=4,
        )
