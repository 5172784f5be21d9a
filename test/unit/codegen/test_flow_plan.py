"""Products of two slices in one flow: which take that form, and that operands are there when they are needed."""

from __future__ import annotations

import pytest

from atalla_mlir.codegen.flow_plan import LEAD, MAX_BLOCK_ROWS, Feed, FlowPlan, choose_flow_plan
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage, StageKind
from atalla_mlir.codegen.product_plan import choose_product_plan
from atalla_mlir.codegen.turned_product import plan_turned_product

PAD_ROWS = 7936


def plan_of(batch: int, rows: int, depth: int, columns: int, *, pads: int = 4) -> FlowPlan | None:
    part, row, lane, deep = Loop(batch), Loop(rows), Loop(columns), Loop(depth)
    read = Access(Buffer("x", 1 << 24), 0, {part: rows * depth, row: depth, deep: 1})
    weights = Access(Buffer("w", 1 << 24), 0, {part: columns * depth, lane: depth, deep: 1})
    write = Access(Buffer("y", 1 << 24), 0, {part: rows * columns, row: columns, lane: 1})
    body = Node("mul", (Node("load", read=0), Node("load", read=1)))
    loops, reads = [part, row, lane, deep], [read, weights]
    product = Stage(
        kind=StageKind.PRODUCT, loops=loops, reduced=[deep], reads=reads, write=write, body=body, combine=Combine.ADD
    )
    roles = choose_product_plan(product, [write])
    chosen = choose_flow_plan(roles, product, [], [write], pads=pads, pad_rows=PAD_ROWS, wanted={})
    return chosen[0] if chosen is not None else None


def pieces_needed(plan: FlowPlan, feed: Feed, iteration: int, *, of_rows: bool) -> int:
    """Pieces, counted from the panel's first, that must be there before an iteration."""
    part, at = divmod(iteration, plan.panel * plan.cols.count)
    row, col = divmod(at, plan.cols.count)
    in_order = row + 1 if of_rows else plan.cols.count if row else col + 1
    blocks = part * (plan.panel if of_rows else plan.cols.count) + in_order
    size = plan.rows.size if of_rows else 32
    return blocks * plan.slices * size // feed.rows


@pytest.mark.parametrize(
    "shape", [(12, 128, 64, 128), (1, 4096, 64, 64), (1, 64, 64, 4096), (5, 199, 64, 70), (1, 30_000, 64, 96)]
)
def test_rows_are_covered_and_pieces_come_before_their_use(shape: tuple[int, int, int, int]) -> None:
    batch, rows, depth, columns = shape
    plan = plan_of(batch, rows, depth, columns)
    assert plan is not None
    assert plan.rows.size % 4 == 0
    assert plan.rows.size <= MAX_BLOCK_ROWS
    assert plan.rows.count * plan.rows.size >= rows > (plan.rows.count - 1) * plan.rows.size
    assert plan.panels * plan.panel >= plan.rows.count
    assert plan.rounds * plan.iterations >= batch * plan.rows.count * plan.cols.count
    assert plan.pad_rows(1, 0, 0) <= PAD_ROWS
    for feed, of_rows in ((plan.row_feed, True), (plan.col_feed, False)):
        last = pieces_needed(plan, feed, plan.iterations - 1, of_rows=of_rows)
        assert feed.pieces == last
        for iteration in range(plan.iterations):
            # what is moved by iterations that may still be in progress does not count
            there = max(feed.moved_before, (iteration - LEAD + feed.first) * feed.each)
            assert min(there, last) >= pieces_needed(plan, feed, iteration, of_rows=of_rows)


def test_a_batch_that_does_not_fit_comes_in_groups() -> None:
    plan = plan_of(60, 512, 64, 512)
    assert plan is not None
    assert 1 < plan.parts < 60
    assert plan.rounds * plan.parts == 60


@pytest.mark.parametrize("shape", [(1, 4096, 32, 64), (1, 4096, 96, 64), (1, 4096, 72, 64), (1, 12, 64, 64)])
def test_other_depths_and_few_rows_have_other_forms(shape: tuple[int, int, int, int]) -> None:
    assert plan_of(*shape) is None


def test_rows_are_dealt_out_over_four_pads() -> None:
    assert plan_of(1, 4096, 64, 64, pads=2) is None


def test_columns_that_are_turned_come_before_all_tiles() -> None:
    part, row, lane, deep = Loop(12), Loop(128), Loop(128), Loop(64)
    own, across, down = Loop(12), Loop(128), Loop(64)
    copied = Buffer("t", 1 << 24)
    source = Access(Buffer("w", 1 << 24), 0, {own: 8192, across: 1, down: 128})
    copy = Stage(
        kind=StageKind.MAP,
        loops=[own, across, down],
        reduced=[],
        reads=[source],
        write=Access(copied, 0, {own: 8192, across: 64, down: 1}),
        body=Node("load", read=0),
    )
    read = Access(Buffer("x", 1 << 24), 0, {part: 8192, row: 64, deep: 1})
    pushed = Access(copied, 0, {part: 8192, lane: 64, deep: 1})
    write = Access(Buffer("y", 1 << 24), 0, {part: 16384, row: 128, lane: 1})
    body = Node("mul", (Node("load", read=0), Node("load", read=1)))
    product = Stage(
        kind=StageKind.PRODUCT,
        loops=[part, row, lane, deep],
        reduced=[deep],
        reads=[read, pushed],
        write=write,
        body=body,
        combine=Combine.ADD,
    )
    chosen = plan_turned_product(copy, [product], {write.buffer})
    assert chosen is not None
    plan, _ = chosen
    assert isinstance(plan, FlowPlan) and plan.source is not None
    assert plan.source.buffer is source.buffer
    assert (plan.source.stride(part), plan.source.stride(lane), plan.source.stride(deep)) == (8192, 1, 128)
    assert plan.turned_tiles == 12 * 4 * 2
    assert plan.col_feed not in plan.beside
    # a copy that turns nothing is not taken for one that does
    straight = Access(Buffer("w", 1 << 24), 0, {own: 8192, across: 64, down: 1})
    copy.reads[0] = straight
    assert plan_turned_product(copy, [product], {write.buffer}) is None
