"""Images in two halves: which rows a block has, and where they lie."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from atalla_mlir.codegen.footprints import Window
from atalla_mlir.codegen.halved_blocks import HalvedResults, halved_blocks, halved_results
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Node, Stage, StageKind
from atalla_mlir.codegen.pad_images import (
    HalvedRows,
    Halves,
    ImageShape,
    ImageWalk,
    PadImage,
    can_halve,
    coalesce_pictures,
    held_ranges,
    image_walk,
    is_whole_image,
    split_pictures,
    stored_lines,
)

WINDOW = Window((3, 3), (1, 1), (1, 1), (9 * 64, 64), 2, 64)


@pytest.mark.parametrize("lines", range(1, 10))
@pytest.mark.parametrize("width", [1, 3, 4])
@pytest.mark.parametrize("alternates", [False, True])
def test_all_rows_of_a_block_come_once(lines: int, width: int, alternates: bool) -> None:
    halves = Halves(lines)
    for own in range(1, halves.extent + 1):
        order = HalvedRows(halves, own, width, alternates)
        places = [order.place(row) for row in range(order.rows)]
        assert len(set(places)) == order.rows
        own_lines = {(half, line) for half, line, _ in places if half == 0 or line >= order.skipped}
        assert all(order.line(order.number(half, line)) == (half, line) for half, line in own_lines)
        reads = [sum(half == other for half, _, _ in places) for other in range(2)]
        assert 0 <= reads[0] - reads[1] <= (1 if alternates else order.skipped * width)
        results = {(halves.firsts[half] + line, pixel) for half, line, pixel in places}
        if own == halves.extent:
            assert len(results) == len(places) == lines * width
        else:
            assert order.rows == 2 * own * width


@pytest.mark.parametrize("pixels", range(1, 12))
def test_a_shared_pixel_comes_from_the_same_half_in_all_blocks(pixels: int) -> None:
    lines, along = Loop(7, "y"), Loop(pixels, "x")
    for results in halved_results(lines, along, 40, 4):
        order, starts = results.in_order, range(0, results.blocks_across * results.width, results.width)
        firsts = [min(start, pixels - results.width) for start in starts]
        shared = range(order.skipped * results.width)
        found = {(line, first + pixel, half) for first in firsts for half, line, pixel in map(order.place, shared)}
        assert len({pixel for _, pixel, _ in found}) == len(found)


@pytest.mark.parametrize("rows", [5, 7, 25, 33, 197])
def test_transfers_bring_rows_of_an_odd_matrix_to_their_places(rows: int) -> None:
    lines, pixels = Loop(rows, "m"), Loop(1, "one")
    access = Access(Buffer("x", rows * 64), 0, {lines: 64, pixels: 64})
    found = list(halved_results(lines, pixels, 100, 4))
    assert found
    for results in found:
        brought: dict[tuple[int, int], int] = {}
        for piece in range(results.num_pieces):
            for row in range(results.rows_of_piece(piece)):
                element = results.piece_offset(piece, access) + row * results.pitch(access)
                brought[results.pad_of_piece(piece), results.row_of_piece(piece) + row] = element // 64
        wanted = {}
        for row in range(results.rows):
            half, line, _ = results.in_order.place(row)
            wanted[results.place(row)] = results.halves.firsts[half] + line
        assert wanted == brought
        # each half of a block ends within its half of the matrix
        assert results.lines < results.halves.extent and results.lines % 2 == 0


def test_blocks_cover_the_image() -> None:
    lines, pixels = Loop(7, "y"), Loop(6, "x")
    for results in halved_results(lines, pixels, 100, 4):
        extent, firsts = results.halves.extent, results.halves.firsts
        covered = {
            (firsts[half] + min(down * results.lines, extent - results.lines) + line, first + pixel)
            for down in range(-(-extent // results.lines))
            for across in range(results.blocks_across)
            for first in [min(across * results.width, 6 - results.width)]
            for half, line, pixel in map(results.in_order.place, range(results.rows))
        }
        assert covered == {(line, pixel) for line in range(7) for pixel in range(6)}


def test_staged_rows_have_places_of_their_own_and_pieces_hold_them() -> None:
    lines, pixels, buffer = Loop(8, "y"), Loop(12, "x"), Buffer("image", 8 * 12 * 32)
    access = Access(buffer, 0, {lines: 12 * 32, pixels: 32})
    for results in halved_results(lines, pixels, 100, 4):
        assert len({results.place(row) for row in range(results.rows)}) == results.rows
        assert {_element(results, access, row) for row in range(results.rows)} == _sent(results, access)


def _element(results: HalvedResults, access: Access, row: int) -> tuple[tuple[int, int], int]:
    half, line, pixel = results.in_order.place(row)
    down, along = results.strides(access)
    return results.place(row), (results.halves.firsts[half] + line) * down + pixel * along


def _sent(results: HalvedResults, access: Access) -> set[tuple[tuple[int, int], int]]:
    """Places in staging areas that transfers read, and where they store them."""
    return {
        (
            (results.pad_of_piece(piece), results.row_of_piece(piece) + row),
            results.piece_offset(piece, access) + row * results.pitch(access),
        )
        for piece in range(results.num_pieces)
        for row in range(results.rows_of_piece(piece))
    }


def test_windows_find_their_pixels_in_an_image() -> None:
    lines, pixels = Loop(7, "y"), Loop(6, "x")
    image = PadImage(9, 8, 2, 0, (0, 3), 6, 0)
    for results in halved_results(lines, pixels, 100, 4):
        blocks = halved_blocks(results, WINDOW, image)
        for row in range(blocks.rows):
            half, line, pixel = results.in_order.place(row)
            first = image.row(half, results.halves.firsts[half], 0)
            wanted = image.row(half, results.halves.firsts[half] + line, pixel)
            assert blocks.place(row) == (half, wanted - first)


def test_walks_over_an_image() -> None:
    lines, pixels, channels = Loop(4, "y"), Loop(3, "x"), Loop(64, "c")
    shape, buffer = ImageShape(10, 8, 64), Buffer("image", 10 * 8 * 64)
    access = Access(buffer, (8 + 1) * 64, {lines: 2 * 8 * 64, pixels: 2 * 64, channels: 1})
    assert image_walk(access, shape, (lines, pixels)) == ImageWalk(1, 1, 2, 2)
    assert image_walk(access, ImageShape(10, 7, 64), (lines, pixels)) is None
    assert image_walk(access, shape, (lines,)) is None
    assert image_walk(Access(buffer, 32, access.strides), shape, (lines, pixels)) is None


def test_walks_over_some_slices_of_an_image() -> None:
    lines, pixels, channels = Loop(10, "y"), Loop(8, "x"), Loop(32, "c")
    shape, buffer = ImageShape(10, 8, 96), Buffer("image", 10 * 8 * 96)
    strides = {lines: 8 * 96, pixels: 96, channels: 1}
    walk = image_walk(Access(buffer, 64, strides), shape, (lines, pixels), in_any_slice=True)
    assert walk == ImageWalk(0, 0, 1, 1, 2)
    assert image_walk(Access(buffer, 48, strides), shape, (lines, pixels), in_any_slice=True) is None


PICTURES = Loop(6, "n")


def _batch(lines: int, pixels: int) -> Iterator[HalvedResults]:
    return halved_results(Loop(lines, "y"), Loop(pixels, "x"), 100, 4, PICTURES)


def test_halves_of_a_batch_are_whole_pictures() -> None:
    halves = Halves(5, 6)
    assert (halves.extent, halves.shared, halves.own_pictures) == (5, 0, 3)
    assert halves.distance(lines=7, pictures=100) == 300
    assert Halves(5).distance(lines=7, pictures=100) == 14
    walk = ImageWalk(1, 1, 1, 1, picture_lines=7)
    assert [walk.first_line(halves, half) for half in range(2)] == [1, 22]
    assert held_ranges(halves, walk, 1) == [(0, 21), (21, 42)]
    assert held_ranges(Halves(5), ImageWalk(1, 1, 2, 1), 3) == [(1, 8), (5, 12)]


def test_halves_may_be_those_of_each_picture() -> None:
    halves = Halves(5, 3, of_each=True)
    assert (halves.extent, halves.shared, halves.own_pictures, halves.are_whole) == (3, 1, 3, False)
    assert halves.firsts == (0, 2) and halves.distance(lines=7, pictures=100) == 14
    walk = ImageWalk(1, 1, 1, 1, picture_lines=7)
    assert held_ranges(halves, walk, 3) == [(1, 6), (3, 8)]
    assert [stored_lines(halves, walk, half) for half in range(2)] == [range(3), range(2, 5)]
    image = PadImage(3 * 7, 8, 2, 0, (0, 2), 5, 0, pictures=3, of_each=True)
    assert (image.picture_rows, image.slice_rows, image.own_rows) == (40, 120, 240)
    assert [image.row(half, 4, 1) for half in range(2)] == [33, 17]
    assert image.shape == ImageShape(21, 8, 64, 3, of_each=True)


@pytest.mark.parametrize("rows", [(96,), (3, 32), (3, 4, 8)])
def test_rows_are_those_of_pictures_of_which_each_has_halves(rows: tuple[int, ...]) -> None:
    loops, lane = [Loop(extent) for extent in rows], Loop(32)
    strides = {loop: 32 * math.prod(rows[at + 1 :]) for at, loop in enumerate(loops)}
    access = Access(Buffer("x", 96 * 32), 0, {**strides, lane: 1})
    stage = Stage(StageKind.MAP, [*loops, lane], [], access, Node("constant", value=0.0))
    assert split_pictures([stage], loops, 3)
    *found, _ = stage.loops
    pixels = 8 if len(rows) == 3 else 16
    assert [loop.extent for loop in found] == [3, 32 // pixels, pixels]
    shape = ImageShape(96 // pixels, pixels, 32, 3, of_each=True)
    walk = image_walk(stage.write, shape, found, of_each=True)
    assert walk == ImageWalk(0, 0, 1, 1, picture_lines=32 // pixels)
    assert image_walk(stage.write, shape, found) is None
    assert image_walk(stage.write, replace(shape, of_each=False), found, of_each=True) is None


@pytest.mark.parametrize(("rows", "pictures"), [((90,), 4), ((2, 45), 3)])
def test_rows_of_other_pictures_have_no_halves(rows: tuple[int, ...], pictures: int) -> None:
    assert not split_pictures([], [Loop(extent) for extent in rows], pictures)


@pytest.mark.parametrize(("pictures", "pixels"), [(3, 16), (4, 16), (2, 64), (5, 10)])
def test_blocks_cover_both_halves_of_each_picture(pictures: int, pixels: int) -> None:
    picture, lines, along = Loop(pictures), Loop(2), Loop(pixels)
    image = PadImage(2 * pictures, pixels, 1, 0, (0, 1), 1, 0, pictures=pictures, of_each=True)
    found = list(halved_results(lines, along, 100, 4, picture, of_each=True))
    assert {1, pictures} <= {results.pictures_together for results in found}
    for results in found:
        blocks = halved_blocks(results, replace(WINDOW, taps=(1, 1)), image)
        places = {
            (half, number * together * image.picture_rows + first + at)
            for together in [results.pictures_together]
            for number in range(results.num_pictures)
            for across in range(results.blocks_across)
            for first in [min(across * results.width, pixels - results.width)]
            for half, at in map(blocks.place, range(blocks.rows))
        }
        assert places == {(half, row) for half in range(2) for row in range(image.slice_rows)}


def test_blocks_of_a_batch_cover_all_its_pictures() -> None:
    for results in _batch(7, 6):
        together, down = results.pictures_together, results.blocks_of_picture // results.blocks_across
        assert results.num_blocks == 3 // together * down * results.blocks_across
        covered = {
            (
                half * 3 + picture * together + own,
                min(block * results.lines, results.num_lines - results.lines) + at,
                first + pixel,
            )
            for picture in range(results.num_pictures)
            for block in range(down)
            for across in range(results.blocks_across)
            for first in [min(across * results.width, 6 - results.width)]
            for half, line, pixel in map(results.in_order.place, range(results.rows))
            for own, at in [results.halves.of_picture(line)]
        }
        assert covered == {(picture, line, pixel) for picture in range(6) for line in range(7) for pixel in range(6)}


def test_transfers_bring_rows_of_both_halves_of_a_batch_to_their_places() -> None:
    for results in _batch(8, 12):
        assert results.line_loop is not None and results.loop is not None
        strides = {PICTURES: 5000, results.line_loop: 400, results.loop: 32}
        access = Access(Buffer("images", 1 << 20), 0, strides)
        found = {
            (results.place(row), (half * 3 + picture) * 5000 + at * 400 + pixel * 32)
            for row in range(results.rows)
            for half, line, pixel in [results.in_order.place(row)]
            for picture, at in [results.halves.of_picture(line)]
        }
        assert found == _sent(results, access)


@pytest.mark.parametrize("lines", [2, 7])
def test_windows_find_their_pixels_in_the_pictures_of_a_batch(lines: int) -> None:
    own = lines + 2
    image = PadImage(6 * own, 8, 2, 0, (0, 3 * own), 3 * own, 0, pictures=6)
    for results in _batch(lines, 6):
        blocks = halved_blocks(results, WINDOW, image)
        assert blocks.block_strides == (8, 1, own * 8)
        for row in range(blocks.rows):
            half, line, pixel = results.in_order.place(row)
            picture, at = results.halves.of_picture(line)
            assert blocks.place(row) == (half, image.row(half, image.starts[half] + picture * own + at, pixel))


def test_walks_over_a_batch() -> None:
    lines, pixels, channels = Loop(4, "y"), Loop(3, "x"), Loop(64, "c")
    rows, shape = (PICTURES, lines, pixels), ImageShape(6 * 10, 8, 64, 6)
    buffer, inside = Buffer("images", 6 * 10 * 8 * 64), {lines: 2 * 8 * 64, pixels: 2 * 64, channels: 1}
    access = Access(buffer, (8 + 1) * 64, {PICTURES: 10 * 8 * 64, **inside})
    assert image_walk(access, shape, rows) == ImageWalk(1, 1, 2, 2, picture_lines=10)
    assert image_walk(access, ImageShape(6 * 10, 8, 64), rows) is None
    assert image_walk(Access(buffer, 0, {PICTURES: 9 * 8 * 64, **inside}), shape, rows) is None
    # one picture of several is none of the halves of all
    assert image_walk(Access(buffer, 0, inside), shape, rows[1:]) is None
    assert not can_halve((Loop(3, "n"), lines, pixels))


def test_lines_of_all_pictures_are_walked_as_one_image() -> None:
    lines, pixels, channels = Loop(30, "y"), Loop(8, "x"), Loop(64, "c")
    shape, buffer = ImageShape(60, 8, 64, 6), Buffer("images", 60 * 8 * 64)
    access = Access(buffer, 0, {lines: 2 * 8 * 64, pixels: 64, channels: 1})
    assert image_walk(access, shape, (lines, pixels)) == ImageWalk(0, 0, 2, 1)
    assert is_whole_image((Loop(60), pixels), shape) and is_whole_image((PICTURES, Loop(10), pixels), shape)
    assert not is_whole_image((PICTURES, Loop(9), pixels), shape)


def test_loops_over_pictures_and_lines_are_one_where_nothing_lies_between() -> None:
    for frame in (0, 2):
        lines, pixels, channels = Loop(4, "y"), Loop(3, "x"), Loop(32, "c")
        own = {PICTURES: 12 * 32, lines: 3 * 32, pixels: 32, channels: 1}
        read = Access(Buffer("x", 1 << 16), 0, {**own, PICTURES: (4 + frame) * 3 * 32})
        stages = [Stage(StageKind.MAP, list(own), [read], Access(Buffer("y", 1 << 16), 0, own), Node("load", read=0))]
        coalesce_pictures(stages, (PICTURES, lines, pixels))
        assert [loop.extent for loop in stages[0].loops] == ([6, 4, 3, 32] if frame else [24, 3, 32])


def test_lines_of_several_small_pictures_are_a_block() -> None:
    """Of 2 x 3 pixels each, three in a half: one at a time, or all."""
    found = {(results.lines, results.width): results for results in _batch(2, 3)}
    assert {lines for lines, _ in found} == {1, 2, 6}
    whole, one = found[6, 3], found[2, 3]
    assert (whole.rows, whole.pictures_together, whole.num_pictures, whole.num_blocks) == (36, 3, 1, 1)
    assert (one.rows, one.pictures_together, one.num_pictures, one.num_blocks) == (12, 1, 3, 3)
    assert [whole.halves.of_picture(line) for line in (0, 1, 2, 5)] == [(0, 0), (0, 1), (1, 0), (2, 1)]
    assert Halves(7).of_picture(5) == (0, 5)
