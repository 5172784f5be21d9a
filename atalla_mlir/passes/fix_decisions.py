"""`atalla-fix-decisions`: what a user has decided about kernels is written on their functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from atalla_mlir._mlir import array_attr, bool_attr, i64_attr, ir, operations, string_attr, string_value
from atalla_mlir.codegen.decision import Fields, Value
from atalla_mlir.codegen.decision_rules import Rule, read_rules, shape_text
from atalla_mlir.errors import BadInputError
from atalla_mlir.passes.base import Pass

FIXED = "atalla.fixed"
"""On a kernel's function: array of {fix, nest}, the fields that are fixed and of which loop nest (none: of all)."""
_SHOWN_KERNELS = 20


@dataclass(frozen=True)
class FixDecisionsPass(Pass):
    """Note on kernels what a user has decided about them; `convert-linalg-to-atalla` keeps to it

    The rules are a JSON list: [{"kernel": PATTERN, "result": SHAPE, "nest": N, "fix": {FIELD: VALUE, ..}}, ..].
    """

    rules: str = ""
    """The rules as JSON."""
    file: str = ""
    """A file with rules, which come before those of `rules`."""
    early: bool = False
    """Pass over rules that no kernel matches: `atalla-keep-images`, which must know what is fixed, makes some."""

    name: ClassVar[str] = "atalla-fix-decisions"

    def run(self, op: ir.Operation) -> None:
        rules = [*(read_rules(_text(self.file)) if self.file else ()), *(read_rules(self.rules) if self.rules else ())]
        functions = [
            function
            for function in operations(op, "func.func")
            if "sym_visibility" in function.attributes and function.regions[0].blocks
        ]
        names = {string_value(function.attributes["sym_name"]): set[str]() for function in functions}
        for call in operations(op, "func.call"):
            callee = string_value(call.attributes["callee"])
            if callee in names and "atalla.nodes" in call.attributes:
                names[callee] |= {string_value(node) for node in ir.ArrayAttr(call.attributes["atalla.nodes"])}
        used: set[int] = set()
        for function in functions:
            own = string_value(function.attributes["sym_name"])
            found = [
                at for at, rule in enumerate(rules) if rule.matches((own, *sorted(names[own])), _results(function))
            ]
            used |= set(found)
            if found:
                function.attributes[FIXED] = array_attr([_attribute(rules[at]) for at in found])
            elif FIXED in function.attributes:  # of the kernel that it is a copy of
                del function.attributes[FIXED]
        unused = next((rule for at, rule in enumerate(rules) if at not in used), None)
        if unused is not None and not self.early:
            raise BadInputError(f"no kernel for the decision about {unused}; there are {_listed(functions)}")


def fixed_fields(function: ir.Operation, nest: int) -> Fields:
    """What is fixed about a loop nest of a kernel."""
    found: dict[str, Value] = {}
    for row in ir.ArrayAttr(function.attributes[FIXED]) if FIXED in function.attributes else ():
        fields = ir.DictAttr(row)
        if "nest" not in fields or ir.IntegerAttr(fields["nest"]).value == nest:
            found.update({item.name: _value(item.attr) for item in ir.DictAttr(fields["fix"])})
    return found


def json_attribute(value: Any) -> ir.Attribute:
    """JSON data as an attribute."""
    if isinstance(value, bool):
        return bool_attr(value)
    if isinstance(value, int):
        return i64_attr(value)
    if isinstance(value, str):
        return string_attr(value)
    return ir.DictAttr.get({key: json_attribute(item) for key, item in value.items()})


def _value(attribute: ir.Attribute) -> Value:
    if isinstance(attribute, (ir.BoolAttr, ir.IntegerAttr)):
        return attribute.value
    return string_value(attribute)


def _attribute(rule: Rule) -> ir.Attribute:
    nest = {} if rule.nest is None else {"nest": rule.nest}
    return json_attribute({"fix": dict(rule.fix), **nest})


def _results(function: ir.Operation) -> list[list[int]]:
    kind = ir.FunctionType(ir.TypeAttr(function.attributes["function_type"]).value)
    return [list(ir.ShapedType(result).shape) for result in kind.results]


def _listed(functions: Sequence[ir.Operation]) -> str:
    texts = [
        f"{string_value(function.attributes['sym_name'])} ({' '.join(map(shape_text, _results(function)))})"
        for function in functions
    ]
    dots = [".."] if len(texts) > _SHOWN_KERNELS else []
    return ", ".join([*texts[:_SHOWN_KERNELS], *dots]) or "none"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
