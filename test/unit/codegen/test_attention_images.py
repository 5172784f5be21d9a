"""Attention whose operands and result stay in the pads: which matrices they can be, and where rows lie."""

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


@pytest.mark.parametrize("name", ["query", "output"])
def test_each_half_is_as_it_is(name: str) -> None:
    kernel = _kernel(3, 48, 64, 64)
    buffer = getattr(kernel.attention, name).buffer
    assert kernel.held_lines(buffer, ImageShape(2, 24, 192)) == [[(0, 1), (1, 2)]]
    assert kernel.held_lines(buffer, ImageShape(48, 1, 192)) is None
    assert kernel.held_lines(buffer, ImageShape(2, 24, 384)) is None


def test_operands_may_be_parts_of_a_matrix() -> None:
    kernel = _kernel(3, 48, 64, 64)
    rows = kernel.attention.keys
    packed = Access(Buffer("qkv", 64 * 576), 192, {**kernel.attention.key.strides, rows: 576})
    part = AttentionImages(replace(kernel.attention, key=packed), kernel.plan)
    assert part.first_slice("keys", ImageShape(2, 32, 576)) == 6
    beyond = AttentionImages(replace(kernel.attention, key=replace(packed, offset=400)), kernel.plan)
    assert beyond.first_slice("keys", ImageShape(2, 32, 576)) is None


def test_heads_are_slices_one_after_the_other() -> None:
    kernel = _kernel(3, 48, 64, 64)
    (head,) = kernel.attention.heads
    apart = replace(kernel.result, strides={**kernel.result.strides, head: 64 * 48})
    others = AttentionImages(replace(kernel.attention, output=apart), kernel.plan)
    assert others.held_lines(apart.buffer, ImageShape(2, 24, 192)) is None
    assert _kernel(3, 48, 64, 16).held_lines(kernel.result.buffer, ImageShape(2, 24, 48)) is None


def test_groups_of_heads_do_not_write_over_what_others_read() -> None:
    kernel = _kernel(3, 48, 64, 64)
    (head,) = kernel.attention.heads
    few = AttentionImages(kernel.attention, replace(kernel.plan, group=((head, 1),)))
    assert few.held_lines(kernel.result.buffer, ImageShape(2, 24, 192)) is not None
    queries = kernel.attention.query.buffer
    assert kernel.writes_over(queries) and not few.writes_over(queries)


def _batch(pictures: int, heads: int, rows: int, width: int) -> AttentionImages:
    """The heads of several matrices, each as in `_kernel`."""
    kernel, picture = _kernel(heads, rows, rows, width), Loop(pictures)
    found = kernel.attention
    accesses = {
        name: replace(access, strides={picture: rows * heads * width, **access.strides})
        for name in ("query", "key", "value", "output")
        for access in [getattr(found, name)]
    }
    attention = replace(found, heads=[picture, *found.heads], **accesses)
    return AttentionImages(attention, replace(kernel.plan, group=((picture, pictures), *kernel.plan.group)))


def test_heads_of_a_batch_lie_in_the_halves_of_each_matrix() -> None:
    kernel = _batch(3, 2, 64, 32)
    result = kernel.result.buffer
    shape = ImageShape(6, 32, 64, 3, of_each=True)
    assert kernel.pictures == 3 and _kernel(2, 64, 64, 32).pictures == 1
    assert kernel.held_lines(result, shape) == [[(0, 1), (1, 2)]]
    # whole matrices in a half, other matrices, all rows as one
    for other in (replace(shape, of_each=False), ImageShape(4, 48, 64, 2, of_each=True), ImageShape(2, 96, 64)):
        assert kernel.held_lines(result, other) is None
    image = PadImage(6, 32, 2, 0, (0, 1), 1, 0, pictures=3, of_each=True)
    (_, places) = kernel.head_images({kernel.attention.value.buffer: image})["values"]
    assert list(places.distances.values()) == [32, 96]
    assert [places.place(row) for row in (0, 1, 2, 63)] == [(0, 0), (1, 0), (0, 1), (1, 31)]
    plan = kernel.plan_with({kernel.attention.value.buffer: image})
    assert plan is not None and plan.key_deal == RowDeal(32) and not plan.has_run_of_values


