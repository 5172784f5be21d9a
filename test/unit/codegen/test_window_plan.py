"""Plans of windows on the lanes: how images are cut, and that rings hold what is looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage, StageKind
from atalla_mlir.codegen.phase_plan import AHEAD, MAX_STAGES
from atalla_mlir.codegen.window_cost import LANE_INTERVAL, ROW_CYCLES
from atalla_mlir.codegen.window_layout import WindowPlan, first_line, last_line
from atalla_mlir.codegen.window_plan import plan_windows


def _depthwise(
    height: int, width: int, channels: int, *, taps: int = 3, step: int = 1, dilation: int = 1, batch: int = 1
) -> tuple[list[Stage], list[Access]]:
    """A depthwise convolution of an image with its channels innermost; `height` and `width` are those of the result."""
    n, c, h, w = Loop(batch, "n"), Loop(channels, "c"), Loop(height, "h"), Loop(width, "w")
    i, j = Loop(taps, "i"), Loop(taps, "j")
    lines, columns = ((extent - 1) * step + (taps - 1) * dilation + 1 for extent in (height, width))
    line = columns * channels
    image = Access(
        Buffer("x", batch * lines * line),
        0,
        {
            n: lines * line,
            h: step * line,
            w: step * channels,
            c: 1,
            i: dilation * line,
            j: dilation * channels,
        },
    )
    weights = Access(Buffer("weights", taps * taps * channels), 0, {i: taps * channels, j: channels, c: 1})
    result = Access(
        Buffer("y", batch * height * width * channels),
        0,
        {n: height * width * channels, h: width * channels, w: channels, c: 1},
    )
    body = Node("mul", (Node("load", read=0), Node("load", read=1)))
    stage = Stage(StageKind.REDUCE, [n, h, w, c, i, j], [image, weights], result, body, [i, j], Combine.ADD)
    for access in stage.accesses():
        access.drop_unit_loops()
    stage.drop_unit_loops()
    return [stage], [result]


def _framed(
    height: int, width: int, channels: int, *, taps: int = 3, step: int = 1, dilation: int = 1, batch: int = 1
) -> tuple[list[Stage], list[Access], list[Stage]]:
    """The same over a framed image, and what makes that: a frame as wide as half a window, but nothing on the right."""
    stages, stored = _depthwise(height, width, channels, taps=taps, step=step, dilation=dilation, batch=batch)
    whole = stages[0].reads[0].buffer
    lines, columns = ((extent - 1) * step + (taps - 1) * dilation + 1 for extent in (height, width))
    wide = taps // 2 * dilation
    inner = (batch, lines - 2 * wide, columns - wide, channels)
    image = Buffer("image", math.prod(inner))
    outside = (lines * columns * channels, columns * channels, channels, 1)
    inside = (inner[1] * inner[2] * channels, inner[2] * channels, channels, 1)

    def part(extents: Sequence[int], line: int, column: int, source: Buffer | None) -> Stage:
        loops = [Loop(extent) for extent in extents]
        write = Access(whole, line * outside[1] + column * outside[2], dict(zip(loops, outside, strict=True)))
        reads = [Access(source, 0, dict(zip(loops, inside, strict=True)))] if source else []
        body = Node("load", read=0) if source else Node("constant", value=0.0)
        stage = Stage(StageKind.MAP, loops, reads, write, body)
        stage.drop_unit_loops()
        return stage

    frame = [
        part((batch, wide, columns, channels), 0, 0, None),
        part((batch, wide, columns, channels), lines - wide, 0, None),
        part((batch, inner[1], wide, channels), wide, 0, None),
        part(inner, wide, wide, image),
    ]
    return stages, stored, frame


def _plan(*sizes: int, **options: int) -> WindowPlan:
    found = plan_windows(*_depthwise(*sizes, **options))
    assert found is not None
    return found[0]


def test_lines_and_columns() -> None:
    plan = _plan(14, 28, 72)
    assert (plan.lines.outs, plan.lines.taps, plan.lines.extent) == (14, 3, 16)
    assert (plan.columns.outs, plan.columns.unit, plan.columns.extent) == (28, 72, 30)
    assert (plan.chunks, plan.cols) == (3, 32)


def test_positions_between_windows_count() -> None:
    plan = _plan(7, 7, 32, step=2, dilation=3)
    assert (plan.columns.step, plan.columns.dilation, plan.columns.extent) == (2, 3, 19)


def test_groups_cover_a_line() -> None:
    plan = _plan(9, 113, 32)
    assert (plan.groups - 1) * plan.group + plan.last_group == 113
    assert plan.groups == 1 or plan.group * plan.columns.step % plan.pads == 0


def test_a_batch_is_more_planes() -> None:
    assert _plan(9, 9, 64, batch=3).num_planes == 3


def test_results_that_are_not_rows_have_no_plan() -> None:
    stages, stored = _depthwise(9, 9, 64)
    result = stored[0]
    result.strides = {loop: stride * 2 for loop, stride in result.strides.items()}
    assert plan_windows(stages, stored) is None


@pytest.mark.parametrize(("channels", "step"), [(24, 32), (64, 32), (80, 24), (144, 28), (100, None)])
def test_chunks_are_as_far_apart_where_channels_allow(channels: int, step: int | None) -> None:
    plan = _plan(9, 9, channels)
    assert plan.even_step == step
    if step is not None and plan.chunks > 1:
        assert (plan.chunks - 1) * step + plan.cols == channels


@pytest.mark.parametrize("sizes", [(56, 56, 144), (112, 112, 32), (28, 28, 144)])
@pytest.mark.parametrize("step", [1, 2])
def test_a_transfer_takes_no_longer_than_its_share_of_an_iteration(sizes: tuple[int, int, int], step: int) -> None:
    plan = _plan(*sizes, step=step)
    assert plan.last_piece_rows(plan.pads - 1) > 0
    assert plan.transfers * plan.piece_rows * ROW_CYCLES < plan.group * plan.taps * LANE_INTERVAL


@pytest.mark.parametrize("sizes", [(7, 7, 960), (112, 112, 32), (1, 40, 64), (5, 200, 64), (30, 1, 40)])
@pytest.mark.parametrize("step", [1, 2])
def test_the_ring_holds_what_is_looked_at(sizes: tuple[int, int, int], step: int) -> None:
    _check_ring(_plan(*sizes, step=step))


@pytest.mark.parametrize("sizes", [(7, 7, 960), (56, 56, 144), (5, 40, 64), (9, 8, 40)])
@pytest.mark.parametrize(("taps", "step", "dilation"), [(3, 1, 1), (3, 2, 1), (5, 1, 1), (5, 2, 1), (3, 1, 2)])
@pytest.mark.parametrize("batch", [1, 2])
def test_images_are_walked_without_their_frames(
    sizes: tuple[int, int, int], taps: int, step: int, dilation: int, batch: int
) -> None:
    stages, stored, frame = _framed(*sizes, taps=taps, step=step, dilation=dilation, batch=batch)
    image = frame[-1].reads[0].buffer
    found = plan_windows(stages, stored, frame=frame)
    assert found is not None
    plan, _ = found
    assert plan.image.buffer is image
    assert stages[0].reads[0] is plan.image
    assert plan.num_planes == batch
    assert plan.frame == 0.0
    wide = taps // 2 * dilation
    assert {plan.lines.low, plan.columns.low} == {wide}
    assert sorted(map(len, (plan.lines.framed, plan.columns.framed))) == [wide, 2 * wide]
    moved = sum(plan.part_rows(pad) for pad in range(plan.pads)) * plan.lines.fetched * batch * sizes[2]
    assert moved == image.num_elements
    _check_ring(plan)


def test_another_way_to_make_an_image_has_no_plan() -> None:
    stages, stored, frame = _framed(9, 9, 64)
    frame[0].body = Node("constant", value=1.0)
    assert plan_windows(stages, stored, frame=frame) is None


def _check_ring(plan: WindowPlan) -> None:
    """Pieces are there `AHEAD` iterations after they were asked for, and stay until no iteration looks at them."""
    possible = plan.transfers * plan.iterations_of_a_plane
    begun, credit = [plan.lead], 0
    for iteration in range(2 * plan.iterations_of_a_plane + AHEAD):
        begun.append(begun[-1])
        for _ in range(plan.transfers):
            credit += plan.units_of_a_plane - possible
            if credit < 0:
                credit += possible
            else:
                begun[-1] += 1
        there = begun[max(0, iteration - AHEAD + 1)]
        assert there >= (last_line(plan, iteration) + 1) * plan.pieces
        in_use = first_line(plan, max(0, iteration - MAX_STAGES))
        assert begun[-1] // plan.pieces - in_use < plan.ring_lines


def test_fixed_fields_leave_their_ways() -> None:
    stages, stored = _depthwise(14, 28, 72)
    found = plan_windows(stages, stored, {"group": 4, "pads": 2})
    assert found is not None
    plan, decision = found
    assert (plan.group, plan.pads) == (4, 2)
    assert decision.fields == {"lines": 14, "columns": 28, "group": 4, "pads": 2, "pieces": plan.pieces}
