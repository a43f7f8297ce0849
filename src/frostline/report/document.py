"""A report between its numbers and its form: sections of text, tables and figures. HTML and Markdown both render this.

Text is a plain string of ours, or a sequence in which the user's strings are a `Name`: a renderer escapes both, and
isolates a Name, whose direction of writing may differ from the page's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


class Name(str):
    """A string of the user's: a task, a label, a file, a reason."""

    __slots__ = ()


class Code(str):
    """A word of the program's: a setting, a key."""

    __slots__ = ()


Text = str | Sequence[str]  # a sequence of strings, Names and Codes, shown one after the other


def parts(text: Text) -> tuple[str, ...]:
    """Return the text's pieces in order."""
    return (text,) if isinstance(text, str) else tuple(text)


def marked(text: str) -> tuple[str, ...]:
    """Return text of ours in which words between backticks are Codes."""
    return tuple(Code(piece) if index % 2 else piece for index, piece in enumerate(text.split("`")))


def listed(names: Sequence[str]) -> tuple[str, ...]:
    """Return names as text: `a, b and c`."""
    found: list[str] = []
    for index, name in enumerate(names):
        if index:
            found.append(" and " if index == len(names) - 1 else ", ")
        found.append(Name(name))
    return tuple(found)


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what it shows, what it is sorted by (the text if left out), and whether it stands out."""

    text: Text
    sort: float | str | None = None
    strong: bool = False


@dataclass(frozen=True)
class Column:
    """A column: its title, whether numbers stand in it (aligned right), and whether long text may wrap."""

    title: str
    numeric: bool = True
    wraps: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells; the cell under the first column that is not numeric heads its row."""

    name: str
    caption: Text
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def header(self) -> int:
        """The index of the column that heads the rows."""
        return next((index for index, column in enumerate(self.columns) if not column.numeric), 0)


@dataclass(frozen=True)
class Drawing:
    """The inside of an SVG element with its size; `shown` is `wide`, `narrow` (screens) or `always`."""

    width: float
    height: float
    body: str
    shown: str = "always"


@dataclass(frozen=True)
class Figure:
    """A chart: its title, and in words what it shows, for those who do not see it."""

    name: str
    title: Text
    description: Text
    drawings: tuple[Drawing, ...]
    caption: Text = ""


@dataclass(frozen=True)
class Gallery:
    """Figures of one kind side by side, at least `minimum` pixels each; `key` explains numbers in them."""

    figures: tuple[Figure, ...]
    minimum: int = 300
    key: tuple[tuple[int, Name], ...] = ()


@dataclass(frozen=True)
class Legend:
    """What the colours and patterns of the figures below mean: (style of the swatch, words)."""

    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `tone` is `plain`, `note` (smaller) or `warning`."""

    text: Text
    tone: str = "plain"


@dataclass(frozen=True)
class Definitions:
    """Pairs of a term and what it stands for, each possibly several lines."""

    entries: tuple[tuple[Text, tuple[Text, ...]], ...]


@dataclass(frozen=True)
class Commands:
    """Lines for a shell, each with the name of what it makes."""

    entries: tuple[tuple[Name, str], ...]


@dataclass(frozen=True)
class Details:
    """Blocks behind a line that opens them."""

    summary: Text
    blocks: tuple[Block, ...]
    opened: bool = False


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: Text


Block = Table | Figure | Gallery | Legend | Paragraph | Definitions | Commands | Details | Heading


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """The whole report.

    Attributes:
        title, kind: of the page; `kind` says what was reported on.
        headline: the result in a sentence.
        lead: paragraphs below it.
        facts: (what, value), a handful.
        sections: those with content, in order.
        version: of the program that made it.
    """

    title: Name
    kind: str
    headline: Text
    lead: tuple[Paragraph, ...]
    facts: tuple[tuple[str, Text], ...]
    sections: tuple[Section, ...]
    version: str = field(default="")
