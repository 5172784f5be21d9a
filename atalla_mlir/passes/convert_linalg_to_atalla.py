"""`convert-linalg-to-atalla`: kernel functions become loops over rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from atalla_mlir._mlir import (
    array_attr,
    create_op,
    i64_array_attr,
    i64_attr,
    integer_value,
    ir,
    operations,
    string_attr,
    string_value,
)
from atalla_mlir.codegen.bounds import Bounds, kernel_bounds
from atalla_mlir.codegen.decision import Decision, DecisionError
from atalla_mlir.codegen.fetch_ahead import FirstColumns
from atalla_mlir.codegen.grouping import Group, form_groups
from atalla_mlir.codegen.iteration import Buffer, Stage
from atalla_mlir.codegen.joined_fills import join_fills
from atalla_mlir.codegen.row_plan import SumOrder
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.ahead import AHEAD, ahead_attribute
from atalla_mlir.kernels.forms import Nest, Numerics, emit_nest
from atalla_mlir.kernels.functions.bound import FunctionBound
from atalla_mlir.kernels.image_attributes import EACH_OF, FREE_ROWS, IMAGES, images_of
from atalla_mlir.kernels.image_nests import ImageNest, emit_image_nest
from atalla_mlir.kernels.linalg_stages import read_stages
from atalla_mlir.kernels.stage_list import StageList
from atalla_mlir.passes.base import Pass, PassFailure
from atalla_mlir.passes.fix_decisions import fixed_fields, json_attribute
from atalla_mlir.target.machine import Machine, machine

SUMS = "atalla.sums"
"""On a kernel's declaration: for each stage how it adds ({kind, block, depth}, see `SumOrder`), or unit."""
ORDER_FLAGS = ("is_started", "is_turned", "is_scaled")
"""Fields of an order of sums that are stated where they are true."""
EXPANSIONS = "atalla.expansions"
"""On a kernel's declaration: for each stage the bound {relative, absolute} of a function that was expanded, or unit."""
DECISIONS = "atalla.decisions"
"""On a kernel's declaration: for each loop nest what was chosen ({form, fields, facts, predicted_cycles, ways})."""
BOUNDS = "atalla.bounds"
"""On a kernel's declaration: what no code for it can go below ({bound_cycles, bound_by, bounds, compulsory_bytes,
input_bytes})."""


@dataclass(frozen=True)
class ConvertLinalgToAtallaPass(Pass):
    """Lower private functions of linalg operations to `atalla.kernel`s that work on rows in DRAM

    Lanes, loop order and blocks are chosen here, by predicted cycles; `atalla.decisions` on what is left of a function
    says what was chosen, `atalla.fixed` fixes choices (`atalla-fix-decisions`).
    """

    machine: str = "ax01"
    """Parameter set that bounds are stated for."""

    name: ClassVar[str] = "convert-linalg-to-atalla"

    def run(self, op: ir.Operation) -> None:
        target = machine(self.machine)
        for function in operations(op, "func.func"):
            if "sym_visibility" in function.attributes and function.regions[0].blocks:
                try:
                    with function.location:
                        _convert(function, target)
                except (UnsupportedError, DecisionError) as error:
                    raise PassFailure(function, str(error)) from error


def _convert(function: ir.Operation, target: Machine) -> None:
    listed = read_stages(function)
    name = string_value(function.attributes["sym_name"])
    buffers = [view.buffer for view in [*listed.arguments, *listed.results]]
    images = {buffers[at]: image for at, image in images_of(function).items()}
    bounds = _bounds(listed, target, images)
    with ir.InsertionPoint(function):
        kernel = create_op(
            "atalla.kernel",
            [],
            [],
            {
                "kernel": string_attr(name),
                "num_inputs": i64_attr(len(listed.arguments)),
                "sizes": i64_array_attr([buffer.num_elements for buffer in buffers]),
            },
            regions=1,
        )
    dram = ir.Type.parse("!atalla.dram")
    block = ir.Block.create_at_start(kernel.regions[0], [dram] * len(buffers), [function.location] * len(buffers))
    with ir.InsertionPoint(block):
        end = create_op("atalla.end")
    values = dict(zip(buffers, block.arguments, strict=True))
    numerics = Numerics()
    first_columns: FirstColumns | None = None
    with ir.InsertionPoint(end):
        if FREE_ROWS in function.attributes:
            kernel.attributes[FREE_ROWS] = function.attributes[FREE_ROWS]
        if IMAGES in function.attributes:
            free = integer_value(function.attributes[FREE_ROWS])
            each_of = integer_value(function.attributes[EACH_OF]) if EACH_OF in function.attributes else 1
            nest = ImageNest(_nests(listed, target), values, block, numerics, target, images, free, each_of)
            decisions = emit_image_nest(nest, fixed_fields(function, 0))
        else:
            ahead = AHEAD in function.attributes
            nests = [Nest(group, values, block, numerics, target, ahead) for group in _nests(listed, target)]
            decisions = [emit_nest(nest, fixed_fields(function, at)) for at, nest in enumerate(nests)]
            first_columns = nests[0].first_columns
    _make_declaration(function, listed.stages, numerics, bounds, decisions, first_columns)


