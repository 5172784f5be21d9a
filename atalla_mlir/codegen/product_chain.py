"""Two products of which the second one streams what the first one computes: as one kernel, that stays in the pads.

The first product stores a tile of its results, 32 columns of a block of rows, where the second one expects a step of
that block: as it is. So both cut rows in the same way, and the second one fetches nothing but its columns.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.decision import Decision, Fields, Value, fastest
from atalla_mlir.codegen.flow_plan import choose_flow_plan
from atalla_mlir.codegen.image_product import KEPT_BYTES
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage, StageKind, coalesce_loops
from atalla_mlir.codegen.product_plan import ProductPlan, choose_product_plan
from atalla_mlir.codegen.stream_plan import choose_stream_plan
from atalla_mlir.codegen.tile_cost import (
    START_CYCLES,
    choose_tile_schedule,
    fill_cycles,
    operand_cycles,
    predicted_cycles,
    start_cycles,
)
from atalla_mlir.codegen.tile_epilogue import TileEpilogue, tile_epilogue
from atalla_mlir.codegen.tile_schedule import LANES, TileSchedule, resident_schedule, tile_schedules
from atalla_mlir.codegen.vector_product_plan import choose_vector_product
from atalla_mlir.target.machine import AX01

FORM_NAME = "chain of products"
SPILL_ROWS = 256
PAD_ROWS = AX01.pad_rows - SPILL_ROWS
"""Rows of each pad for the products; the register allocator may spill to the others."""

SINGLE_STEP = 1.6
"""Times what tiles of one step are predicted to take in a second product: nothing runs beside what follows them."""
MAX_EARLY_STEPS = 2
"""Of columns that one tile fetches: it is straight code."""


@dataclass(frozen=True)
class ChainPlan:
    """Both walks. What is `kept` takes the first rows of each pad, then come those of the first and second product."""

    kept: Access
    plans: tuple[ProductPlan, ProductPlan]
    walks: tuple[TileSchedule, TileSchedule]
    epilogues: tuple[TileEpilogue, TileEpilogue]
    step_rows: int
    spare: int
    """Rows before and after those of each tile that belong to nobody."""

    @property
    def kept_rows(self) -> int:
        return self.walks[1].rows.num_blocks * self.walks[1].depth.steps * self.step_rows

    @property
    def bases(self) -> tuple[int, int]:
        """The first rows of both products."""
        return self.kept_rows, self.kept_rows + self.epilogues[0].pad_rows(self.walks[0])

    @property
    def pad_rows(self) -> int:
        return self.bases[1] + self.epilogues[1].pad_rows(self.walks[1])

    @property
    def predicted_cycles(self) -> float:
        """Code of both runs cold once; a kernel begins once."""
        both = list(zip(self.walks, self.epilogues, strict=True))
        cycles = sum(start_cycles(w, own.cost) + predicted_cycles(w, own.cost) for w, own in both) - START_CYCLES
        second, own = both[1]
        if second.depth.steps == 1:
            cycles += (SINGLE_STEP - 1) * predicted_cycles(second, own.cost)
        return cycles - fill_cycles(self.walks[1]) * (self.early_steps > 0)

    @property
    def early_steps(self) -> int:
        """Steps of the second product's first columns that each tile of the first one fetches; 0 where it does not."""
        first, second = self.walks
        each = -(-second.depth.steps // (first.rows.num_blocks * first.cols.num_blocks))
        return each if first.num_panels == 1 and each <= MAX_EARLY_STEPS else 0

    def within(self, pad_rows: int) -> ChainPlan | None:
        """The plan in so many rows of each pad, by shorter panels of the first product; None where they are too few."""
        excess, walk = self.pad_rows - pad_rows, self.walks[0]
        if excess <= 0:
            return self
        fewer = -(-excess // walk.block_rows(walk.inner))
        if walk.is_resident(walk.inner) or fewer >= walk.panel_blocks:
            return None
        return replace(self, walks=(replace(walk, panel_blocks=walk.panel_blocks - fewer), self.walks[1]))

    def fields(self) -> Fields:
        """What a user may fix."""
        first = self.walks[0]
        return {
            "lines": first.rows.lines,
            "width": first.rows.width,
            "first_stays": "rows" if first.rows_inside else "columns",
        }


def chained_buffer(first: Sequence[Stage], second: Sequence[Stage], others: Collection[Stage]) -> Buffer | None:
    """What the second product streams or pushes and nobody else looks at; None where there is no such value.

    `others` are all stages beside those two groups.
    """
    written = {stage.write.buffer for stage in first}
    read = {access.buffer for stage in second for access in stage.reads} & written
    outside = {access.buffer for stage in others for access in stage.reads}
    if first[0].kind is not StageKind.PRODUCT or second[0].kind is not StageKind.PRODUCT or len(read) != 1:
        return None
    (kept,) = read
    is_read_once = sum(access.buffer is kept for stage in second for access in stage.reads) == 1
    is_of_product = any(access.buffer is kept for access in second[0].reads)
    return kept if is_read_once and is_of_product and not outside & written else None


def plan_chain(
    first: Sequence[Stage],
    second: Sequence[Stage],
    kept: Buffer,
    results: Collection[Buffer],
    wanted: Fields | None = None,
) -> tuple[ChainPlan, Decision] | None:
    """The plan that is predicted to take the fewest cycles; None where there is none, or two kernels take fewer.

    `results` are the buffers of the second product that outlive the kernel.
    """
    ways = [] if _differ(first, second, kept) else list(_plans(first, second, kept, results))
    chosen = fastest(FORM_NAME, ways, ChainPlan.fields, lambda plan: plan.predicted_cycles, wanted or {})
    if chosen is None:
        return None
    plan, cycles, num_ways = chosen
    if not wanted and cycles >= apart_cycles(first, {kept}) + apart_cycles(second, results):
        return None
    return plan, Decision(FORM_NAME, plan.fields(), chain_facts(plan), round(cycles), num_ways)


def chain_facts(plan: ChainPlan) -> dict[str, Value]:
    """What a decision says of a plan."""
    return {
        "tile_rows": plan.walks[0].rows.rows,
        "first_panel_blocks": plan.walks[0].panel_blocks,
        KEPT_BYTES: plan.kept.buffer.num_elements * 2,
        "kept_rows": plan.kept_rows,
        "pad_rows": plan.pad_rows,
        "steps": f"{plan.walks[0].depth.steps} and {plan.walks[1].depth.steps}",
    }


def _differ(first: Sequence[Stage], second: Sequence[Stage], kept: Buffer) -> bool:
    """Whether what is read is anything else than what is written."""
    write = next(stage.write for stage in first if stage.write.buffer is kept)
    read = next(access for access in second[0].reads if access.buffer is kept)
    return bool(write.offset or read.offset or write.indirect or read.indirect)


def _plans(
    first: Sequence[Stage], second: Sequence[Stage], kept: Buffer, results: Collection[Buffer]
) -> Iterator[ChainPlan]:
    access = next(stage.write for stage in first if stage.write.buffer is kept)
    stored = [stage.write for stage in second if stage.write.buffer in results]
    plans = choose_product_plan(first[0], [access]), choose_product_plan(second[0], stored)
    streamed = second[0].reads[plans[1].streamed]
    if streamed.buffer is not kept or not is_same_matrix(access, streamed, plans):
        return
    if any(choose_vector_product(p, s[0], s[1:], pads=AX01.pads) for p, s in zip(plans, (first, second), strict=True)):
        return
    epilogues = (
        tile_epilogue(plans[0], first[0], first[1:], (), kept),
        tile_epilogue(plans[1], second[0], second[1:], results),
    )
    loops = dict[Loop | None, Loop](zip(plans[0].rows, plans[1].rows, strict=True))
    for walk in tile_schedules(plans[0], first[0], first[1:], [], pads=AX01.pads, pad_rows=PAD_ROWS):
        if walk.results != walk.rows and (walk.results.lines, walk.results.width) != (walk.rows.lines, walk.rows.width):
            continue
        area, spare = epilogues[0].area(walk)
        rows = walk.results.over(loops)
        other = resident_schedule(
            plans[1], second[0], second[1:], stored, epilogues[1].staged_reads, rows, area + 2 * spare
        )
        if other is None or not is_ordered(other):
            continue
        plan = ChainPlan(access, plans, (walk, other), epilogues, area + 2 * spare, spare).within(PAD_ROWS)
        if plan is not None:
            yield plan


def is_ordered(second: TileSchedule) -> bool:
    """Whether the first transfers of a second product, on all pads of its rows, order it behind the first one."""
    return second.cols.num_pieces >= min(second.rows.pads, second.rows.num_pieces)


def is_same_matrix(written: Access, read: Access, plans: tuple[ProductPlan, ProductPlan]) -> bool:
    """Whether columns of the one are the depth of the other, and rows are the same rows."""
    producer, consumer = plans
    lane, depth = producer.lane, consumer.depth_lane
    if producer.batch or consumer.batch or consumer.depth or lane is None or depth is None:
        return False
    if lane.extent != depth.extent or lane.extent % LANES or written.stride(lane) != 1 or read.stride(depth) != 1:
        return False
    own = [(loop.extent, written.stride(loop)) for loop in producer.rows]
    return own == [(loop.extent, read.stride(loop)) for loop in consumer.rows] and len(producer.cols) == 1


def apart_cycles(stages: Sequence[Stage], results: Collection[Buffer]) -> float:
    """Of one product as a kernel of its own."""
    stored = [stage.write for stage in stages if stage.write.buffer in results]
    plan = choose_product_plan(stages[0], stored)
    ways = [
        choose(plan, stages[0], stages[1:], stored, pads=AX01.pads, pad_rows=PAD_ROWS, wanted={})
        for choose in (choose_tile_schedule, choose_stream_plan, choose_flow_plan)
    ]
    epilogue = tile_epilogue(plan, stages[0], stages[1:], results).cost
    cycles = [
        (way[1].predicted_cycles or 0) + (operand_cycles(way[0], epilogue) if isinstance(way[0], TileSchedule) else 0)
        for way in ways
        if way is not None
    ]
    return min(cycles, default=math.inf)


def chain_cycles(first: Sequence[Stage], second: Sequence[Stage], results: Collection[Buffer]) -> float:
    """Of both products as one kernel; without end where they are none."""
    for stages in (first, second):
        coalesce_loops(stages)
    kept = chained_buffer(first, second, ())
    chosen = plan_chain(first, second, kept, results) if kept is not None else None
    return chosen[1].predicted_cycles or 0 if chosen is not None else math.inf
