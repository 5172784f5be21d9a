"""Images dealt out over the pads: where pixels lie, and how near a result may follow those that are still read."""

from __future__ import annotations

import pytest

from atalla_mlir.codegen.dealt_images import NUM_PADS, DealtImage, LineByLine, can_deal
from atalla_mlir.codegen.iteration import Loop
from atalla_mlir.codegen.pad_images import HALVES, ImageWalk, PadImage
from atalla_mlir.codegen.phase_plan import MAX_STAGES
from atalla_mlir.codegen.row_blocks import Blocks


@pytest.mark.parametrize("low", [0, 1, 3])
@pytest.mark.parametrize("pixels", [1, 7, 8])
def test_each_pixel_has_a_place_of_its_own(low: int, pixels: int) -> None:
    image = DealtImage(3, pixels, 2, low, -(-(low + pixels) // NUM_PADS))
    places = [image.place(pixel) for pixel in range(pixels)]
    assert len(set(places)) == pixels
    assert all(0 <= row < image.line_rows for _, row in places)
    assert [pad for pad, _ in places] == [(low + pixel) % NUM_PADS for pixel in range(pixels)]


@pytest.mark.parametrize(
    ("lines", "width", "deals"), [(2, 8, True), (2, 6, False), (1, 12, True), (5, 12, True), (2, 4, True)]
)
def test_tiles_begin_in_the_same_pad(lines: int, width: int, deals: bool) -> None:
    down, along = Loop(10, "y"), Loop(12, "x")
    assert can_deal(Blocks(down, along, lines, width, NUM_PADS), along) is deals
    assert can_deal(Blocks(along, down, width, lines, NUM_PADS), along) is deals


def _read(image: DealtImage, windows: LineByLine, taps: int, part: int, line: int) -> set[int]:
    """Rows from the begin of an image that windows of a line look at."""
    first = line * windows.step - windows.low
    seen = (at for at in range(first, first + taps) if 0 <= at < image.lines)
    begins = (part * image.slice_rows + at * image.line_rows for at in seen)
    frame = range(image.own_rows, image.own_rows + image.spare)
    return {begin + row for begin in begins for row in range(image.line_rows)} | set(frame)


def _stored(result: PadImage, walk: ImageWalk, part: int, line: int) -> set[int]:
    """Rows from the begin of a result's area that a line of results is stored to, in one half or the other."""
    rows = set(range(result.spare))
    for half in range(HALVES):
        at = line + walk.line - result.starts[half]
        if 0 <= at < result.held:
            first = result.spare + part * result.slice_rows + at * result.pixels
            rows |= set(range(first, first + result.pixels))
    return rows


@pytest.mark.parametrize(("taps", "step", "low"), [(3, 2, 1), (2, 2, 0), (3, 1, 1), (2, 1, 0)])
@pytest.mark.parametrize(("slices", "outs", "framed"), [(1, 9, 0), (2, 12, 1), (3, 5, 1)])
def test_nothing_is_written_over_that_is_still_read(
    taps: int, step: int, low: int, slices: int, outs: int, framed: int
) -> None:
    lines = (outs - 1) * step + taps - 2 * low
    pixels = lines
    image = DealtImage(lines, pixels, slices, low, -(-(low + pixels) // NUM_PADS), spare=3)
    whole = outs + 2 * framed
    held = -(-whole // 2) + 1
    result = PadImage(whole, whole, slices, 0, (0, whole - held), held, 8, 8)
    walk = ImageWalk(framed, framed, 1, 1)
    windows = LineByLine(outs, step, low)
    distance = windows.distance(image, result, walk)
    order = [(part, line) for part in range(slices) for line in range(outs)]
    for at, stored in enumerate(order):
        written = _stored(result, walk, *stored)
        for reading in order[max(0, at - MAX_STAGES) :]:
            assert not written & {distance + row for row in _read(image, windows, taps, *reading)}
