"""The text of `docs/dialects.md`, made from the definitions of the dialects.

`python -m atalla_mlir.tools.dialect_page > docs/dialects.md` writes it again.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Any

from atalla_mlir._mlir import ext, ir
from atalla_mlir.dialects import atalla, atalla_integers, atalla_rows, ax01
from atalla_mlir.dialects.ax01_instructions import is_pure
from atalla_mlir.target import isa

_HEAD = """\
# Dialects

<!-- made by atalla_mlir/tools/dialect_page.py from the definitions; `make docs` writes it again -->

Operations are printed in MLIR's generic form: `%r = "dialect.op"(%operands) {attributes} : (types) -> types`.
Attributes that are not listed here (`atalla.*`) may stand on any operation and carry what a pass tells a later one.
"""

_TRAITS = {
    ext.Pure: "no side effects",
    ir.IsTerminatorTrait: "ends its block",
    ir.IsIsolatedFromAboveTrait: "uses no value from outside its region",
    ir.NoTerminatorTrait: "its block needs no terminator",
}


def page() -> str:
    """The whole page."""
    parts = [
        _HEAD,
        *_dialect(atalla.Atalla, atalla, [], [atalla_integers, atalla_rows]),
        *_dialect(ax01.Ax01, ax01, list(ax01.INSTRUCTION_OPS.values())),
    ]
    parts.append(_instruction_table())
    return "\n".join(parts)


def _dialect(dialect: Any, module: Any, left_out: list[Any], parts: Sequence[Any] = ()) -> Iterator[str]:
    yield f"## `{dialect.DIALECT_NAMESPACE}`\n"
    yield f"{inspect.getdoc(module)}\n"
    for part in parts:
        yield f"{inspect.getdoc(part)}\n"
    yield "| type | meaning |\n|---|---|"
    for kind in dialect.types:
        yield f"| `{_type_syntax(kind)}` | {_one_line(kind) or ''} |"
    yield ""
    for operation in dialect.operations:
        if operation not in left_out:
            yield from _operation(operation)


def _operation(operation: Any) -> Iterator[str]:
    yield f"### `{operation.OPERATION_NAME}`\n"
    yield f"{inspect.getdoc(operation)}\n"
    facts = list(_facts(operation))
    if facts:
        yield "\n".join(f"* {fact}" for fact in facts) + "\n"


def _facts(operation: Any) -> Iterator[str]:
    kinds = {"operands": ext.OperandDef, "attributes": ext.AttributeDef, "results": ext.ResultDef}
    for title, kind in kinds.items():
        fields = [_field(field) for field in operation._fields if isinstance(field, kind)]
        if fields:
            yield f"{title}: {', '.join(fields)}"
    regions = [f"`{field.name}`" for field in operation._fields if isinstance(field, ext.RegionDef)]
    if regions:
        yield f"region: {', '.join(regions)}"
    traits = [_TRAITS[trait] for trait in operation._traits]
    if traits:
        yield "; ".join(traits)


def _field(field: Any) -> str:
    many = {ext.Variadicity.variadic: "any number of ", ext.Variadicity.optional: "optional "}
    return f"`{field.name}` ({many.get(field.variadicity, '')}{_constraint(field.constraint)})"


def _constraint(constraint: Any) -> str:
    if constraint is Any:
        return "any"
    if isinstance(constraint, UnionType) or typing.get_origin(constraint) is typing.Union:
        return " or ".join(_constraint(inner) for inner in typing.get_args(constraint))
    if issubclass(constraint, ext.Type):
        return f"`{_type_syntax(constraint)}`"
    name = constraint.type_name if issubclass(constraint, ir.Type) else constraint.attr_name
    return str(name).removeprefix("builtin.").replace("_", " ")


def _type_syntax(kind: Any) -> str:
    parameters = ", ".join(field.name for field in kind._fields)
    return f"!{kind.type_name}<{parameters}>" if parameters else f"!{kind.type_name}"


def _one_line(documented: Any) -> str | None:
    """The first line of its own docstring; base classes of the bindings have some too."""
    own = documented.__dict__.get("__doc__")
    return own.split("\n", 1)[0] if own else None


def _instruction_table() -> str:
    lines = [
        "### Instructions\n",
        "One operation per row of the instruction table. `old` is optional; \u2217 marks those without side effects.\n",
        "| operation | operands | attributes | result | meaning |",
        "|---|---|---|---|---|",
    ]
    for instruction in isa.INSTRUCTIONS:
        operation: Any = ax01.INSTRUCTION_OPS[instruction.op_name]
        operands, attributes, results = (
            ", ".join(f"`{field.name}`" for field in operation._fields if isinstance(field, kind))
            for kind in (ext.OperandDef, ext.AttributeDef, ext.ResultDef)
        )
        pure = "\u2217" if is_pure(instruction) else ""
        meaning = instruction.semantics.replace("|", "\\|")
        lines.append(f"| `ax01.{instruction.op_name}`{pure} | {operands} | {attributes} | {results} | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
