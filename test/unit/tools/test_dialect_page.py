from __future__ import annotations

from pathlib import Path

from atalla_mlir.dialects import atalla, ax01
from atalla_mlir.tools.dialect_page import page

FILE = Path(__file__).parents[3] / "docs" / "dialects.md"


def test_page_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == page(), "docs/dialects.md is out of date: run `make docs`"


def test_every_operation_is_there() -> None:
    text = page()
    for operation in (*atalla.Atalla.operations, *ax01.Ax01.operations):
        assert f"`{operation.OPERATION_NAME}`" in text


def test_every_operation_explains_itself() -> None:
    for operation in (*atalla.Atalla.operations, *ax01.Ax01.operations):
        assert operation.__dict__.get("__doc__"), operation.OPERATION_NAME
