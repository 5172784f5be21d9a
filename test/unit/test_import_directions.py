"""Who may import whom: the table of docs/architecture.md, read from there and checked against every import."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "atalla_mlir"
FREE = frozenset({"errors", "version"})
"""Parts that every part may import."""
ANYTHING = frozenset({"tools", "testing", "__init__"})
"""Parts that may import every public part."""


def _table() -> dict[str, frozenset[str]]:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.split("## Who may import whom", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `?([a-z_]+)`? \| ([^|]*) \|$", section, re.MULTILINE)
    return {part: frozenset(re.findall(r"[a-z_]+", allowed)) for part, allowed in rows if part != "part"}


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imported_names(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"line {node.lineno}: import by the full name, not relatively"
            names.add(node.module)
            if node.module == "atalla_mlir":
                names.update(f"atalla_mlir.{alias.name}" for alias in node.names)
    return names


def _imported_parts(path: Path) -> set[str]:
    parts: set[str] = set()
    for name in _imported_names(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        first, *rest = name.split(".")
        if first == "atalla_mlir" and rest:
            parts.add(rest[0])
        elif first in ("torch", "torch_mlir"):
            parts.add(first)
    return parts


FILES = sorted(PACKAGE.rglob("*.py"))
TABLE = _table()


def test_table_names_only_parts_that_exist_or_are_external() -> None:
    for part, allowed in TABLE.items():
        assert allowed <= set(TABLE) | {"torch", "torch_mlir"} | FREE, part


def test_every_part_has_a_row() -> None:
    parts = {_part(path) for path in FILES} - FREE - ANYTHING
    assert parts <= set(TABLE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_table(path: Path) -> None:
    part = _part(path)
    if part in FREE:
        allowed: frozenset[str] = FREE
    elif part in ANYTHING:
        allowed = frozenset(TABLE) | FREE | {"testing", "tools", "torch"}
    else:
        allowed = TABLE[part] | FREE | {part}
    assert _imported_parts(path) <= allowed


def test_no_file_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "common", "helpers", "misc"}
    assert not [path for path in PACKAGE.rglob("*") if path.stem in empty]


def test_only_dialects_do_without_deferred_annotations() -> None:
    for path in FILES:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        has = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in body)
        is_only_a_docstring = all(isinstance(node, ast.Expr) for node in body)
        assert is_only_a_docstring or has is (_part(path) != "dialects"), path