@pytest.mark.parametrize(
    ("keys", "width", "in_a_run", "together"),
    [(64, 32, False, 2), (32, 64, False, 2), (32, 32, False, 1), (96, 64, False, 1), (96, 64, True, 2)],
)
def test_tiles_that_are_turned_together_lie_equally_far_apart(
    keys: int, width: int, in_a_run: bool, together: int
) -> None:
    """Two of a slice, or each the only one of its slice; in a run, any."""
    plan = replace(_batch(2, 2, keys, width).plan, has_run_of_values=in_a_run, step_rows=1 << 16)
    assert not plan.turns_beside and plan.turned_together == together


def test_queries_keep_their_order_where_each_has_scores_of_its_own() -> None:
    kernel = _kernel(2, 64, 64, 32)
    loops = kernel.attention
    mask = Access(Buffer("mask", 4096), 0, {loops.queries: 64, loops.keys: 1})
    for outside, is_kept in ((mask, False), (replace(mask, strides={loops.keys: 1}), True)):
        masked = AttentionImages(loops, replace(kernel.plan, outside=(outside,)))
        assert (masked.held_lines(loops.output.buffer, ImageShape(2, 32, 64)) is not None) == is_kept
    for stride in (0, 1):
        masked = AttentionImages(loops, replace(kernel.plan, outside=(replace(mask, strides={loops.keys: stride}),)))
        names = ("keys", "values")
        assert [masked.first_slice(name, ImageShape(2, 32, 64)) for name in names] == [None if stride else 0] * 2
    overlapping = _kernel(2, 100, 64, 32, block=52)
    assert overlapping.held_lines(overlapping.result.buffer, ImageShape(2, 50, 64)) is None


def test_blocks_take_queries_of_both_halves_in_turn() -> None:
    kernel = _kernel(2, 128, 64, 32, block=64)
    plan = kernel.plan_with({kernel.result.buffer: _image(128, 2)})
    assert plan is not None and plan.deal == RowDeal(64)
    assert plan.moved_queries == Blocks(64, 32)
    assert kernel.plan_with({}) == kernel.plan
    assert kernel.plan_with({kernel.result.buffer: replace(_image(128, 2), held=2)}) is None
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


def test_operands_in_the_pads_take_no_rows() -> None:
    """Values that are turned come to rows of their own, and results to others than queries."""
    kernel = _kernel(2, 128, 64, 32, block=64)
    attention = kernel.attention
    images = {
        access.buffer: _image(rows, 2) for access, rows in zip(kernel.operands.values(), (128, 64, 64), strict=True)
    }
    plan = kernel.plan_with(images)
    assert plan is not None and plan.found == {"queries", "keys", "values"}
    assert (plan.deal, plan.key_deal) == (RowDeal(64), RowDeal(32))
    assert plan.moved_keys == Blocks(32, 16)
    assert not {"queries", "keys", "values"} & set(plan.regions)
    assert plan.regions["turned"] == plan.turned_rows and plan.regions["results"] == plan.result_rows
    places = kernel.head_images({attention.value.buffer: _image(64, 2)})
    assert list(places) == ["values"] and places["values"][1].slices == 1
    assert [kernel.writes_over(access.buffer) for access in (attention.query, attention.output)] == [True, False]


def test_queries_and_keys_in_the_same_pads_take_longer() -> None:
    kernel = _kernel(4, 128, 128, 64, block=64)
    query, key = kernel.attention.query.buffer, kernel.attention.key.buffer
    ways = [{query: _image(128, 8), key: replace(_image(128, 8), first_pad=pad)} for pad in (0, 2)]
    together, apart = (kernel.cost(images, pads=PADS, pad_rows=8192) for images in ways)
    assert kernel.depends_on_pads and together is not None and apart is not None
    assert together.cycles > apart.cycles and together.fetched_bytes == apart.fetched_bytes
