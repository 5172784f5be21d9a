"""Plans of fills: that transfers cover what stages write, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from atalla_mlir.codegen.fill_plan import FillPlan, Moves, plan_fill
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Node, Stage, StageKind

PADS = 4


def _stage(buffer: Buffer, offset: int, dims: Sequence[tuple[int, int]], value: float = 0.0) -> Stage:
    strides = {Loop(extent): stride for extent, stride in dims if extent > 1}
    write = Access(buffer, offset, strides)
    return Stage(StageKind.MAP, list(strides), [], write, Node("constant", value=value))


def _frame(lines: int, columns: int, channels: int, images: int = 1) -> list[Stage]:
    """The frame, one wide, around images with channels innermost; sizes are those of the framed image."""
    line = columns * channels
    image = lines * line
    buffer = Buffer("x", images * image)
    across = [(images, image), (columns, channels), (channels, 1)]
    down = [(images, image), (lines - 2, line), (channels, 1)]
    return [
        _stage(buffer, 0, across),
        _stage(buffer, image - line, across),
        _stage(buffer, line, down),
        _stage(buffer, 2 * line - channels, down),
    ]


def _elements(stages: Sequence[Stage]) -> set[int]:
    found: set[int] = set()
    for stage in stages:
        places = {stage.write.offset}
        for loop, stride in stage.write.strides.items():
            places = {place + at * stride for place in places for at in range(loop.extent)}
        found |= places
    return found


def _covered(move: Moves) -> set[int]:
    found: set[int] = set()
    for number in range(move.turns * move.pads):
        start = move.first + min(number * move.step, move.last)
        for offset in move.offsets:
            for row in range(move.rows):
                first = start + offset + row * move.pitch
                found |= set(range(first, first + move.cols))
    return found


def _plan(stages: Sequence[Stage]) -> FillPlan:
    plan = plan_fill(stages, PADS)
    assert plan is not None
    assert _elements(stages) == set().union(*map(_covered, plan.moves))
    for move in plan.moves:
        assert 1 <= move.rows <= 32
        assert 1 <= move.cols <= 32
        assert move.pads <= PADS
        assert move.rows == 1 or move.cols <= move.pitch
    return plan


@pytest.mark.parametrize("channels", [1, 3, 32, 40, 96, 144, 960])
@pytest.mark.parametrize(("lines", "columns"), [(9, 9), (16, 16), (58, 58), (114, 114), (3, 70), (40, 3)])
def test_frames(channels: int, lines: int, columns: int) -> None:
    assert len(_plan(_frame(lines, columns, channels)).moves) <= 6


def test_frames_of_a_batch() -> None:
    _plan(_frame(9, 9, 24, images=5))


@pytest.mark.parametrize("size", [1, 31, 32, 33, 1000, 4096, 100_000])
def test_all_of_a_buffer(size: int) -> None:
    _plan([_stage(Buffer("x", size), 0, [(size, 1)])])


def test_what_is_right_of_a_line_and_left_of_the_next_is_one_run() -> None:
    plan = _plan(_frame(16, 16, 64))
    assert any(move.pitch == 16 * 64 and move.offsets == (0,) and move.step == 32 for move in plan.moves)


def test_elements_far_apart() -> None:
    _plan([_stage(Buffer("x", 50 * 77), 3, [(50, 77)])])


@pytest.mark.parametrize("stages", ["numbers", "buffers", "copy", "many"])
def test_what_is_no_fill_has_no_plan(stages: str) -> None:
    buffer, other = Buffer("x", 1 << 20), Buffer("y", 64)
    ones = _stage(buffer, 0, [(64, 1)], 1.0)
    copied = _stage(buffer, 64, [(64, 1)])
    copied.reads, copied.body = [Access(other, 0, dict(copied.write.strides))], Node("load", read=0)
    rows = [_stage(buffer, at * at * 64, [(32, 1)]) for at in range(100)]
    cases = {
        "numbers": [ones, _stage(buffer, 64, [(64, 1)], 2.0)],
        "buffers": [ones, _stage(other, 0, [(64, 1)], 1.0)],
        "copy": [copied],
        "many": rows,
    }
    assert plan_fill(cases[stages], PADS) is None
