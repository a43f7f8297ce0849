"""The report as Markdown: the same sections without the charts, whose descriptions stand in for them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from frostline.report.document import (
    Block,
    Code,
    Commands,
    Definitions,
    Details,
    Document,
    Figure,
    Gallery,
    Heading,
    Name,
    Paragraph,
    Table,
    Text,
    parts,
)

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$<>&-])")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "|": "&#124;"}
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def markdown(document: Document) -> str:
    """Return the whole report."""
    lines = [f"# {escape(document.title)}", "", inline(document.headline), ""]
    for paragraph in document.lead:
        lines += [inline(paragraph.text), ""]
    lines += [f"- {escape(what)}: {inline(value)}" for what, value in document.facts]
    lines += ["", "The charts are in [report.html](report.html).", ""]
    for section in document.sections:
        lines += [f"## {escape(section.title)}", ""]
        lines += _blocks(section.blocks)
    lines += [f"Made by frostline {escape(document.version)}.", ""]
    return "\n".join(lines)


def escape(text: str) -> str:
    """Return any text so that Markdown shows it as it is, in one line, and no mark of direction reaches beyond it."""
    text = _BIDI.sub("", " ".join(text.split()))
    return _SPECIAL.sub(lambda found: _ENTITIES.get(found[1], f"\\{found[1]}"), text)


def inline(text: Text) -> str:
    """Return text with the user's strings isolated where they run from right to left."""
    return "".join(_part(part) for part in parts(text))


def _part(part: str) -> str:
    if isinstance(part, Name):
        turned = any(unicodedata.bidirectional(letter) in ("R", "AL", "AN") for letter in part)
        return f"\u2068{escape(part)}\u2069" if turned else escape(part)
    if isinstance(part, Code):
        return f"`{part}`"
    escaped = re.sub(r"([|<>&`*_\\])", lambda found: _ENTITIES.get(found[1], f"\\{found[1]}"), part)
    return escaped.replace("\n", " ")


def _blocks(blocks: Iterable[Block]) -> list[str]:
    lines: list[str] = []
    for block in blocks:
        if isinstance(block, Paragraph):
            if block.tone not in ("note", "key"):
                lines += [inline(block.text), ""]
        elif isinstance(block, Heading):
            lines += [f"### {inline(block.text)}", ""]
        elif isinstance(block, Table):
            lines += _table(block)
        elif isinstance(block, Figure):
            lines += [f"- {inline(block.title)}: {inline(block.description)}", ""]
        elif isinstance(block, Gallery):
            lines += [*(f"- {inline(one.title)}: {inline(one.description)}" for one in block.figures), ""]
        elif isinstance(block, Definitions):
            lines += [f"- {inline(term)}: {'; '.join(map(inline, told))}" for term, told in block.entries] + [""]
        elif isinstance(block, Commands):
            for _, command in block.entries:
                lines += _fenced(command)
        elif isinstance(block, Details):
            lines += [f"### {inline(block.summary)}", "", *_blocks(block.blocks)]
    return lines


def _table(table: Table) -> list[str]:
    lines = [inline(table.caption), ""]
    lines.append(f"| {' | '.join(inline(column.title) for column in table.columns)} |")
    lines.append(f"|{'|'.join('---:' if column.numeric else '---' for column in table.columns)}|")
    for row in table.rows:
        texts = (f"**{text}**" if cell.strong and (text := inline(cell.text)) else inline(cell.text) for cell in row)
        lines.append(f"| {' | '.join(texts)} |")
    return [*lines, ""]


def _fenced(command: str) -> list[str]:
    longest = max((len(run) for run in re.findall(r"`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}sh", _BIDI.sub("", " ".join(command.splitlines())), fence, ""]
