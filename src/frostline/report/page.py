"""The HTML page: one file that asks nothing of any network, from the templates beside this module."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from frostline.report.document import Block, Code, Document, Name, parts


def page(document: Document) -> str:
    """Return the whole page."""
    script = _template("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = _environment().get_template("report.html.j2")
    return template.render(
        document=document,
        style=Markup(_template("style.css")),
        script=Markup(script),
        script_hash=digest,
    )


@cache
def _environment() -> Environment:
    names = ("report.html.j2", "blocks.html.j2")
    loader = DictLoader({name: _template(name) for name in names})
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"parts": parts, "kind": _kind, "drawn": Markup, "plain": _plain}
    environment.tests |= {"name": lambda part: isinstance(part, Name), "code": lambda part: isinstance(part, Code)}
    return environment


def _template(name: str) -> str:
    return (files("frostline.report") / "templates" / name).read_text(encoding="utf-8")


def _kind(block: Block) -> str:
    return type(block).__name__


def _plain(text: object) -> str:
    """Return text in one piece, where no element can be: in a title."""
    return "".join(parts(text))  # type: ignore[arg-type]  # what a template hands over has no type
