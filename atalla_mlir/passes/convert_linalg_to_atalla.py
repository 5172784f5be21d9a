"""`convert-linalg-to-atalla`: kernel functions become loops over rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from atalla_mlir._mlir import array_attr, create_op, i64_array_attr, i64_attr, ir, operations, string_attr, string_value
from atalla_mlir.codegen.attention_pattern import AttentionStages, unify
from atalla_mlir.codegen.attention_plan import plan_attention
from atalla_mlir.codegen.bounds import Bounds, kernel_bounds
from atalla_mlir.codegen.column_plan import ColumnPlan, plan_columns
from atalla_mlir.codegen.grouping import Group, form_groups
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Stage, StageKind, coalesce_loops
from atalla_mlir.codegen.phase_plan import PhasePlan, plan_phases
from atalla_mlir.codegen.product_plan import choose_product_plan
from atalla_mlir.codegen.row_plan import LANES, SumOrder, choose_row_plan
from atalla_mlir.codegen.tile_cost import choose_tile_schedule
from atalla_mlir.codegen.turn_plan import plan_turn
from atalla_mlir.codegen.vector_product_plan import choose_vector_product
from atalla_mlir.codegen.window_plan import plan_windows
from atalla_mlir.errors import InternalError, UnsupportedError
from atalla_mlir.kernels.arg_extremes import ArgExtremeKernel
from atalla_mlir.kernels.attention import AttentionKernel
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.column_folds import ColumnFolds
from atalla_mlir.kernels.functions.bound import FunctionBound
from atalla_mlir.kernels.gathers import GatherKernel
from atalla_mlir.kernels.integer_builder import IntegerBuilder
from atalla_mlir.kernels.integers import IntegerKernel
from atalla_mlir.kernels.linalg_stages import StageList, read_stages
from atalla_mlir.kernels.phased_rows import PhasedRows
from atalla_mlir.kernels.products import ProductKernel
from atalla_mlir.kernels.rows import RowKernel
from atalla_mlir.kernels.tiled_product import TiledProduct
from atalla_mlir.kernels.turned_tiles import TurnedTiles
from atalla_mlir.kernels.vector_products import VectorProduct
from atalla_mlir.kernels.windows import WindowKernel
from atalla_mlir.passes.base import Pass, PassFailure
from atalla_mlir.target.machine import Machine, machine

SPILL_ROWS = 256
"""Rows of a pad that the register allocator may spill to."""

SUMS = "atalla.sums"
"""On a kernel's declaration: for each stage how it adds ({kind, block, depth}, see `SumOrder`), or unit."""
EXPANSIONS = "atalla.expansions"
"""On a kernel's declaration: for each stage the bound {relative, absolute} of a function that was expanded, or unit."""

BOUNDS = "atalla.bounds"
"""On a kernel's declaration: what no code for it can go below ({bound_cycles, bound_by, bounds, compulsory_bytes,
input_bytes})."""


