"""The heat map of a run: units down, steps across, the darker the more of a bin's steps a unit was active."""

from __future__ import annotations

from typing import TYPE_CHECKING

from frostline.report.activity import Activity
from frostline.report.charts.labels import text_width
from frostline.report.charts.style import LINE, draw, place
from frostline.report.document import Drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOUR = (45, 125, 200)  # on white and on near black alike; the share is the opacity


def heat_map(name: str, found: Activity, shown: str = "always") -> Drawing:
    """Return the heat map of an activity that has units; on `wide` screens one that stands alone is larger."""
    width = 860.0 if shown == "wide" else 380.0
    height = 46 + min(300.0, max(90.0, 3.4 * len(found.units)))

    def paint(figure: Figure) -> None:
        import numpy as np
        from matplotlib.ticker import MaxNLocator

        names = [f"block {label}" if label.isdecimal() else label for label, _ in found.groups]
        axes = place(figure, 12 + max(text_width(name, 11) for name in names), 6, 16, 38)
        shares = np.asarray(found.shares)
        image = np.empty((*shares.shape, 4), dtype=np.uint8)
        image[..., :3] = _COLOUR
        image[..., 3] = np.round(255 * shares)
        rows = len(found.units)
        axes.imshow(image, aspect="auto", interpolation="none", extent=(0, found.steps, rows, 0))
        ticks, top = [], 0
        for name, (_, size) in zip(names, found.groups, strict=True):
            ticks.append((top + size / 2, name))
            top += size
            if top < rows:
                axes.axhline(top, color=LINE, linewidth=0.8)
        sparse = _thinned(ticks, rows, height - 44)
        axes.set_yticks([place for place, _ in sparse], [label for _, label in sparse])
        axes.tick_params(length=0)
        axes.xaxis.set_major_locator(MaxNLocator(8 if shown == "wide" else 4, integer=True))
        axes.set_xlabel("step")

    return draw(name, width, height, paint, shown)


def _thinned(ticks: list[tuple[float, str]], rows: int, pixels: float) -> list[tuple[float, str]]:
    """Return the ticks that leave a line of text between each other."""
    kept: list[tuple[float, str]] = []
    for tick in ticks:
        if not kept or (tick[0] - kept[-1][0]) * pixels / rows >= 12:
            kept.append(tick)
    return kept
