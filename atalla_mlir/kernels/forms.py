"""The forms that a loop nest can have: which code is emitted for it, and by which plan.

Forms are tried in order; the first one that the nest has is taken, unless a user has fixed another one. Each states its
decision before anything is emitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_images import attention_decision
from atalla_mlir.codegen.attention_pattern import unify
from atalla_mlir.codegen.attention_planning import plan_attention
from atalla_mlir.codegen.column_plan import plan_columns
from atalla_mlir.codegen.copy_plan import plan_copy
from atalla_mlir.codegen.decision import FORM, Decision, DecisionError, Fields, allowed, check_names
from atalla_mlir.codegen.fetch_ahead import FirstColumns
from atalla_mlir.codegen.flow_plan import FlowPlan, choose_flow_plan
from atalla_mlir.codegen.grouping import Group
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Stage, StageKind, coalesce_loops
from atalla_mlir.codegen.phase_plan import plan_phases
from atalla_mlir.codegen.product_chain import chained_buffer, plan_chain
from atalla_mlir.codegen.product_plan import ProductPlan, choose_product_plan, with_scalars
from atalla_mlir.codegen.row_plan import RowPlan, SumOrder, choose_row_plan, row_fields, row_plans
from atalla_mlir.codegen.stream_plan import choose_stream_plan
from atalla_mlir.codegen.tile_cost import choose_tile_schedule
from atalla_mlir.codegen.tile_epilogue import tile_epilogue
from atalla_mlir.codegen.tile_schedule import TileSchedule
from atalla_mlir.codegen.turn_plan import plan_turn
from atalla_mlir.codegen.turned_product import turned_plans
from atalla_mlir.codegen.vector_product_plan import choose_vector_product
from atalla_mlir.codegen.window_plan import plan_windows
from atalla_mlir.errors import InternalError, UnsupportedError
from atalla_mlir.kernels.arg_extremes import ArgExtremeKernel
from atalla_mlir.kernels.attention import AttentionKernel
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.chained_products import ChainedProducts
from atalla_mlir.kernels.column_folds import ColumnFolds
from atalla_mlir.kernels.copies import Copy
from atalla_mlir.kernels.fills import Fill
from atalla_mlir.kernels.flowing_product import FlowingProduct
from atalla_mlir.kernels.functions.bound import FunctionBound
from atalla_mlir.kernels.gathers import GatherKernel
from atalla_mlir.kernels.integer_builder import IntegerBuilder
from atalla_mlir.kernels.integers import IntegerKernel
from atalla_mlir.kernels.phased_rows import PhasedRows
from atalla_mlir.kernels.products import ProductKernel
from atalla_mlir.kernels.rows import RowKernel
from atalla_mlir.kernels.streamed_product import StreamedProduct
from atalla_mlir.kernels.tiled_product import TiledProduct
from atalla_mlir.kernels.turned_tiles import TurnedTiles
from atalla_mlir.kernels.vector_products import VectorProduct
from atalla_mlir.kernels.windows import WindowKernel
from atalla_mlir.target.machine import Machine

SPILL_ROWS = 256
"""Rows of a pad that the register allocator may spill to."""
MARGINS = {"streamed product": 1 / 1.12, "flowing product": 1.1}
"""What the cycles predicted for a product are multiplied by before they are compared: tiles of one step are slower than
predicted, and a flow should be worth its long code."""


@dataclass
class Numerics:
    """What error bounds must know about stages: the order of their sums, and functions that were expanded."""

    sums: dict[Stage, SumOrder] = field(default_factory=dict[Stage, SumOrder])
    expansions: dict[Stage, FunctionBound] = field(default_factory=dict[Stage, FunctionBound])


@dataclass
class Nest:
    """A loop nest to emit: `values` are the kernel's DRAM arguments by buffer, `block` is the kernel's body."""

    group: Group
    values: dict[Buffer, ir.Value]
    block: ir.Block
    numerics: Numerics
    target: Machine
    fetches_ahead: bool = False
    """Whether it shall fetch for the next kernel, if it can."""
    first_columns: FirstColumns | None = None
    """What a kernel before may fetch for it; known when it is emitted."""

    @property
    def stages(self) -> list[Stage]:
        return self.group.stages

    def stored(self) -> list[Access]:
        """Writes that leave the kernel."""
        stored = [stage.write for stage in self.stages if stage.write.buffer in self.values]
        if not stored:
            raise UnsupportedError("a kernel without results")
        for access in stored:
            if math.prod(loop.extent for loop in access.strides) > access.buffer.num_elements:
                raise UnsupportedError("a result that is written more than once")
        return stored


@dataclass(frozen=True)
class Planned:
    """A form that a nest has: what was chosen, and what emits it."""

    decision: Decision
    emit: Callable[[], None]


Planner = Callable[[Nest, Fields], Planned | None]


def emit_nest(nest: Nest, fixed: Fields) -> Decision:
    """Emit a nest at the insertion point, with the choices that are `fixed`; what was chosen.

    DecisionError when it has no such way to be laid out.
    """
    wanted = {name: value for name, value in fixed.items() if name != FORM}
    form = fixed.get(FORM)
    for name, planner in _forms(nest):
        if form in (None, name):
            planned = planner(nest, wanted)
            if planned is not None:
                planned.emit()
                return planned.decision
    if form is None:
        raise InternalError("a loop nest without any form")
    others = [name for name, planner in _forms(nest) if name != form and planner(nest, {}) is not None]
    raise DecisionError(f"it cannot have the form '{form}'; it can be {' or '.join(others)}")


def _forms(nest: Nest) -> Iterator[tuple[str, Planner]]:
    if nest.group.attention is not None:
        yield "attention", _attention
        return
    if nest.group.chain is not None:
        yield "chain of products", _chain_of_products
        return
    if nest.group.turned is not None:
        yield from _turned_products(nest, *nest.group.turned)
        return
    if nest.group.fill is not None:
        yield "fill", _fill
        return
    if not nest.stages[0].is_scalar:
        yield "windows", _windows
    if nest.group.frame:
        return
    coalesce_loops(nest.stages)
    if nest.stages[0].is_scalar:
        yield "elements", _elements
    elif nest.stages[0].kind is StageKind.PRODUCT:
        yield "row times matrix", _row_times_matrix
        yield from _products_by_cycles(nest)
        yield "plain product", _plain_product
    else:
        yield "turned tiles", _turned_tiles
        yield "column folds", _column_folds
        yield "copy", _copy
        yield "steps of rows", _steps_of_rows
        yield "blocks of rows", _blocks_of_rows


# Products


def _row_times_matrix(nest: Nest, wanted: Fields) -> Planned | None:
    product, *epilogue = nest.stages
    plan = choose_vector_product(choose_product_plan(product, nest.stored()), product, epilogue, pads=nest.target.pads)
    if plan is None:
        return None
    check_names("row times matrix", wanted, ())
    facts = {
        "columns": plan.columns,
        "column_blocks": plan.blocks,
        "slices": plan.slices,
        "whole_columns": plan.whole_columns,
    }

    def emit() -> None:
        kernel = VectorProduct(
            Builder(), product, epilogue, plan, nest.values, nest.block, fetches_ahead=nest.fetches_ahead
        )
        nest.first_columns = kernel.first_columns
        nest.numerics.sums[product] = kernel.sum_order()
        kernel.emit()
        if kernel.rows_kernel is not None:
            nest.numerics.expansions.update(kernel.rows_kernel.expansions)

    return Planned(Decision("row times matrix", {}, facts, plan.predicted_cycles), emit)


def _products_by_cycles(nest: Nest) -> Iterator[tuple[str, Planner]]:
    """The forms of a product that overlaps transfers and computation, the one that is predicted to be fastest first."""
    forms: list[tuple[str, Planner]] = [
        ("streamed product", _streamed_product),
        ("flowing product", _flowing_product),
        ("tiled product", _tiled_product),
    ]
    planned = [(name, planner, planner(nest, {})) for name, planner in forms]
    cycles = {
        name: MARGINS.get(name, 1.0) * (plan.decision.predicted_cycles or 0)
        for name, _, plan in planned
        if plan is not None
    }
    for name, planner, plan in sorted(planned, key=lambda form: cycles.get(form[0], math.inf)):
        yield name, partial(_planned_again, planner, plan)


def _planned_again(planner: Planner, plan: Planned | None, nest: Nest, wanted: Fields) -> Planned | None:
    """The plan that was made without wishes, or another one for wishes."""
    return planner(nest, wanted) if wanted else plan


def _streamed_product(nest: Nest, wanted: Fields) -> Planned | None:
    product, *epilogue = nest.stages
    stored = nest.stored()
    plan = choose_product_plan(product, stored)
    room = nest.target.pad_rows - SPILL_ROWS
    chosen = choose_stream_plan(plan, product, epilogue, stored, pads=nest.target.pads, pad_rows=room, wanted=wanted)
    if chosen is None:
        return None
    stream, decision = chosen

    def emit() -> None:
        kernel = StreamedProduct(Builder(), product, epilogue, stream, nest.values, nest.block)
        nest.numerics.sums[product] = kernel.sum_order()
        kernel.emit()
        nest.numerics.expansions.update(kernel.expansions)

    return Planned(decision, emit)


def _tiled_product(nest: Nest, wanted: Fields) -> Planned | None:
    product, *epilogue = nest.stages
    stored = nest.stored()
    plan = choose_product_plan(product, stored)
    chosen = choose_tile_schedule(
        plan,
        product,
        epilogue,
        stored,
        pads=nest.target.pads,
        pad_rows=nest.target.pad_rows - SPILL_ROWS,
        wanted=wanted,
    )
    if chosen is None:
        return None
    schedule, decision = chosen
    finished = tile_epilogue(plan, product, epilogue, {access.buffer for access in stored})
    decision = replace(decision, facts={**decision.facts, "epilogue": finished.form(schedule)})

    return Planned(decision, lambda: _emit_tiles(nest, nest.stages, plan, schedule, Builder()))


def _emit_tiles(
    nest: Nest, stages: Sequence[Stage], plan: ProductPlan, schedule: TileSchedule, builder: Builder
) -> None:
    product, *epilogue = stages
    kernel = TiledProduct(builder, product, epilogue, plan, schedule, nest.values, nest.block)
    kernel.allocate()
    nest.numerics.sums.update(kernel.sum_orders())
    kernel.emit()
    nest.numerics.expansions.update(kernel.rows.staged.expansions)


def _flowing_product(nest: Nest, wanted: Fields) -> Planned | None:
    product, *epilogue = nest.stages
    stored = nest.stored()
    plan = choose_product_plan(product, stored)
    room = nest.target.pad_rows - SPILL_ROWS
    chosen = choose_flow_plan(plan, product, epilogue, stored, pads=nest.target.pads, pad_rows=room, wanted=wanted)
    if chosen is None:
        return None
    flow, decision = chosen

    return Planned(decision, lambda: _emit_flow(nest, nest.stages, flow))


def _turned_products(nest: Nest, copy: Stage, stages: list[Stage]) -> Iterator[tuple[str, Planner]]:
    """The forms of a product whose columns are turned in the pads, the one that is predicted to be fastest first."""
    for own in ([copy], stages):
        coalesce_loops(own)

    def planner(form: str) -> Planner:
        def plan(nest: Nest, wanted: Fields) -> Planned | None:
            plans = turned_plans(copy, stages, nest.values, wanted, form)
            if not plans:
                return None
            found, decision = plans[0]
            return Planned(decision, lambda: _emit_turned(nest, stages, found))

        return plan

    for _, decision in turned_plans(copy, stages, nest.values, {}):
        yield decision.form, planner(decision.form)


def _emit_turned(nest: Nest, stages: Sequence[Stage], found: FlowPlan | TileSchedule) -> None:
    if isinstance(found, FlowPlan):
        _emit_flow(nest, stages, found)
        return
    stored = [stage.write for stage in stages if stage.write.buffer in nest.values]
    _emit_tiles(nest, stages, choose_product_plan(stages[0], stored), found, IntegerBuilder())


def _emit_flow(nest: Nest, stages: Sequence[Stage], flow: FlowPlan) -> None:
    product, *epilogue = stages
    kernel = FlowingProduct(IntegerBuilder(), product, epilogue, flow, nest.values, nest.block)
    nest.numerics.sums[product] = kernel.sum_order()
    kernel.emit()
    nest.numerics.expansions.update(kernel.expansions)


def _chain_of_products(nest: Nest, wanted: Fields) -> Planned | None:
    if nest.group.chain is None:
        return None
    first, second = nest.group.chain
    for stages in (first, second):
        coalesce_loops(stages)
    kept = chained_buffer(first, second, ())
    chosen = None if kept is None else plan_chain(first, second, kept, nest.values, wanted)
    if chosen is None:
        raise InternalError("two products were fused, but there is no plan for that")
    plan, decision = chosen

    def emit() -> None:
        kernel = ChainedProducts(Builder(), plan, (first, second), nest.values, nest.block)
        nest.numerics.sums.update(kernel.sum_orders())
        kernel.emit()
        nest.numerics.expansions.update(kernel.expansions)

    return Planned(decision, emit)


def _plain_product(nest: Nest, wanted: Fields) -> Planned | None:
    product, *epilogue = nest.stages
    plan = with_scalars(choose_product_plan(product, nest.stored()), epilogue)
    check_names("plain product", wanted, ())
    facts = {"block_rows": plan.block_rows, "slices": plan.slices}

    def emit() -> None:
        kernel = ProductKernel(Builder(), product, epilogue, plan, nest.values, nest.block)
        nest.numerics.sums[product] = kernel.sum_order()
        kernel.emit()
        nest.numerics.expansions.update(kernel.rows_kernel.expansions)

    return Planned(Decision("plain product", {}, facts), emit)


def _attention(nest: Nest, wanted: Fields) -> Planned | None:
    if nest.group.attention is None:
        return None
    attention = unify(nest.group.attention)
    plan = attention if isinstance(attention, str) else plan_attention(attention)
    if isinstance(attention, str) or isinstance(plan, str):
        raise InternalError(f"attention was fused, but {plan}")
    check_names("attention", wanted, ())

    def emit() -> None:
        kernel = AttentionKernel(Builder(), attention, plan, nest.values, nest.block)
        kernel.emit()
        nest.numerics.sums.update(kernel.sum_orders())
        nest.numerics.expansions.update(kernel.expansions)

    return Planned(attention_decision(plan), emit)


# Windows, fills and rows


def _fill(nest: Nest, wanted: Fields) -> Planned | None:
    plan = nest.group.fill
    if plan is None:
        return None
    check_names("fill", wanted, ())
    facts = {"strips": len(plan.moves), "transfers": sum(move.transfers for move in plan.moves)}
    emit = Fill(Builder(), plan, nest.values, nest.block).emit
    return Planned(Decision("fill", {}, facts, plan.predicted_cycles), emit)


def _windows(nest: Nest, wanted: Fields) -> Planned | None:
    stages, stored = nest.stages, nest.stored()
    chosen = plan_windows(stages, stored, wanted, nest.group.frame)
    if chosen is None:
        return None
    plan, decision = chosen

    def emit() -> None:
        kernel = WindowKernel(Builder(), stages, plan, nest.values, nest.block)
        kernel.emit()
        nest.numerics.sums.update(kernel.sum_orders())
        nest.numerics.expansions.update(kernel.expansions)

    return Planned(decision, emit)


def _elements(nest: Nest, wanted: Fields) -> Planned | None:
    check_names("kernel of elements", wanted, ())
    return Planned(Decision("elements"), lambda: _scalar_kernel(nest.stages[0], nest.values, nest.block).emit())


def _scalar_kernel(
    stage: Stage, values: dict[Buffer, ir.Value], block: ir.Block
) -> IntegerKernel | GatherKernel | ArgExtremeKernel:
    builder = IntegerBuilder()
    if stage.combine in (Combine.ARGMAX, Combine.ARGMIN):
        return ArgExtremeKernel(builder, stage, values)
    if (stage.is_gather or stage.write.indirect) and not stage.write.buffer.is_integer:
        return GatherKernel(builder, stage, values, block)
    return IntegerKernel(builder, stage, values)


def _turned_tiles(nest: Nest, wanted: Fields) -> Planned | None:
    plan = plan_turn(nest.stages)
    if plan is None:
        return None
    check_names("kernel of turned tiles", wanted, ())
    emit = TurnedTiles(IntegerBuilder(), plan, nest.values, nest.block).emit
    return Planned(Decision("turned tiles", {}, {"tiles": plan.tiles}, plan.predicted_cycles), emit)


def _column_folds(nest: Nest, wanted: Fields) -> Planned | None:
    plan = plan_columns(nest.stages, nest.stored())
    if plan is None:
        return None
    check_names("fold of columns", wanted, ())

    def emit() -> None:
        kernel = ColumnFolds(Builder(), plan, nest.values, nest.block)
        kernel.emit()
        nest.numerics.sums.update(kernel.sum_orders())
        nest.numerics.expansions.update(kernel.expansions)

    facts = {"step_terms": plan.parts[0].size, "partial_folds": plan.partials, "chunks": plan.chunks}
    return Planned(Decision("column folds", {}, facts), emit)


def _steps_of_rows(nest: Nest, wanted: Fields) -> Planned | None:
    """A loop of steps, and the rows that are left over."""
    stages, stored = nest.stages, nest.stored()
    plan = plan_phases(stages, stored)
    if plan is None:
        return None
    check_names("kernel of steps of rows", wanted, ())

    def emit() -> None:
        kernel = PhasedRows(Builder(), stages, plan, nest.values, nest.block)
        kernel.emit()
        nest.numerics.sums.update(kernel.sum_orders())
        nest.numerics.expansions.update(kernel.expansions)
        if plan.done_rows < plan.row.extent:
            rows = choose_row_plan(stages, stored)
            _emit_rows(nest, rows, lambda kernel: kernel.emit_rest(plan.row, plan.done_rows))

    facts = {
        "phases": len(plan.phases),
        "step_rows": plan.rows,
        "step_chunks": plan.chunks,
        "steps_of_a_row": plan.groups,
        "steps": plan.steps,
    }
    return Planned(Decision("steps of rows", {}, facts), emit)


def _copy(nest: Nest, wanted: Fields) -> Planned | None:
    plan = plan_copy(nest.stages, nest.target.pads)
    if plan is None:
        return None
    check_names("copy", wanted, ())
    emit = Copy(Builder(), plan, nest.values, nest.block).emit
    return Planned(Decision("copy", {}, {"transfers": 2 * plan.transfers}, plan.predicted_cycles), emit)


def _blocks_of_rows(nest: Nest, wanted: Fields) -> Planned | None:
    stages, stored = nest.stages, nest.stored()
    plan = choose_row_plan(stages, stored)
    if wanted:
        plan = allowed("kernel of blocks of rows", row_plans(stages, plan), row_fields, wanted)[0]

    def emit() -> None:
        kernel = _emit_rows(nest, plan, RowKernel.emit)
        orders = {s: order for s, order in zip(stages, kernel.sum_orders(), strict=True) if order is not None}
        nest.numerics.sums.update(orders)

    return Planned(Decision("blocks of rows", row_fields(plan)), emit)


def _emit_rows(nest: Nest, plan: RowPlan, emit: Callable[[RowKernel], None]) -> RowKernel:
    kernel = RowKernel(Builder(), nest.stages, plan, nest.values, nest.block)
    emit(kernel)
    nest.numerics.expansions.update(kernel.expansions)
    return kernel
