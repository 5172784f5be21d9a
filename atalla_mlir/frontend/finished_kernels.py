"""Calls of finished kernels in an imported module: declarations with object code, past torch-mlir's passes.

torch-mlir turns the types of a `func.call` into tensors like all others, but its last pass refuses the call itself; a
module with calls does without that pass, and what it would have found is looked for here.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from torch import fx

from atalla_mlir._mlir import (
    PassManager,
    array_attr,
    create_op,
    ir,
    location_names,
    operations,
    string_attr,
    string_value,
    symbol_attr,
)
from atalla_mlir.errors import InternalError, UnsupportedError
from atalla_mlir.frontend.custom_operations import CustomOperation

OBJECT, INPUTS = "atalla.object", "atalla.inputs"
_REFUSAL = ",torch-verify-linalg-on-tensors-backend-contract"


class FinishedKernels:
    """The finished kernels of one module; calls with the same code share a declaration."""

    def __init__(self, module: ir.Module) -> None:
        self._module = module
        self._names: dict[bytes, str] = {}
        self._inputs: dict[tuple[str, str], list[str]] = {}
        """Names of what a call reads, by its entry and node: torch-mlir keeps no attributes of a call."""
        self.entry = ""
        """The function that is being imported."""

    def call(
        self,
        custom: CustomOperation,
        node: fx.Node,
        operands: Sequence[ir.Value],
        result: ir.Type,
        location: ir.Location,
    ) -> ir.Value:
        """The call that `node` is, at the current insertion point; its result."""
        code = custom.object_code(custom.arguments(node))
        self._inputs[self.entry, node.name] = [operand.name for operand in custom.operands(node)]
        if code not in self._names:
            self._names[code] = name = f"asm{len(self._names)}_{custom.overload.overloadpacket.__name__}"
            self._declare(name, code, [operand.type for operand in operands], result, location)
        callee = {"callee": symbol_attr(self._names[code])}
        return create_op("func.call", [result], operands, callee, location).results[0]

    def _declare(
        self, name: str, code: bytes, inputs: Sequence[ir.Type], result: ir.Type, location: ir.Location
    ) -> None:
        kind = ir.FunctionType.get(inputs, [result], context=self._module.context)
        with location, ir.InsertionPoint.at_block_begin(self._module.body):
            attributes = {
                "sym_name": string_attr(name),
                "sym_visibility": string_attr("private"),
                "function_type": ir.TypeAttr.get(kind),
                OBJECT: string_attr(base64.b64encode(code).decode("ascii")),
            }
            create_op("func.func", [], [], attributes, regions=1)

    def linalg_pipeline(self, text: str) -> str:
        """`text`, a pipeline that ends with the pass which refuses calls, without that pass when there are calls."""
        if not self._names:
            return text
        with self._module.context:
            passes = str(PassManager.parse(text))
        if _REFUSAL not in passes:
            raise InternalError(f"torch-mlir's pipeline does not check its result any more: {passes}")
        return passes.replace(_REFUSAL, "")

    def finish(self) -> None:
        """Name what the calls read, and refuse what the passes left in PyTorch's own operations."""
        with self._module.context:
            for function in operations(self._module.operation, "func.func") if self._names else ():
                for op in operations(function):
                    self._finish(string_value(function.attributes["sym_name"]), op)

    def _finish(self, entry: str, op: ir.Operation) -> None:
        if op.name.startswith("torch"):
            raise UnsupportedError(f"torch-mlir cannot lower the model: {op.name} stays (at {op.location})")
        if op.name == "func.call":
            node = location_names(op.location)[0]
            op.attributes[INPUTS] = array_attr([string_attr(name) for name in self._inputs[entry, node]])
