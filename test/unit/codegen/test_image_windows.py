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


def _pool_of_batch(pictures: int, lines: int) -> ImageWindows | None:
    """A maximum over 3x3 windows of some pictures, of which each has so many lines in the image, unframed results."""
    n, y, x, c, i, j = (
        Loop(extent, name) for extent, name in zip((pictures, LINES, PIXELS, CHANNELS, 3, 3), "nyxcij", strict=True)
    )
    line = (PIXELS + 2) * CHANNELS
    image = Access(
        Buffer("in", pictures * lines * line), 0, {n: lines * line, y: line, x: CHANNELS, c: 1, i: line, j: CHANNELS}
    )
    out = PIXELS * CHANNELS
    result = Access(Buffer("out", pictures * LINES * out), 0, {n: LINES * out, y: out, x: CHANNELS, c: 1})
    stage = Stage(StageKind.REDUCE, [n, y, x, c, i, j], [image], result, Node("load", read=0), [i, j], Combine.MAX)
    return image_windows([stage], [result], [], None)


def test_windows_go_over_the_pictures_of_both_halves() -> None:
    windows = _pool_of_batch(4, LINES + 2)
    assert windows is not None
    shape = ImageShape(4 * LINES, PIXELS, CHANNELS, 4)
    whole = [(0, 2 * LINES), (2 * LINES, 4 * LINES)]
    assert windows.held_lines(windows.result.buffer, shape) == [whole]
    assert windows.held_lines(windows.result.buffer, ImageShape(4 * LINES, PIXELS, CHANNELS)) is None
    image = PadImage(4 * LINES, PIXELS, CHANNELS // 32, 0, (0, 2 * LINES), 2 * LINES, 0, 32, pictures=4)
    chosen = windows.choose({windows.result.buffer: image}, ROOM, {})
    assert chosen is not None
    plan, _ = chosen
    assert (plan.num_planes, plan.lines.outs, plan.columns.outs) == (4, LINES, PIXELS)
    assert _pool_of_batch(3, LINES + 2) is None


@pytest.mark.parametrize(("lines", "is_read"), [(LINES + 2, True), (LINES + 3, False)])
def test_windows_read_pictures_that_are_dealt_out(lines: int, is_read: bool) -> None:
    windows = _pool_of_batch(4, lines)
    assert windows is not None
    dealt = windows.reads_dealt(windows.operand, ImageShape(4 * (LINES + 2), PIXELS + 2, CHANNELS, 4))
    assert (dealt is not None) is is_read
    if dealt is None:
        return
    assert (dealt.picture_rows, dealt.slice_rows) == ((LINES + 2) * 3, 4 * (LINES + 2) * 3)
    chosen = windows.choose({windows.operand: dealt}, ROOM, {})
    assert chosen is not None
    assert chosen[0].plane_rows == dealt.picture_rows
    image = PadImage(4 * LINES, PIXELS, CHANNELS // 32, 0, (0, 2 * LINES), 2 * LINES, 0, 32, pictures=4)
    assert windows.distance(dealt, image) is None
