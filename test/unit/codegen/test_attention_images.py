"""Attention whose result stays in the pads: which matrices it can be, and where rows lie."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from atalla_mlir.codegen.attention_images import AttentionImages, HeadImage
from atalla_mlir.codegen.attention_pattern import Attention, AttentionStages
from atalla_mlir.codegen.attention_plan import PADS, AttentionPlan, Blocks
from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.pad_images import ImageShape, PadImage
from atalla_mlir.codegen.row_deal import IN_ORDER, RowDeal


def _kernel(heads: int, queries: int, keys: int, width: int, *, block: int | None = None) -> AttentionImages:
    """Heads side by side in the rows of matrices."""
    head, query, key, depth, out = (Loop(extent) for extent in (heads, queries, keys, width, width))

    def access(name: str, rows: Loop, lanes: Loop) -> Access:
        buffer = Buffer(name, rows.extent * heads * width)
        return Access(buffer, 0, {head: width, rows: heads * width, lanes: 1})

    accesses = (access("q", query, depth), access("k", key, depth), access("v", key, out), access("o", query, out))
    attention = Attention([head], query, key, depth, out, *accesses, cast("AttentionStages", None))
    blocks = Blocks(queries, block or queries)
    plan = AttentionPlan((), ((head, heads),), blocks, Blocks(keys, min(32, keys)), width, width, 8, False, query, ())
    return AttentionImages(attention, plan)


def _image(rows: int, slices: int) -> PadImage:
    return PadImage(2, rows // 2, slices, 0, (0, 1), 1, 0)


def test_each_half_of_a_result_is_as_it_is() -> None:
    kernel = _kernel(3, 48, 64, 64)
    assert kernel.held_lines(kernel.result.buffer, ImageShape(2, 24, 192)) == [[(0, 1), (1, 2)]]
    assert kernel.held_lines(kernel.attention.query.buffer, ImageShape(2, 24, 192)) is None
    assert kernel.held_lines(kernel.result.buffer, ImageShape(48, 1, 192)) is None
    assert kernel.held_lines(kernel.result.buffer, ImageShape(2, 24, 384)) is None


def test_heads_are_slices_one_after_the_other() -> None:
    kernel = _kernel(3, 48, 64, 64)
    (head,) = kernel.attention.heads
    apart = replace(kernel.result, strides={**kernel.result.strides, head: 64 * 48})
    others = AttentionImages(replace(kernel.attention, output=apart), kernel.plan)
    assert others.held_lines(apart.buffer, ImageShape(2, 24, 192)) is None
    few = AttentionImages(kernel.attention, replace(kernel.plan, group=((head, 1),)))
    assert few.held_lines(kernel.result.buffer, ImageShape(2, 24, 192)) is None
    assert _kernel(3, 48, 64, 16).held_lines(kernel.result.buffer, ImageShape(2, 24, 48)) is None


def test_queries_keep_their_order_where_each_has_scores_of_its_own() -> None:
    kernel = _kernel(2, 64, 64, 32)
    loops = kernel.attention
    mask = Access(Buffer("mask", 4096), 0, {loops.queries: 64, loops.keys: 1})
    for outside, is_kept in ((mask, False), (replace(mask, strides={loops.keys: 1}), True)):
        masked = AttentionImages(loops, replace(kernel.plan, outside=(outside,)))
        assert (masked.held_lines(loops.output.buffer, ImageShape(2, 32, 64)) is not None) == is_kept
    overlapping = _kernel(2, 100, 64, 32, block=52)
    assert overlapping.held_lines(overlapping.result.buffer, ImageShape(2, 50, 64)) is None


def test_blocks_take_queries_of_both_halves_in_turn() -> None:
    kernel = _kernel(2, 128, 64, 32, block=64)
    plan = kernel.plan_with({kernel.result.buffer: _image(128, 2)})
    assert plan is not None and plan.deal == RowDeal(64)
    assert plan.moved_queries == Blocks(64, 32)
    assert kernel.plan_with({}) == kernel.plan
    assert kernel.plan_with({kernel.result.buffer: replace(_image(128, 2), held=2)}) is None
    assert kernel.plan_with({kernel.attention.key.buffer: _image(64, 2)}) is None
    cost = kernel.cost({}, pads=PADS, pad_rows=kernel.plan.pad_rows)
    assert cost is not None and cost.pad_rows == kernel.plan.pad_rows
    assert kernel.cost({}, pads=PADS, pad_rows=kernel.plan.pad_rows - 1) is None


@pytest.mark.parametrize("rows", [10, 24, 64])
def test_what_comes_from_dram_lies_where_rows_are_stored(rows: int) -> None:
    """Row r of a block, which comes to pad r mod 4, is the one that is stored to a half of the image."""
    deal, head = RowDeal(rows // 2), HeadImage(_image(rows, 2), 0, 1, is_dealt=True)
    for row in range(rows):
        half, place = head.place(row)
        assert deal.first(row % PADS) + row // PADS * deal.step == half * deal.half + place


def test_rows_in_order_are_numbered_through_both_halves() -> None:
    head = HeadImage(_image(24, 2), 1, 1, is_dealt=False)
    assert [head.place(row) for row in (0, 11, 12, 23)] == [(0, 0), (0, 11), (1, 0), (1, 11)]
    assert head.first_rows == 12
    assert [IN_ORDER.first(pad) for pad in range(PADS)] == [0, 1, 2, 3] and IN_ORDER.step == PADS
