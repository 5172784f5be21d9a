"""Small passes that show each behaviour of the pass machinery.

`atalla-opt --load-pass-plugin=atalla_mlir.testing.passes` knows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from atalla_mlir._mlir import bool_attr, i64_attr, ir, operations, string_attr
from atalla_mlir.errors import LimitError
from atalla_mlir.passes import register_pass
from atalla_mlir.passes.base import Pass, PassFailure


@register_pass
@dataclass(frozen=True)
class MarkPass(Pass):
    """Put the pass's options as attributes on its operation."""

    name: ClassVar[str] = "test-mark"
    anchor: ClassVar[str] = "any"

    count: int = 1
    """Value of `test.count`."""
    flag: bool = False
    """Value of `test.flag`."""
    label: str = ""
    """Value of `test.label`; nothing when empty."""
    sizes: tuple[int, ...] = ()
    """Values of `test.sizes`; nothing when empty."""

    def run(self, op: ir.Operation) -> None:
        op.attributes["test.count"] = i64_attr(self.count)
        op.attributes["test.flag"] = bool_attr(self.flag)
        if self.label:
            op.attributes["test.label"] = string_attr(self.label)
        if self.sizes:
            op.attributes["test.sizes"] = ir.DenseI64ArrayAttr.get(list(self.sizes))


@register_pass
@dataclass(frozen=True)
class FunctionPass(Pass):
    """Do nothing, but only on functions."""

    name: ClassVar[str] = "test-function"
    anchor: ClassVar[str] = "func.func"

    def run(self, op: ir.Operation) -> None:
        pass


@register_pass
@dataclass(frozen=True)
class FailPass(Pass):
    """Fail in the chosen way at the first arith.addi."""

    name: ClassVar[str] = "test-fail"
    anchor: ClassVar[str] = "any"

    how: str = "failure"
    """failure, limit, bug, emit (report only), break (leave IR that does not verify)."""

    def run(self, op: ir.Operation) -> None:
        found = operations(op, "arith.addi")
        if not found:
            return
        culprit = found[0]
        match self.how:
            case "failure":
                raise PassFailure(culprit, "addition is not supported", [(op.location, "in here")])
            case "limit":
                raise LimitError("12 KiB do not fit in 8 KiB")
            case "bug":
                raise KeyError("lost")
            case "emit":
                for each in found:
                    each.location.emit_error("addition is not supported")
            case _:
                culprit.attributes["overflowFlags"] = string_attr("nonsense")
                op.attributes["function_type"] = string_attr("nonsense")
