"""Blocks of rows: where their rows lie, what their transfers hold, and which cut is chosen."""

from __future__ import annotations

import pytest

from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.row_blocks import Blocks, row_blocks

PADS = 4
LINES, PIXELS = Loop(14), Loop(14)


def access(line: int, pixel: int) -> Access:
    """Rows of an image: elements from line to line, and from pixel to pixel."""
    return Access(Buffer("image", 1 << 20), 0, {LINES: line, PIXELS: pixel})


def places(blocks: Blocks) -> list[tuple[int, int]]:
    return [blocks.place(row) for row in range(blocks.rows)]


def element(blocks: Blocks, operand: Access, place: tuple[int, int]) -> int:
    """What the transfers of a block put into a row of a pad: the element in DRAM that the row begins with."""
    pad, row = place
    piece = pad + row // blocks.piece_rows * blocks.pads
    assert row % blocks.piece_rows < blocks.rows_of_piece(piece)
    return blocks.piece_offset(piece, operand) + row % blocks.piece_rows * blocks.pitch(operand)


@pytest.mark.parametrize(("lines", "width"), [(1, 14), (2, 14), (4, 14), (7, 14), (7, 7), (3, 5)])
@pytest.mark.parametrize("in_a_run", [False, True])
def test_transfers_bring_each_row_to_its_place(lines: int, width: int, in_a_run: bool) -> None:
    operand = access(16 * 32, 32)
    blocks = Blocks(LINES, PIXELS, lines, width, PADS)
    run = blocks.in_a_run(operand)
    if in_a_run and run is not None:
        blocks = run
    assert len(set(places(blocks))) == blocks.rows
    for row, place in enumerate(places(blocks)):
        line, pixel = divmod(row, width)
        assert element(blocks, operand, place) == line * 16 * 32 + pixel * 32


def test_a_run_takes_one_piece_for_each_pad() -> None:
    blocks = Blocks(LINES, PIXELS, 7, 14, PADS)
    run = blocks.in_a_run(access(16 * 32, 32))
    assert run is not None
    assert (blocks.num_pieces, run.num_pieces) == (7, 4)
    assert run.moved_width == 6 * 16 + 14


@pytest.mark.parametrize("strides", [(16 * 32 + 8, 32), (32, 14 * 32), (0, 32)])
def test_lines_that_are_no_run_stay_apart(strides: tuple[int, int]) -> None:
    assert Blocks(LINES, PIXELS, 7, 14, PADS).in_a_run(access(*strides)) is None


@pytest.mark.parametrize("limit", [20, 64, 100])
def test_cuts_cover_all_rows(limit: int) -> None:
    found = list(row_blocks([LINES, PIXELS], limit, PADS))
    assert found
    for blocks in found:
        assert blocks.rows <= limit
        assert blocks.blocks_across * blocks.width - blocks.excess == PIXELS.extent
        lines = blocks.num_blocks // blocks.blocks_across
        assert lines * blocks.lines - blocks.excess_lines == LINES.extent


def test_each_picture_has_blocks_of_its_own() -> None:
    pictures = Loop(5)
    operand = Access(Buffer("images", 1 << 20), 0, {pictures: 9000, LINES: 16 * 32, PIXELS: 32})
    alone = {(blocks.lines, blocks.width): blocks for blocks in row_blocks([LINES, PIXELS], 64, PADS)}
    found = list(row_blocks([LINES, PIXELS], 64, PADS, pictures))
    assert len(found) == len(alone)
    for blocks in found:
        one = alone[blocks.lines, blocks.width]
        assert blocks.num_blocks == 5 * one.num_blocks == 5 * blocks.blocks_of_picture
        assert blocks.last_offset(operand) == 4 * 9000 + one.last_offset(operand)
        assert places(blocks) == places(one)


def test_blocks_go_over_the_loops_that_stand_for_theirs() -> None:
    others = Loop(5), Loop(14), Loop(14)
    pictures = Loop(5)
    blocks = Blocks(PIXELS, LINES, 7, 8, PADS, picture_loop=pictures)
    renamed = blocks.over(dict(zip((pictures, LINES, PIXELS), others, strict=True)))
    assert (renamed.picture_loop, renamed.line_loop, renamed.loop) == (others[0], others[2], others[1])
    assert Blocks(None, LINES, 1, 7, PADS).over({LINES: others[1]}) == Blocks(None, others[1], 1, 7, PADS)
