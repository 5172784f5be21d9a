"""`atalla-plan-memory`: addresses in DRAM for everything that entry functions pass between kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from atalla_mlir._mlir import i64_array_attr, i64_attr, integer_value, ir, operations, string_value
from atalla_mlir.codegen.memory_plan import LiveBuffer, align, plan_memory
from atalla_mlir.dialects.module_attributes import DRAM_BYTES, STATE_KIND
from atalla_mlir.kernels.image_attributes import images_of
from atalla_mlir.kernels.state_results import state_results
from atalla_mlir.kernels.views import is_integer_tensor
from atalla_mlir.passes.base import Pass, PassFailure
from atalla_mlir.passes.shared_results import continued

FIRST_ADDRESS = 0x1000
ADDRESS, ADDRESSES = "atalla.address", "atalla.addresses"
NO_ADDRESS = 0
"""Of a result that stays in the pads."""
CONSTANT_KINDS = ("parameter", "constant", STATE_KIND)
"""Kinds of arguments whose content comes with the program."""
VIEWS = ("tensor.expand_shape", "tensor.collapse_shape", "tensor.cast", "linalg.generic")
"""What may stand between kernels: operations that show the bytes of their first operand in another shape."""


@dataclass(frozen=True)
class PlanMemoryPass(Pass):
    """Give each argument and each kernel result a DRAM address, reusing those whose content is dead

    Parameters and state come first and are shared between entries by name; then inputs and outputs, which keep their
    places for the host; then one arena for the values between kernels. The new content of a state lies where it is.
    """

    reuse: bool = True
    """Let buffers share addresses when they are not alive at the same time."""

    name: ClassVar[str] = "atalla-plan-memory"

    def run(self, op: ir.Operation) -> None:
        functions = [
            function
            for function in operations(op, "func.func")
            if "sym_visibility" not in function.attributes and function.regions[0].blocks
        ]
        at = FIRST_ADDRESS
        shared: dict[str, int] = {}
        for function in functions:
            at = _place_arguments(function, shared, at)
        ends = [_place_values(function, at, reuse=self.reuse) for function in functions]
        op.attributes[DRAM_BYTES] = i64_attr(max(ends, default=at))


def size_bytes(kind: ir.Type) -> int:
    """Bytes of a tensor in DRAM."""
    return math.prod(ir.ShapedType(kind).shape) * (4 if is_integer_tensor(kind) else 2)


def _place_arguments(function: ir.Operation, shared: dict[str, int], at: int) -> int:
    """Addresses as argument attributes; `shared` holds those of constants by what identifies their content."""
    if "arg_attrs" in function.attributes:
        own = [ir.DictAttr(item) for item in ir.ArrayAttr(function.attributes["arg_attrs"])]
    else:
        own = [ir.DictAttr.get({}) for _ in function.regions[0].blocks[0].arguments]
    placed: list[ir.Attribute] = []
    for argument, attributes in zip(function.regions[0].blocks[0].arguments, own, strict=True):
        key = _constant_key(attributes)
        if key and key in shared:
            address = shared[key]
        else:
            address, at = at, align(at + size_bytes(argument.type))
            if key:
                shared[key] = address
        entries = {item.name: item.attr for item in attributes}
        placed.append(ir.DictAttr.get({**entries, ADDRESS: i64_attr(address)}))
    function.attributes["arg_attrs"] = ir.ArrayAttr.get(placed)
    return at


def _constant_key(attributes: ir.DictAttr) -> str:
    if "atalla.kind" not in attributes or string_value(attributes["atalla.kind"]) not in CONSTANT_KINDS:
        return ""
    permutation = attributes["atalla.permutation"] if "atalla.permutation" in attributes else ""  # noqa: SIM401
    return f"{string_value(attributes['atalla.name'])} {permutation}"


def _place_values(function: ir.Operation, base: int, *, reuse: bool) -> int:
    block = function.regions[0].blocks[0]
    steps = [op.operation for op in block.operations]
    first: dict[ir.Value, int] = {}
    last: dict[ir.Value, int] = {}
    for step, op in enumerate(steps):
        for operand in op.operands:
            root = buffer_of(operand)
            if root in first:
                last[root] = len(steps) if op.name == "func.return" else step
        if op.name == "func.call":
            for at, result in enumerate(op.results):
                if continued(result) is None and len(op.operands) + at not in images_of(op):
                    first[result] = last[result] = step
        elif op.name not in (*VIEWS, "func.return", "tensor.empty", "arith.constant"):
            raise PassFailure(op, f"operation {op.name} between kernels has no place in memory")
    state = _updated_state(function)
    values = [value for value in first if value not in state]
    buffers: list[LiveBuffer] = []
    for at, value in enumerate(values):
        # lines of the data cache that hold integers are written back at the end, over whatever came to lie there
        keeps_place = not reuse or is_integer_tensor(value.type)
        begin, end = (0, len(steps)) if keeps_place else (first[value], last[value])
        buffers.append(LiveBuffer(str(at), size_bytes(value.type), begin, end))
    plan = plan_memory(buffers, base)
    by_value = {**dict(zip(values, plan.addresses, strict=True)), **state}
    for op in steps:
        if op.name == "func.call":
            op.attributes[ADDRESSES] = i64_array_attr(
                [by_value.get(buffer_of(result), NO_ADDRESS) for result in op.results]
            )
    return plan.end


def _updated_state(function: ir.Operation) -> dict[ir.Value, int]:
    """Kernel results that are the new content of a state -> its address."""
    block = function.regions[0].blocks[0]
    returned = block.operations[len(block.operations) - 1].operands
    places = [integer_value(ir.DictAttr(item)[ADDRESS]) for item in ir.ArrayAttr(function.attributes["arg_attrs"])]
    found: dict[ir.Value, int] = {}
    for result, argument in state_results(function).items():
        root = buffer_of(returned[result])
        if root != block.arguments[argument]:
            found[root] = places[argument]
    return found


def buffer_of(value: ir.Value) -> ir.Value:
    """The argument or kernel result whose bytes `value` shows: reshapes between kernels do not move data.

    Of a tensor that several kernels store into it is the result of the first of them.
    """
    while isinstance(value, ir.OpResult):
        op, earlier = value.owner.operation, continued(value)
        if earlier is None and op.name not in VIEWS:
            break
        value = op.operands[0] if earlier is None else earlier
    return value
