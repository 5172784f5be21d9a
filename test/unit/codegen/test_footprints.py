"""Windows in the pads: transfers of image lines, and addresses of taps, against the windows themselves."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from atalla_mlir.codegen.footprints import FootprintBlocks, Window, footprint_blocks, run_window_of, window_of
from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.product_plan import ProductPlan
from atalla_mlir.codegen.row_blocks import Blocks

PADS = 4
CHANNELS, OUTPUTS = 64, Loop(32, "output")
LINES, PIXELS = Loop(14, "line"), Loop(14, "pixel")
WIDTH = 40
"""Pixels of an image line."""


def window(taps: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]) -> Window:
    line = WIDTH * CHANNELS
    return Window(taps, dilation, stride, (line, CHANNELS), CHANNELS // 32, CHANNELS)


def image(stride: tuple[int, int]) -> Access:
    steps = {LINES: stride[0] * WIDTH * CHANNELS, PIXELS: stride[1] * CHANNELS}
    return Access(Buffer("image", 1 << 20), 0, steps)


def pads_after_transfers(blocks: FootprintBlocks, operand: Access) -> dict[tuple[int, int], int]:
    """Pad and row of the first slice -> element of the image that the row begins with."""
    held: dict[tuple[int, int], int] = {}
    for piece, line, row in itertools.product(
        range(blocks.num_pieces), range(blocks.transfers), range(blocks.piece_rows)
    ):
        element = blocks.piece_offset(piece, operand) + line * blocks.seen.strides[0] + row * blocks.pitch(operand)
        held[piece, line * blocks.piece_rows + row] = element
    return held


def tap_rows(blocks: FootprintBlocks) -> list[int]:
    """Rows from the first tap to each of them, in order."""
    levels = [[index * rows for index in range(count)] for count, rows in blocks.tap_levels]
    return [sum(parts) for parts in itertools.product(*levels)]


@pytest.mark.parametrize(("lines", "width"), [(1, 14), (2, 14), (4, 7), (7, 14), (7, 7), (5, 3), (14, 1)])
@pytest.mark.parametrize("taps", [(3, 3), (1, 3), (3, 1), (5, 2)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 2)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1), (1, 3)])
def test_each_tap_finds_what_its_window_sees(
    lines: int, width: int, taps: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> None:
    seen, operand = window(taps, stride, dilation), image(stride)
    found = footprint_blocks(Blocks(LINES, PIXELS, lines, width, PADS), seen)
    if not found:
        # whatever the cut: an image line is too long for a transfer, or there are more of them than taps
        for down in range(1, PADS + 1):
            transfers, rows = seen.reach(-(-lines // down), -(-width // (PADS // down)))
            assert rows > 32 or transfers > seen.num_taps
    for blocks in found:
        check(blocks, operand)


def check(blocks: FootprintBlocks, operand: Access) -> None:
    """Every tap of every result must find the element of the image that its window sees."""
    seen, (line_step, row_step) = blocks.seen, blocks.strides(operand)
    assert blocks.piece_rows <= 32
    assert blocks.transfers <= seen.num_taps
    held = pads_after_transfers(blocks, operand)
    for row in range(blocks.rows):
        line, pixel = divmod(row, blocks.width)
        pad, at = blocks.place(row)
        for number, further in enumerate(tap_rows(blocks)):
            down, along = divmod(number, seen.taps[1])
            moved = [
                tap * step * size
                for tap, step, size in zip((down, along), seen.tap_distance, seen.strides, strict=True)
            ]
            assert held[pad, at + further] == line * line_step + pixel * row_step + sum(moved)


def test_pads_read_about_as_many_rows() -> None:
    found = footprint_blocks(Blocks(LINES, PIXELS, 7, 14, PADS), window((3, 3), (1, 1), (1, 1)))
    for blocks in found:
        pads = [blocks.place(row)[0] for row in range(blocks.rows)]
        assert max(map(pads.count, range(PADS))) == 28
    assert [(blocks.transfers, blocks.piece_rows) for blocks in found] == [(9, 6), (6, 9), (4, 16)]


def plan_of(taps: tuple[Loop, ...], run: Loop) -> ProductPlan:
    return ProductPlan(0, 1, (), (LINES, PIXELS), (OUTPUTS,), OUTPUTS, taps, run, 64)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_window_of_a_run_of_pixels(stride: int) -> None:
    down, run = Loop(3, "down"), Loop(3 * CHANNELS, "run")
    line = WIDTH * CHANNELS
    streamed = replace(image((stride, stride)), strides={**image((stride, stride)).strides, down: line, run: 1})
    pushed = Access(Buffer("weights", 1 << 20), 0, {OUTPUTS: 9 * CHANNELS, down: 3 * CHANNELS, run: 1})
    expected = window((3, 3), (stride, stride), (1, 1))
    assert window_of(plan_of((down,), run), streamed, pushed) == expected


def test_the_window_of_taps_apart() -> None:
    down, along, run = Loop(3, "down"), Loop(3, "along"), Loop(CHANNELS, "run")
    line = WIDTH * CHANNELS
    steps = {LINES: line, PIXELS: CHANNELS, down: 2 * line, along: 2 * CHANNELS, run: 1}
    streamed = Access(Buffer("image", 1 << 20), 0, steps)
    pushed = Access(Buffer("weights", 1 << 20), 0, {OUTPUTS: 9 * CHANNELS, down: 3 * CHANNELS, along: CHANNELS, run: 1})
    assert window_of(plan_of((down, along), run), streamed, pushed) == window((3, 3), (1, 1), (2, 2))


@pytest.mark.parametrize("pixel", [16, 48])
def test_pixels_that_are_no_slices_have_no_window(pixel: int) -> None:
    down, run = Loop(3, "down"), Loop(3 * pixel, "run")
    streamed = Access(Buffer("image", 1 << 20), 0, {LINES: WIDTH * pixel, PIXELS: pixel, down: WIDTH * pixel, run: 1})
    pushed = Access(Buffer("weights", 1 << 20), 0, {OUTPUTS: 9 * pixel, down: 3 * pixel, run: 1})
    assert window_of(plan_of((down,), run), streamed, pushed) is None


CHANNELS_OF_RUNS = 3


def runs(stride: int) -> tuple[ProductPlan, Access, Access]:
    """A window of 7x7 over pixels of 3 channels: 7 runs of 21 elements."""
    down, run = Loop(7, "down"), Loop(7 * CHANNELS_OF_RUNS, "run")
    line = WIDTH * CHANNELS_OF_RUNS
    steps = {LINES: stride * line, PIXELS: stride * CHANNELS_OF_RUNS, down: line, run: 1}
    pushed = Access(Buffer("weights", 1 << 20), 0, {OUTPUTS: 7 * run.extent, down: run.extent, run: 1})
    return plan_of((down,), run), Access(Buffer("image", 1 << 20), 0, steps), pushed


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("columns", "lines"), [(4, 14), (4, 7), (7, 2), (2, 14)])
def test_runs_of_lines_are_taps_down_the_image(stride: int, columns: int, lines: int) -> None:
    plan, streamed, pushed = runs(stride)
    assert window_of(plan, streamed, pushed) is None
    seen = run_window_of(plan, streamed, pushed, 21)
    assert seen is not None
    assert (seen.taps, seen.slices, seen.lanes, seen.tap_stride) == ((1, 7), 1, 21, 21)
    found = footprint_blocks(Blocks(PIXELS, LINES, columns, lines, PADS), seen)
    assert found
    for blocks in found:
        check(blocks, streamed)
