"""`atalla-fetch-ahead`: kernels that wait for parameters get the first of them from the kernel before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from atalla_mlir._mlir import ir, operations, string_value
from atalla_mlir.codegen.fetch_ahead import first_columns
from atalla_mlir.codegen.grouping import form_groups
from atalla_mlir.codegen.iteration import coalesce_loops
from atalla_mlir.codegen.product_plan import choose_product_plan
from atalla_mlir.codegen.vector_product_plan import choose_vector_product
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.ahead import AHEAD
from atalla_mlir.kernels.image_attributes import FREE_ROWS
from atalla_mlir.kernels.linalg_stages import read_stages
from atalla_mlir.passes.base import Pass
from atalla_mlir.passes.pack_constants import CONSTANT_KINDS
from atalla_mlir.passes.plan_memory import buffer_of
from atalla_mlir.passes.views import argument_attributes
from atalla_mlir.target.machine import Machine, machine


@dataclass(frozen=True)
class FetchAheadPass(Pass):
    """Let products of one row fetch the first columns of the next one's matrix when they have fetched their own

    `atalla.ahead` on a kernel lets its callers pass what is next. It is set on kernels that an entry calls before or
    behind each other, be there others between them, where the later one's matrix is a parameter.
    """

    machine: str = "ax01"
    """Parameter set that gives the number of the pads."""

    name: ClassVar[str] = "atalla-fetch-ahead"

    def run(self, op: ir.Operation) -> None:
        target = machine(self.machine)
        functions = [function for function in operations(op, "func.func") if function.regions[0].blocks]
        kernels = {
            string_value(function.attributes["sym_name"]): function
            for function in functions
            if "sym_visibility" in function.attributes
        }
        operands = {name: _matrix(function, target) for name, function in kernels.items()}
        for function in functions:
            if "sym_visibility" in function.attributes:
                continue
            before: ir.Operation | None = None
            for call in operations(function, "func.call"):
                name = string_value(call.attributes["callee"])
                operand = operands.get(name)
                if operand is None:
                    continue
                if before is not None and _is_parameter(function, buffer_of(call.operands[operand])):
                    before.attributes[AHEAD] = kernels[name].attributes[AHEAD] = ir.UnitAttr.get()
                before = kernels[name]


def _is_parameter(function: ir.Operation, value: ir.Value) -> bool:
    """Whether nobody writes a value while the program runs; a state is no parameter."""
    if not isinstance(value, ir.BlockArgument):
        return False
    own = argument_attributes(function, value)
    return "atalla.kind" in own and string_value(own["atalla.kind"]) in CONSTANT_KINDS


def _matrix(function: ir.Operation, target: Machine) -> int | None:
    """The operand of a kernel that is the matrix of a row times a matrix; None for any other kernel."""
    if FREE_ROWS in function.attributes:
        return None
    try:
        listed = read_stages(function)
    except UnsupportedError:  # whoever lowers it says so
        return None
    results = {view.buffer for view in listed.results}
    groups = form_groups(listed.stages, list(range(len(listed.stages))), results)
    if len(groups) != 1 or groups[0].product is None or groups[0].is_special:
        return None
    stages = groups[0].stages
    coalesce_loops(stages)
    product, *epilogue = stages
    stored = [stage.write for stage in stages if stage.write.buffer in results]
    plan = choose_vector_product(choose_product_plan(product, stored), product, epilogue, pads=target.pads)
    arguments = [view.buffer for view in listed.arguments]
    if plan is None or plan.matrix.buffer not in arguments or first_columns(plan, 0) is None:
        return None
    return arguments.index(plan.matrix.buffer)
