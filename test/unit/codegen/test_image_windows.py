"""Windows on the lanes whose results are images: which of them can be, and which plans store whole lines."""

from __future__ import annotations

import pytest

from atalla_mlir.codegen.image_windows import ImageWindows, image_windows
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage, StageKind
from atalla_mlir.codegen.pad_images import ImageShape, PadImage

LINES, PIXELS, CHANNELS = 6, 10, 64
ROOM = 4096


def _pool(*, step: int = 1, frame: float | None = 0.0) -> ImageWindows | None:
    """A maximum over 3x3 windows, stored `step` pixels apart with a pixel around the results."""
    y, x, c, i, j = (Loop(extent, name) for extent, name in zip((LINES, PIXELS, CHANNELS, 3, 3), "yxcij", strict=True))
    line = (PIXELS + 2) * CHANNELS
    image = Access(Buffer("in", (LINES + 2) * line), 0, {y: line, x: CHANNELS, c: 1, i: line, j: CHANNELS})
    wide = (PIXELS * step + 2) * CHANNELS
    result = Access(Buffer("out", (LINES + 2) * wide), wide + CHANNELS, {y: wide, x: step * CHANNELS, c: 1})
    stage = Stage(StageKind.REDUCE, [y, x, c, i, j], [image], result, Node("load", read=0), [i, j], Combine.MAX)
    return image_windows([stage], [result], [], frame)


def _found(step: int = 1) -> ImageWindows:
    windows = _pool(step=step)
    assert windows is not None
    return windows


def _image() -> PadImage:
    return PadImage(LINES + 2, PIXELS + 2, CHANNELS // 32, 0, (0, 3), 5, 0, 32)


def test_results_that_are_neighbours_may_lie_anywhere() -> None:
    windows = _found()
    assert windows.held_lines(windows.result.buffer, ImageShape(LINES + 2, PIXELS + 2, CHANNELS)) == []


def test_other_results_and_what_windows_look_at_are_no_images() -> None:
    apart = _found(step=2)
    assert apart.held_lines(apart.result.buffer, ImageShape(LINES + 2, 2 * PIXELS + 2, CHANNELS)) is None
    windows = _found()
    shape = ImageShape(LINES + 2, PIXELS + 2, CHANNELS)
    assert windows.held_lines(windows.operand, shape) is None
    unframed = _pool(frame=None)
    assert unframed is not None
    assert unframed.held_lines(unframed.result.buffer, shape) is None


@pytest.mark.parametrize("group", [3, 4, 5])
def test_iterations_go_line_by_line_in_groups_of_any_size(group: int) -> None:
    windows = _found()
    images = {windows.result.buffer: _image()}
    chosen = windows.choose(images, ROOM, {"group": group})
    assert chosen is not None
    plan, decision = chosen
    assert (plan.groups, plan.last_group) == {3: (4, 1), 4: (3, 2), 5: (2, 5)}[group]
    assert (plan.lines.outs, plan.columns.outs) == (LINES, PIXELS)
    assert decision.facts["in_pads"] == "result"
    assert decision.facts["kept_bytes"] == 2 * windows.result.buffer.num_elements


@pytest.mark.parametrize("is_kept", [False, True])
def test_a_kernel_without_room_is_not_planned(is_kept: bool) -> None:
    windows = _found()
    images = {windows.result.buffer: _image()} if is_kept else {}
    found = windows.cost(images, pads=4, pad_rows=ROOM)
    assert found is not None
    assert found.cycles > 0
    assert windows.cost(images, pads=4, pad_rows=found.pad_rows) == found
    assert windows.cost(images, pads=4, pad_rows=16) is None