def _bounds(listed: StageList, target: Machine, in_pads: Collection[Buffer]) -> Bounds:
    """Before stages are grouped: of the operation, not of what is made of it."""
    inputs, outputs = ([view.buffer for view in views] for views in (listed.arguments, listed.results))
    return kernel_bounds(listed.stages, inputs, outputs, target, in_pads)


def _make_declaration(
    function: ir.Operation,
    stages: Sequence[Stage],
    numerics: Numerics,
    bounds: Bounds,
    decisions: Sequence[Decision],
    first_columns: FirstColumns | None,
) -> None:
    """Drop the body: callers keep the symbol and its tensor types, the kernel of the same name implements it."""
    names = ("sym_name", "sym_visibility", "function_type", IMAGES)
    attributes = {key: function.attributes[key] for key in names if key in function.attributes}
    attributes[BOUNDS] = _bounds_attribute(bounds)
    attributes[DECISIONS] = array_attr([json_attribute(decision.to_json()) for decision in decisions])
    if first_columns is not None:
        attributes[AHEAD] = ahead_attribute(first_columns)
    if numerics.sums:
        attributes[SUMS] = array_attr([_sum_attribute(numerics.sums.get(stage)) for stage in stages])
    if numerics.expansions:
        attributes[EXPANSIONS] = array_attr([_bound_attribute(numerics.expansions.get(stage)) for stage in stages])
    with ir.InsertionPoint(function):
        create_op("func.func", [], [], attributes, regions=1)
    function.erase()


def _bounds_attribute(bounds: Bounds) -> ir.Attribute:
    return ir.DictAttr.get({**bound_fields(bounds), "input_bytes": i64_array_attr(bounds.input_bytes)})


def bound_fields(bounds: Bounds) -> dict[str, ir.Attribute]:
    """What metadata and reports say about a kernel or an entry."""
    return {
        "bound_cycles": i64_attr(bounds.bound_cycles),
        "bound_by": string_attr(bounds.bound_by),
        "bounds": ir.DictAttr.get({resource: i64_attr(cycles) for resource, cycles in bounds.cycles.items()}),
        "compulsory_bytes": i64_attr(bounds.compulsory_bytes),
    }


def _sum_attribute(order: SumOrder | None) -> ir.Attribute:
    if order is None:
        return ir.UnitAttr.get()
    return ir.DictAttr.get(
        {
            "kind": string_attr(order.kind),
            "block": i64_attr(order.block),
            "depth": i64_attr(order.depth),
            **{name: i64_attr(1) for name in ORDER_FLAGS if getattr(order, name)},
        }
    )


def _bound_attribute(bound: FunctionBound | None) -> ir.Attribute:
    if bound is None:
        return ir.UnitAttr.get()
    kind = ir.F64Type.get()
    return ir.DictAttr.get(
        {
            "relative": ir.FloatAttr.get(kind, bound.relative),
            "absolute": ir.FloatAttr.get(kind, bound.absolute),
        }
    )


def _nests(listed: StageList, target: Machine) -> list[Group]:
    """The stages as groups with unified loops; parts of a concatenation are nests of their own, a frame is one."""
    results = {view.buffer for view in listed.results}
    groups = form_groups(listed.stages, list(range(len(listed.stages))), results)
    return join_fills(groups, target.pads)
