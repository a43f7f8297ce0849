"""What methods say of themselves; the built-in ones by their source, because importing them would load torch."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from frostline import methods


@dataclass(frozen=True)
class Description:
    """A method's one-line summary, its source in the literature, and the meaning of each of its settings."""

    summary: str
    source: str
    settings: dict[str, str]


def describe(method: str) -> Description | None:
    """Return what a method says of itself; None for one of a plugin that is not loaded."""
    if method not in methods.names():
        return None
    if method not in methods.BUILT_IN:
        found = methods.get(method)
        fields = found.Settings.model_fields
        return Description(found.summary, found.source, {key: field.description or "" for key, field in fields.items()})
    tree = _module(method)
    texts = dict(_texts(tree, method))
    settings: dict[str, str] = {}
    for node in ast.walk(tree):  # settings may be inherited: the modules that this one imports from come first
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("frostline.methods."):
            settings |= _settings(_module(str(node.module).rpartition(".")[2]))
    return Description(texts.get("summary", ""), texts.get("source", ""), settings | _settings(tree))


@cache
def _module(name: str) -> ast.Module:
    return ast.parse((files("frostline.methods") / f"{name}.py").read_text(encoding="utf-8"))


def _texts(tree: ast.Module, method: str) -> list[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == methods.BUILT_IN[method]:
            return [
                (target.id, str(line.value.value))
                for line in node.body
                if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant)
                for target in line.targets
                if isinstance(target, ast.Name)
            ]
    return []


def _settings(tree: ast.Module) -> dict[str, str]:
    """Return the descriptions of all pydantic fields in a module."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        keywords = node.value.keywords if isinstance(node.value, ast.Call) else []
        for keyword in keywords:
            if keyword.arg == "description" and isinstance(keyword.value, ast.Constant):
                found[node.target.id] = str(keyword.value.value)
    return found
