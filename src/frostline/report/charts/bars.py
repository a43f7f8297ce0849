"""Bars: what a method's memory is made of, and its step time beside the reference's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from frostline.report.charts.labels import fitted
from frostline.report.charts.style import INK, MUTED, PAPER, PARTS, draw, place
from frostline.report.document import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PATTERNS = ("", "", "////", "", "....", "")  # of the memory's parts: neighbours differ without their colours, too
_ROW, _WIDTH, _NAMES, _MIB = 21, 410.0, 126, 2**20


@dataclass(frozen=True)
class Stack:
    """A method's memory in bytes: its parts from the bottom up (None where not measured), and the process's peak."""

    method: str
    parts: tuple[float, ...] | None
    peak: float | None

    @property
    def rest(self) -> float:
        """What the process held beyond the tensors."""
        return max(0.0, (self.peak or 0) - sum(self.parts or ()))

    @property
    def top(self) -> float:
        """The end of the bar."""
        return max(self.peak or 0, sum(self.parts or ()))


def memory_bars(name: str, stacks: Sequence[Stack], inference: float | None) -> Drawing:
    """Return a bar for each method; a line marks the peak of forward passes only, if it is known."""
    height = _ROW * len(stacks) + 64

    def paint(figure: Figure) -> None:
        axes = _rows(figure, [stack.method for stack in stacks])
        longest = max((stack.top for stack in stacks), default=0) / _MIB
        axes.set_xlim(0, 1.17 * max(longest, (inference or 0) / _MIB) or 1)
        for row, stack in enumerate(stacks):
            left = 0.0
            for index, size in enumerate((*(stack.parts or (0.0,) * (len(PARTS) - 1)), stack.rest)):
                if size > 0:
                    _segment(axes, row, left / _MIB, size / _MIB, index)
                left += size
            if stack.top:
                _value(axes, stack.top / _MIB, row, f"{stack.top / _MIB:,.0f}{'' if stack.peak else ' tensors'}")
        if inference is not None:
            _mark(axes, inference / _MIB, "forward passes only")
        axes.set_xlabel("MiB")

    return draw(name, _WIDTH, height, paint)


def time_bars(name: str, rows: Sequence[tuple[str, float, tuple[float, float] | None]], reference: str) -> Drawing:
    """Return a bar for each (method, ratio, quartiles), and a line where the reference's own time is."""
    height = _ROW * len(rows) + 64

    def paint(figure: Figure) -> None:
        axes = _rows(figure, [method for method, _, _ in rows])
        longest = max(max(ratio, quartiles[1] if quartiles else 0) for _, ratio, quartiles in rows)
        axes.set_xlim(0, 1.17 * max(longest, 1.0))
        for row, (_, ratio, quartiles) in enumerate(rows):
            axes.barh(row, ratio, height=0.66, color=PARTS[0], edgecolor=PAPER, linewidth=0.8)
            if quartiles:
                axes.plot(quartiles, [row, row], color=INK, linewidth=1.3, marker="|", markersize=7)
            _value(axes, max(ratio, quartiles[1] if quartiles else 0), row, f"{ratio:.2f}×")
        _mark(axes, 1.0, fitted(reference, 160))
        axes.set_xlabel("time of a step over the reference's")

    return draw(name, _WIDTH, height, paint)


def _rows(figure: Figure, methods: Sequence[str]) -> Axes:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes = place(figure, _NAMES, 20, 8, 40)
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.set_yticks(range(len(methods)), [fitted(method, _NAMES - 8) for method in methods])
    axes.tick_params(length=0)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    return axes


def _segment(axes: Axes, row: int, left: float, width: float, index: int) -> None:
    axes.barh(row, width, left=left, height=0.72, color=PARTS[index], edgecolor=PAPER, linewidth=0.8)
    if PATTERNS[index]:
        axes.barh(row, width, left=left, height=0.72, fill=False, hatch=PATTERNS[index], edgecolor=PAPER, linewidth=0)


def _value(axes: Axes, x: float, row: int, text: str) -> None:
    axes.annotate(
        text, (x, row), (5, 0), textcoords="offset points", va="center_baseline", color=INK, annotation_clip=False
    )


def _mark(axes: Axes, x: float, text: str) -> None:
    axes.axvline(x, color=INK, linewidth=1.3, linestyle=(0, (4, 3)), zorder=2.9)
    bottom = axes.get_ylim()[1]
    side = "left" if x < 0.6 * axes.get_xlim()[1] else "right"
    axes.annotate(text, (x, bottom), (0, 4), textcoords="offset points", ha=side, color=MUTED, annotation_clip=False)
