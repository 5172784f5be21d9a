"""Verifiers run before the checks that IRDL derives from the definitions, so they must bear anything that parses."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from atalla_mlir import _mlir
from atalla_mlir._mlir import ir
from atalla_mlir.dialects import atalla, ax01

OPERATIONS = [*atalla.Atalla.operations, *ax01.Ax01.operations]
REGIONS = ["", "({})", "({}, {})", "({\n})", '({\n"ax01.nop_s"() : () -> ()\n})', '({\n"ax01.end"() : () -> ()\n})']


def _variants(operation: Any) -> list[str]:
    name = operation.OPERATION_NAME
    attributes = [field.name for field in operation._fields if isinstance(field, _mlir.ext.AttributeDef)]
    values = ["", "1 : i32", "-1 : i64", '"text"', "unit", "0.5 : f32", "[]", "@f", "affine_map<(d0) -> (d0)>"]
    dictionaries = [f"{{{', '.join(f'{key} = {value}' for key in attributes)}}}" if value else "" for value in values]
    signatures = [
        ("", "() -> ()"),
        ("", "() -> i32"),
        ("%i", "(i32) -> ()"),
        ("%x", "(!ax01.x<300 : i32>) -> !ax01.sreg"),
        (
            "%i, %x, %s, %v, %x, %x",
            "(i32, !ax01.x<300 : i32>, !ax01.sreg, !ax01.vreg, !ax01.x<300 : i32>, "
            "!ax01.x<300 : i32>) -> (!ax01.vreg, !ax01.x<-1 : i32>, !ax01.mreg)",
        ),
    ]
    return [
        f'"{name}"({operands}) {region} {dictionary} : {types}'
        for operands, types in signatures
        for dictionary in dictionaries
        for region in REGIONS
    ]


@pytest.fixture(scope="module")
def context() -> ir.Context:
    return _mlir.context(allow_unregistered_dialects=True)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.OPERATION_NAME)
def test_malformed_operations_are_diagnosed(context: ir.Context, operation: Any) -> None:
    defined = (
        '%i = "t.i"() : () -> i32\n%x = "t.x"() : () -> !ax01.x<300 : i32>\n'
        '%s = "t.s"() : () -> !ax01.sreg\n%v = "t.v"() : () -> !ax01.vreg\n'
    )
    for variant in _variants(operation):
        with contextlib.suppress(ir.MLIRError):  # any other exception is a bug of a verifier
            ir.Module.parse(defined + variant, context)
