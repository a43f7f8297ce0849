"""Loss curves: a small panel a method, the reference's curve behind each, one scale for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from frostline.report.charts.style import ACCENT, MUTED, draw, place
from frostline.report.document import Drawing
from frostline.report.smoothing import smoothed, thinned
from frostline.report.values import Steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def loss_panel(
    name: str,
    runs: Sequence[Steps],
    reference: Steps | None,
    limits: tuple[float, float],
    shown: str = "always",
) -> Drawing:
    """Return a panel: each run smoothed, the first one's steps faint behind it, the reference dashed.

    Args:
        name: of the drawing.
        runs: of one method, one a seed.
        reference: the reference's run with the first of these seeds; None on its own panel.
        limits: lowest and highest loss to show.
        shown: `always` for one panel of many; `wide` or `narrow` for a chart of its own on such screens.
    """
    width, height = {"always": (230.0, 150.0), "wide": (860.0, 320.0), "narrow": (370.0, 240.0)}[shown]
    alone = shown != "always"

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = place(figure, 50 if alone else 36, 6, 8, 38 if alone else 22)
        raw = thinned(runs[0].losses)
        if raw:
            axes.plot(*zip(*raw, strict=True), color=MUTED, linewidth=0.7, alpha=0.45)
        if reference is not None and (curve := smoothed(reference.losses)):
            axes.plot(*zip(*curve, strict=True), color=MUTED, linewidth=1.5, linestyle=(0, (4, 2.5)))
        for run in runs:
            if curve := smoothed(run.losses):
                axes.plot(*zip(*curve, strict=True), color=ACCENT, linewidth=1.5)
        axes.set_ylim(*limits)
        axes.set_xlim(1, max(2, *(len(run.losses) for run in runs)))
        axes.grid(True, axis="y")
        axes.tick_params(length=0)
        axes.xaxis.set_major_locator(MaxNLocator(6 if alone else 3, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5 if alone else 3))
        if alone:
            axes.set_xlabel("step")

    return draw(name, width, height, paint, shown)


def limits(runs: Sequence[Steps]) -> tuple[float, float]:
    """Return the range that holds 98 of 100 losses of all runs, with a little room."""
    losses = sorted(loss for run in runs for loss in run.losses[:: max(1, len(run.losses) // 500)] if loss is not None)
    if not losses:
        return 0.0, 1.0
    low, high = losses[len(losses) // 100], losses[-1 - len(losses) // 100]
    room = 0.06 * (high - low) or 0.1
    return low - room, high + room
