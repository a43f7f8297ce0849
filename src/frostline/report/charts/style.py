"""How every chart is drawn: onto a Figure of its own, under rules of its own, and as SVG that follows the page.

Colours are stand-ins that become variables of the page's style sheet, so one drawing serves light and dark. Text stays
text, in the page's font. The same values give the same bytes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from frostline.report.document import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE, PAPER = "#010203", "#020304", "#030405", "#040506"
ACCENT, SOFT = "#050607", "#060708"
PARTS = ("#110101", "#120202", "#130303", "#140404", "#150505", "#160606")
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    PAPER: "var(--paper)",
    ACCENT: "var(--accent)",
    SOFT: "var(--soft)",
    **{part: f"var(--part-{index})" for index, part in enumerate(PARTS, 1)},
}
_RULES: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.linewidth": 1,
    "axes.unicode_minus": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "figure.dpi": 72,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "hatch.linewidth": 1.0,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.color": LINE,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
}
_UNWANTED = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->|<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)


def draw(name: str, width: float, height: float, paint: Callable[[Figure], None], shown: str = "always") -> Drawing:
    """Return what `paint` draws on a figure of `width` by `height` CSS pixels.

    Args:
        name: of the drawing; no other on the page may have it, for it is in the names of its parts.
        width, height: in CSS pixels, which are the points of the figure.
        paint: called with the figure; it may change nothing else.
        shown: on which screens, see `Drawing`.
    """
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    stream = io.StringIO()
    with warnings.catch_warnings(), style.context(["default", {**_RULES, "svg.hashsalt": name}]):
        warnings.filterwarnings("ignore", message="(?s).*missing from font")  # the page's own fonts show the text
        figure = Figure(figsize=(width / 72, height / 72))
        canvas: Any = FigureCanvasSVG(figure)
        paint(figure)
        canvas.print_svg(stream, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return Drawing(width, height, _restyled(stream.getvalue()), shown)


def place(figure: Figure, left: float, top: float, right: float, bottom: float) -> Axes:
    """Return axes with margins of so many CSS pixels."""
    width, height = figure.get_figwidth() * 72, figure.get_figheight() * 72
    return figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    )


def _restyled(svg: str) -> str:
    inside = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    inside = _UNWANTED.sub("", inside)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", inside))
    inside = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", inside)
    inside = re.sub(r'style="[^"]*"', lambda found: _style(found[0]), inside)
    inside = re.sub(r' (?:d|transform)="[^"]*"', lambda found: _rounded(found[0]), inside)
    return re.sub(r"\s*\n\s*", "\n", inside)


def _style(text: str) -> str:
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, variable)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    return re.sub(r"font: (?:[a-z0-9]+ )*?([\d.]+px) [^;\"]*", r"font-size: \1", text)


def _rounded(text: str) -> str:
    return re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", text)
