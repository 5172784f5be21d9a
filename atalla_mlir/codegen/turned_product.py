"""A product and the copy that turns its columns: as one kernel, the array turns them in the pads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from atalla_mlir.codegen.decision import Decision, Fields
from atalla_mlir.codegen.flow_plan import FORM_NAME as FLOW
from atalla_mlir.codegen.flow_plan import FlowPlan, choose_flow_plan
from atalla_mlir.codegen.iteration import Access, Buffer, Stage, StageKind
from atalla_mlir.codegen.product_chain import PAD_ROWS, apart_cycles
from atalla_mlir.codegen.product_plan import choose_product_plan
from atalla_mlir.codegen.tile_cost import FORM_NAME as TILES
from atalla_mlir.codegen.tile_cost import choose_tile_schedule
from atalla_mlir.codegen.tile_schedule import TileSchedule
from atalla_mlir.codegen.turn_plan import plan_turn
from atalla_mlir.target.machine import AX01

Planned = tuple[FlowPlan | TileSchedule, Decision]


def plan_turned_product(copy: Stage, stages: Sequence[Stage], results: Collection[Buffer]) -> Planned | None:
    """The plan for a product with its maps; None where there is none, or two kernels are predicted to take less time.

    `results` are the buffers that outlive the kernel.
    """
    turn = plan_turn([copy])
    if turn is None:
        return None
    plans = turned_plans(copy, stages, results, {})
    if not plans:
        return None
    return plans[0] if _cycles(plans[0]) < turn.predicted_cycles + apart_cycles(stages, results) else None


def turned_plans(
    copy: Stage, stages: Sequence[Stage], results: Collection[Buffer], wanted: Fields, form: str | None = None
) -> list[Planned]:
    """The best plan of each form, or of `form` alone, the fastest first."""
    product, *epilogue = stages
    stored = [stage.write for stage in stages if stage.write.buffer in results]
    reads = [access for stage in stages for access in stage.reads if access.buffer is copy.write.buffer]
    if len(reads) != 1 or not stored:
        return []
    plan = choose_product_plan(product, stored)
    pushed = product.reads[plan.pushed]
    source = _source(copy, pushed)
    if pushed is not reads[0] or source is None:
        return []
    choosers: dict[str, Callable[..., Planned | None]] = {
        FLOW: choose_flow_plan,
        TILES: choose_tile_schedule,
    }
    found = [
        choose(plan, product, epilogue, stored, pads=AX01.pads, pad_rows=PAD_ROWS, wanted=wanted, source=source)
        for name, choose in choosers.items()
        if form in (None, name)
    ]
    return sorted((planned for planned in found if planned is not None), key=_cycles)


def _cycles(planned: Planned) -> float:
    cycles = planned[1].predicted_cycles
    assert cycles is not None
    return cycles


def _source(copy: Stage, pushed: Access) -> Access | None:
    """What a copy reads, in the loops of the product that pushes the copy."""
    if copy.kind is not StageKind.MAP or copy.body.op != "load" or pushed.buffer is not copy.write.buffer:
        return None
    (source,), write = copy.reads, copy.write
    if source.indirect or write.indirect or write.offset or pushed.offset:
        return None
    own = {(stride, loop.extent): loop for loop, stride in write.strides.items() if loop.extent > 1}
    others = {loop: stride for loop, stride in pushed.strides.items() if loop.extent > 1}
    if len(own) != len(others) or own.keys() != {(stride, loop.extent) for loop, stride in others.items()}:
        return None
    strides = {loop: source.stride(own[stride, loop.extent]) for loop, stride in others.items()}
    return Access(source.buffer, source.offset, strides)
