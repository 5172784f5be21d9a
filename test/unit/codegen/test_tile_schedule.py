"""Which operands of an epilogue a walk over tiles takes in, and how its tiles follow each other."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from atalla_mlir.codegen.footprints import Window
from atalla_mlir.codegen.halved_blocks import halved_blocks, halved_results
from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.pad_images import PadImage
from atalla_mlir.codegen.product_plan import ProductPlan
from atalla_mlir.codegen.row_blocks import Blocks
from atalla_mlir.codegen.tile_cost import (
    BETWEEN_PACKETS,
    COLD_CYCLES,
    ROW_PACKETS,
    STEP_OVERHEAD,
    STEP_PACKETS,
    Epilogue,
    early_iterations,
    fill_cycles,
    late_rows,
    least_cycles,
    predicted_cycles,
    streams_steps,
)
from atalla_mlir.codegen.tile_schedule import Depth, DepthLevel, TileSchedule, is_column_read

GROUP, PIXEL, CHANNEL, DEPTH = Loop(4), Loop(49), Loop(32), Loop(32)
PLAN = ProductPlan(0, 1, (GROUP,), (PIXEL,), (CHANNEL,), CHANNEL, (), DEPTH, 64)


@pytest.mark.parametrize(
    ("strides", "expected"),
    [
        ({CHANNEL: 1}, True),
        ({GROUP: 32, CHANNEL: 1}, True),
        ({CHANNEL: 4}, False),
        ({PIXEL: 32, CHANNEL: 1}, False),
        ({GROUP: 1}, False),
        ({}, False),
    ],
)
def test_rows_that_all_rows_of_a_tile_share(strides: dict[Loop, int], expected: bool) -> None:
    assert is_column_read(Access(Buffer("bias", 128), 0, strides), PLAN) is expected


def walk(rows: int, steps: int, *, panel_blocks: int = 1, reads_rows: bool = False) -> TileSchedule:
    """Over a matrix of 200 rows and 96 columns."""
    row, column = Loop(200, "row"), Loop(96, "column")
    streamed = Access(Buffer("rows", 1 << 20), 0, {row: 32 * steps, DEPTH: 1})
    pushed = Access(Buffer("columns", 1 << 20), 0, {column: 32 * steps, DEPTH: 1})
    blocks, columns = Blocks(None, row, 1, rows, 4), Blocks(None, column, 1, 32, 4)
    depth = Depth((DepthLevel(steps, 32, 32),), 32, 32)
    return TileSchedule(streamed, pushed, blocks, columns, blocks, depth, True, panel_blocks, reads_rows=reads_rows)


def on_a_grid(schedule: TileSchedule) -> TileSchedule:
    """The same rows as lines of an image."""
    return replace(schedule, rows=replace(schedule.rows, line_loop=Loop(4, "line"), lines=2, width=28))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (walk(64, 16), True),
        (walk(65, 16), False),  # sums of two tiles and terms do not fit the registers
        (walk(64, 2), False),  # a transfer would be waited for and used in one block
        (walk(64, 33), False),  # totals take the registers
        (walk(64, 16, reads_rows=True), False),
        (walk(56, 16, reads_rows=True), True),
        (on_a_grid(walk(56, 16, reads_rows=True)), False),  # more addresses than the end of a tile has time for
    ],
)
def test_tiles_that_end_with_a_step_of_the_following_one(schedule: TileSchedule, expected: bool) -> None:
    assert schedule.joins_tiles is expected


def resident(rows: int, levels: tuple[DepthLevel, ...], *, panel_blocks: int = 4, columns: int = 96) -> TileSchedule:
    """A walk over rows that are in the pads already; columns come in blocks of 32."""
    steps = math.prod(level.extent for level in levels)
    found, column = walk(rows, steps, panel_blocks=panel_blocks), Loop(columns, "column")
    pushed = Access(Buffer("columns", 1 << 20), 0, {column: 32 * steps, DEPTH: 1})
    cols, depth = replace(found.cols, loop=column), Depth(levels, 32, 32)
    return replace(found, pushed=pushed, cols=cols, depth=depth, resident_step=rows)


SLICES, TAPS = DepthLevel(4, 32, 32), DepthLevel(9, 128, 128)


def image(lines: int, slices: int, *, width: int = 7) -> TileSchedule:
    """3x3 windows on an image of 7 results a line that stays in the pads, in blocks of so many of them."""
    along = Loop(7, "x")
    (results,) = (
        found
        for found in halved_results(Loop(lines, "y"), along, 100, 4)
        if (found.lines, found.width) == (-(-lines // 2), width)
    )
    window = Window((3, 3), (1, 1), (1, 1), (9 * 32 * slices, 32 * slices), slices, 32 * slices)
    pads = PadImage(lines + 2, 9, slices, 0, (0, lines // 2), lines - lines // 2 + 2, 0)
    found = resident(64, (replace(SLICES, extent=slices), TAPS), panel_blocks=results.num_blocks)
    return replace(found, rows=halved_blocks(results, window, pads), results=results, resident_step=0)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (walk(64, 16), True),
        (walk(64, 16, panel_blocks=2), False),
        (walk(64, 7), False),
        (image(7, 4), True),
        (replace(image(7, 4), depth=Depth((DepthLevel(7, 32, 32),), 32, 32)), False),
        (image(7, 4, width=4), False),  # another block of the image comes before the next columns
        (resident(64, (SLICES, TAPS), panel_blocks=1), False),  # the product before it has fetched columns
    ],
)
def test_outer_blocks_that_come_step_by_step(schedule: TileSchedule, expected: bool) -> None:
    assert streams_steps(schedule) is expected


def test_an_image_of_one_block_waits_for_a_few_steps_of_its_columns() -> None:
    epilogue, one, two = Epilogue(0, 0, 0, 1), image(7, 16), image(7, 16, width=4)
    assert fill_cycles(one) < 2 * fill_cycles(two)
    assert predicted_cycles(one, epilogue) < predicted_cycles(two, epilogue)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (resident(80, (DepthLevel(16, 32, 32),)), 2),
        (resident(64, (DepthLevel(16, 32, 32),)), 3),  # tiles that are joined begin a step earlier
        (resident(64, (SLICES, TAPS)), 1),
        (resident(64, (replace(SLICES, extent=1), TAPS)), 0),  # all of the depth is at least so much
        (resident(64, (SLICES, TAPS), columns=32), 0),  # there is no other block
        (resident(64, (replace(SLICES, pushed=1 << 18), TAPS)), 0),  # too many steps would be read from beyond it
        (resident(64, (SLICES, TAPS), panel_blocks=1), 0),  # the tile fetches the next block
        (walk(64, 16, panel_blocks=4), 0),
    ],
)
def test_first_blocks_of_which_only_the_first_steps_come_before_the_first_tile(
    schedule: TileSchedule, expected: int
) -> None:
    assert early_iterations(schedule) == expected


def test_what_the_first_tile_fetches_itself_is_not_waited_for() -> None:
    early, epilogue = resident(64, (SLICES, TAPS)), Epilogue(0, 0, 0, 1)
    # the same steps, of which the last would lie beyond the operand
    waiting = replace(early, pushed=Access(early.pushed.buffer, 0, {DEPTH: 1}))
    assert early_iterations(waiting) == 0
    assert predicted_cycles(early, epilogue) < predicted_cycles(waiting, epilogue)


@pytest.mark.parametrize("rows", [8, 31, 64, 65])
@pytest.mark.parametrize("steps", [2, 16, 33])
@pytest.mark.parametrize("panel_blocks", [1, 4])
def test_no_prediction_is_below_the_least_cycles(rows: int, steps: int, panel_blocks: int) -> None:
    depth = (DepthLevel(steps, 32, 32), TAPS)
    for schedule in (walk(rows, steps, panel_blocks=panel_blocks), resident(rows, depth, panel_blocks=panel_blocks)):
        for operations in (0, 1, 12):
            assert 0 <= least_cycles(schedule) <= predicted_cycles(schedule, Epilogue(operations, operations, 1, 1))


def test_the_least_cycles_of_a_walk_are_its_additions_and_its_code() -> None:
    schedule = walk(100, 16)
    assert not schedule.joins_tiles
    additions = 2 * 3 * 16 * (2 * 100 + STEP_OVERHEAD)
    between = 2 * 3 * (BETWEEN_PACKETS + ROW_PACKETS * 100)
    fetched = schedule.num_panels * COLD_CYCLES * (STEP_PACKETS[0] + STEP_PACKETS[1] * 100)
    assert least_cycles(schedule) == pytest.approx(additions + between + fetched)


@pytest.mark.parametrize(("rows", "steps", "expected"), [(64, 33, True), (65, 33, False), (64, 32, False)])
def test_totals_that_stay_in_registers(rows: int, steps: int, expected: bool) -> None:
    assert walk(rows, steps).keeps_totals is expected


def of_columns(schedule: TileSchedule, columns: int) -> TileSchedule:
    """The same with more columns."""
    return replace(schedule, cols=replace(schedule.cols, loop=Loop(columns, "column")))


GELU_EPILOGUE = Epilogue(12, 6, 0, 1, late=(12, 4))


@pytest.mark.parametrize(
    ("schedule", "epilogue", "expected"),
    [
        (of_columns(walk(100, 24), 3072), GELU_EPILOGUE, 1),  # of 25 rows one is left
        (of_columns(walk(100, 12), 3072), GELU_EPILOGUE, 2),
        (of_columns(walk(64, 24), 3072), GELU_EPILOGUE, 0),  # an iteration would be longer for its chain
        (of_columns(walk(100, 3), 3072), GELU_EPILOGUE, 0),
        (of_columns(walk(100, 40), 3072), GELU_EPILOGUE, 0),  # sums of two levels
        (of_columns(walk(100, 24), 32), GELU_EPILOGUE, 0),  # the last tile has a loop all the same
        (of_columns(walk(100, 24), 3072), replace(GELU_EPILOGUE, late=None), 0),
        (of_columns(walk(100, 24), 3072), replace(GELU_EPILOGUE, late=(12, 12)), 0),  # all of it for the adder
    ],
)
def test_rows_that_are_finished_beside_a_step_of_the_next_tile(
    schedule: TileSchedule, epilogue: Epilogue, expected: int
) -> None:
    assert late_rows(schedule, epilogue) == expected


def test_what_is_finished_beside_the_next_tile_is_predicted_to_take_less() -> None:
    schedule = of_columns(walk(100, 24), 3072)
    in_loop = replace(GELU_EPILOGUE, late=None)
    assert predicted_cycles(schedule, GELU_EPILOGUE) < predicted_cycles(schedule, in_loop)