@dataclass(frozen=True)
class ConvertLinalgToAtallaPass(Pass):
    """Lower private functions of linalg operations to `atalla.kernel`s that work on rows in DRAM

    Lanes, loop order and blocks are chosen here, by the cost of the rows touched.
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
                except UnsupportedError as error:
                    raise PassFailure(function, str(error)) from error


def _convert(function: ir.Operation, target: Machine) -> None:
    listed = read_stages(function)
    bounds = _bounds(listed, target)
    name = string_value(function.attributes["sym_name"])
    buffers = [view.buffer for view in [*listed.arguments, *listed.results]]
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
    for group in _nests(listed):
        _emit(group, values, block, end, numerics, target)
    _make_declaration(function, listed.stages, numerics, bounds)


def _bounds(listed: StageList, target: Machine) -> Bounds:
    """Before stages are grouped: of the operation, not of what is made of it."""
    inputs, outputs = ([view.buffer for view in views] for views in (listed.arguments, listed.results))
    return kernel_bounds(listed.stages, inputs, outputs, target)


@dataclass
class Numerics:
    """What error bounds must know about stages: the order of their sums, and functions that were expanded."""

    sums: dict[Stage, SumOrder] = field(default_factory=dict[Stage, SumOrder])
    expansions: dict[Stage, FunctionBound] = field(default_factory=dict[Stage, FunctionBound])


def _make_declaration(function: ir.Operation, stages: Sequence[Stage], numerics: Numerics, bounds: Bounds) -> None:
    """Drop the body: callers keep the symbol and its tensor types, the kernel of the same name implements it."""
    names = ("sym_name", "sym_visibility", "function_type")
    attributes = {key: function.attributes[key] for key in names}
    attributes[BOUNDS] = _bounds_attribute(bounds)
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
            **({"is_started": i64_attr(1)} if order.is_started else {}),
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


def _nests(listed: StageList) -> list[Group]:
    """The stages as groups with unified loops; parts of a concatenation or padding are nests of their own."""
    results = {view.buffer for view in listed.results}
    return form_groups(listed.stages, list(range(len(listed.stages))), results)


def _emit(
    group: Group,
    values: dict[Buffer, ir.Value],
    block: ir.Block,
    end: ir.Operation,
    numerics: Numerics,
    target: Machine,
) -> None:
    """Emit one loop nest and note what error bounds must know about it."""
    stages = group.stages
    builder = Builder()
    if group.attention is not None:
        with ir.InsertionPoint(end):
            _emit_attention(builder, group.attention, values, block, numerics)
        return
    stored = _stored(stages, values)
    with ir.InsertionPoint(end):
        windows = plan_windows(stages, stored)
        if windows is not None:
            walk = WindowKernel(builder, stages, windows, values, block)
            walk.emit()
            numerics.sums.update(walk.sum_orders())
            numerics.expansions.update(walk.expansions)
            return
        coalesce_loops(stages)
        if stages[0].is_scalar:
            _scalar_kernel(stages[0], values, block).emit()
            return
        if stages[0].kind is StageKind.PRODUCT:
            plan = choose_product_plan(stages[0], stored)
            vector = choose_vector_product(plan, stages[0], stages[1:], pads=target.pads)
            if vector is not None:
                product = VectorProduct(builder, stages[0], stages[1:], vector, values, block)
                numerics.sums[stages[0]] = product.sum_order()
                product.emit()
                if product.rows_kernel is not None:
                    numerics.expansions.update(product.rows_kernel.expansions)
                return
            walk = choose_tile_schedule(
                plan, stages[0], stages[1:], stored, pads=target.pads, pad_rows=_product_rows(target)
            )
            if walk is not None:
                product = TiledProduct(builder, stages[0], stages[1:], plan, walk, values, block)
                numerics.sums.update(product.sum_orders())
            else:
                product = ProductKernel(builder, stages[0], stages[1:], plan, values, block)
                numerics.sums[stages[0]] = product.sum_order()
            product.emit()
            numerics.expansions.update(product.rows_kernel.expansions)
            return
        turn = plan_turn(stages)
        if turn is not None:
            TurnedTiles(IntegerBuilder(), turn, values, block).emit()
            return
        columns = plan_columns(stages, stored)
        if columns is not None and _emit_columns(builder, columns, stages, stored, values, block, numerics):
            return
        phased = _emit_phases(builder, stages, stored, values, block, numerics)
        if phased is not None and phased.done_rows == phased.row.extent:
            return
        kernel = RowKernel(builder, stages, choose_row_plan(stages, stored), values, block)
        if phased is not None:
            kernel.emit_rest(phased.row, phased.done_rows)
            return
        kernel.emit()
    numerics.sums.update({s: order for s, order in zip(stages, kernel.sum_orders(), strict=True) if order is not None})
    numerics.expansions.update(kernel.expansions)


def _emit_attention(
    builder: Builder,
    found: AttentionStages,
    values: dict[Buffer, ir.Value],
    block: ir.Block,
    numerics: Numerics,
) -> None:
    attention = unify(found)
    plan = attention if isinstance(attention, str) else plan_attention(attention)
    if isinstance(attention, str) or isinstance(plan, str):
        raise InternalError(f"attention was fused, but {plan}")
    kernel = AttentionKernel(builder, attention, plan, values, block)
    kernel.emit()
    numerics.sums.update(kernel.sum_orders())
    numerics.expansions.update(kernel.expansions)


def _emit_columns(
    builder: Builder,
    plan: ColumnPlan,
    stages: list[Stage],
    stored: list[Access],
    values: dict[Buffer, ir.Value],
    block: ir.Block,
    numerics: Numerics,
) -> bool:
    """Emit a kernel that folds rows; not where columns beyond the full chunks need other lanes."""
    rows = choose_row_plan(stages, stored)
    if plan.lane.extent % LANES and not (rows.lane is plan.lane and rows.lane_is_outer):
        return False
    kernel = ColumnFolds(builder, plan, values, block)
    kernel.emit()
    numerics.sums.update(kernel.sum_orders())
    numerics.expansions.update(kernel.expansions)
    if plan.lane.extent % LANES:
        RowKernel(builder, stages, rows, values, block).emit_rest(plan.lane, plan.chunks * LANES)
    return True


def _emit_phases(
    builder: Builder,
    stages: list[Stage],
    stored: list[Access],
    values: dict[Buffer, ir.Value],
    block: ir.Block,
    numerics: Numerics,
) -> PhasePlan | None:
    """Emit the steps of kernels that are loops of them; None for others."""
    plan = plan_phases(stages, stored)
    if plan is None:
        return None
    kernel = PhasedRows(builder, stages, plan, values, block)
    kernel.emit()
    numerics.sums.update(kernel.sum_orders())
    numerics.expansions.update(kernel.expansions)
    return plan


def _product_rows(target: Machine) -> int:
    """Rows of each pad for a product: what the register allocator may spill to is on one of them."""
    return target.pad_rows - SPILL_ROWS


def _scalar_kernel(
    stage: Stage, values: dict[Buffer, ir.Value], block: ir.Block
) -> IntegerKernel | GatherKernel | ArgExtremeKernel:
    builder = IntegerBuilder()
    if stage.combine in (Combine.ARGMAX, Combine.ARGMIN):
        return ArgExtremeKernel(builder, stage, values)
    if (stage.is_gather or stage.write.indirect) and not stage.write.buffer.is_integer:
        return GatherKernel(builder, stage, values, block)
    return IntegerKernel(builder, stage, values)


def _stored(stages: list[Stage], values: dict[Buffer, ir.Value]) -> list[Access]:
    stored = [stage.write for stage in stages if stage.write.buffer in values]
    if not stored:
        raise UnsupportedError("a kernel without results")
    for access in stored:
        if math.prod(loop.extent for loop in access.strides) > access.buffer.num_elements:
            raise UnsupportedError("a result that is written more than once")
    return stored
