"""Windows over an image whose pixels lie in the pads once: a tap is an address, not a copy.

A block of results is dealt out over the pads as rectangles of lines and pixels, one for each pad. Of each slice of 32
channels a pad holds what the windows of its rectangle see: the *footprint*, image line after image line, each of which
is one transfer. Rectangles that lie side by side both hold what lies between them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from atalla_mlir.codegen.iteration import Access
from atalla_mlir.codegen.placement import MAX_DMA_ROWS
from atalla_mlir.codegen.product_plan import LANES, ProductPlan
from atalla_mlir.codegen.row_blocks import MAX_PITCH, Blocks


@dataclass(frozen=True)
class Window:
    """Taps over an image of which the pads hold whole slices; pairs are lines and pixels."""

    taps: tuple[int, int]
    tap_distance: tuple[int, int]
    """Image lines and pixels from tap to tap."""
    result_distance: tuple[int, int]
    """Image lines and pixels from result to result."""
    strides: tuple[int, int]
    """Elements from image line to line, and from pixel to pixel."""
    slices: int
    tap_stride: int
    """Elements from tap to tap of the pushed operand."""
    lanes: int = LANES
    """Of a slice."""
    goes_down: bool = False
    """Whether what is called a line is a column of the image, and a pixel a line of it."""

    @property
    def num_taps(self) -> int:
        return math.prod(self.taps)

    def reach(self, lines: int, pixels: int) -> tuple[int, int]:
        """Image lines and pixels that so many lines and pixels of results see."""
        down, along = (
            (count - 1) * result + (taps - 1) * tap + 1
            for count, result, taps, tap in zip(
                (lines, pixels), self.result_distance, self.taps, self.tap_distance, strict=True
            )
        )
        return down, along


def window_of(plan: ProductPlan, streamed: Access, pushed: Access, *, least_taps: int = 2) -> Window | None:
    """The window of a product; None where it has fewer taps, or where a pixel is no multiple of 32 elements.

    The taps along a line may be part of the depth's contiguous run, or a loop of their own.
    """
    lane = plan.depth_lane
    if lane is None or len(plan.depth) > 2 or streamed.stride(lane) != 1 or pushed.stride(lane) != 1:
        return None
    line_loop, pixel_loop = (None, *plan.rows)[-2:] if plan.rows else (None, None)
    result_line = streamed.stride(line_loop) if line_loop is not None else 0
    result_pixel = streamed.stride(pixel_loop) if pixel_loop is not None else 0
    if result_pixel <= 0 or result_line < 0:
        return None
    loops = sorted(plan.depth, key=streamed.stride)
    if loops and streamed.stride(loops[0]) < lane.extent:
        return None
    if len(loops) == 2 or (loops and line_loop is None):
        # the taps along a line are a loop: the run is one pixel
        along, pixel = loops.pop(0), lane.extent
        steps = (along.extent, streamed.stride(along), pushed.stride(along))
        unit = math.gcd(result_pixel, streamed.stride(along))
        if unit < pixel:
            return None
    else:
        pixel = unit = math.gcd(result_pixel, lane.extent)
        steps = (lane.extent // unit, unit, unit)
    line_taps, line_step = (loops[0].extent, streamed.stride(loops[0])) if loops else (1, 0)
    line = math.gcd(result_line, line_step)
    if pixel % LANES or line % unit or (line_loop is None and loops):
        return None
    if loops and pushed.stride(loops[0]) != steps[0] * steps[2]:
        return None
    if line_taps * steps[0] < least_taps or unit > MAX_PITCH:
        return None
    return Window(
        taps=(line_taps, steps[0]),
        tap_distance=(line_step // line if line else 0, steps[1] // unit),
        result_distance=(result_line // line if line else 0, result_pixel // unit),
        strides=(line, unit),
        slices=pixel // LANES,
        tap_stride=steps[2],
    )


def run_window_of(plan: ProductPlan, streamed: Access, pushed: Access, lanes: int) -> Window | None:
    """The window of a product that sees one run of each image line, in slices of `lanes`; None where it has none.

    What neighbouring results see of a line overlaps, but a pad has a row for each of them: only the taps down the image
    are distances in rows. Transfers go down the image, too, so their rows are lines apart.
    """
    lane = plan.depth_lane
    if lane is None or len(plan.depth) != 1 or len(plan.rows) < 2 or pushed.stride(lane) != 1:
        return None
    line_loop, pixel_loop = plan.rows[-2:]
    (taps,) = plan.depth
    result, step = streamed.stride(line_loop), streamed.stride(taps)
    line = math.gcd(result, step)
    if min(result, step) <= 0 or not lanes <= line <= MAX_PITCH or streamed.stride(pixel_loop) <= 0:
        return None
    return Window(
        taps=(1, taps.extent),
        tap_distance=(0, step // line),
        result_distance=(1, result // line),
        strides=(streamed.stride(pixel_loop), line),
        slices=lane.extent // lanes,
        tap_stride=pushed.stride(taps),
        lanes=lanes,
        goes_down=True,
    )


@dataclass(frozen=True)
class FootprintBlocks(Blocks):
    """Blocks of results whose footprints lie in the pads: a rectangle of `part_lines` x `part_width` in each."""

    window: Window | None = None
    part_lines: int = 1
    part_width: int = 1

    @property
    def seen(self) -> Window:
        if self.window is None:
            raise ValueError("blocks of footprints without a window")
        return self.window

    @property
    def parts_across(self) -> int:
        return -(-self.width // self.part_width)

    @cached_property
    def num_pieces(self) -> int:
        return -(-self.lines // self.part_lines) * self.parts_across

    @property
    def transfers(self) -> int:
        """Transfers that bring one slice to a pad: one for each image line."""
        return self._reach[0]

    @property
    def piece_rows(self) -> int:
        """Rows of a transfer: pixels of an image line."""
        return self._reach[1]

    @cached_property
    def _reach(self) -> tuple[int, int]:
        return self.seen.reach(self.part_lines, self.part_width)

    @property
    def slice_rows(self) -> int:
        """Rows of each pad that hold one slice."""
        return self.transfers * self.piece_rows

    @property
    def depth_rows(self) -> int:
        """Rows of each pad that hold a block."""
        return self.seen.slices * self.slice_rows

    @property
    def rows_per_pad(self) -> int:
        """Rows that a transfer brings to each pad."""
        return self.piece_rows

    def rows_of_piece(self, piece: int) -> int:
        return self.piece_rows

    def _start(self, piece: int) -> tuple[int, int]:
        """The first line and pixel of a pad's rectangle: the last one ends with the block."""
        down, along = divmod(piece, self.parts_across)
        return (
            min(down * self.part_lines, self.lines - self.part_lines),
            min(along * self.part_width, self.width - self.part_width),
        )

    def place(self, row: int) -> tuple[int, int]:
        """Pad of what the first tap of a row sees, and the row there, in the first slice."""
        line, at = divmod(row, self.width)
        piece = line // self.part_lines * self.parts_across + at // self.part_width
        first_line, first = self._start(piece)
        lines, pixels = self.seen.result_distance
        return piece, (line - first_line) * lines * self.piece_rows + (at - first) * pixels

    def piece_offset(self, piece: int, access: Access) -> int:
        lines, rows = self.strides(access)
        first_line, first = self._start(piece)
        return first_line * lines + first * rows

    def pitch(self, access: Access) -> int:
        return self.seen.strides[1]

    def in_a_run(self, access: Access) -> Blocks | None:
        return None

    @property
    def rows_read(self) -> int:
        """Rows that a step reads of a pad."""
        return self.part_lines * self.part_width

    @property
    def is_resident(self) -> bool:
        """Whether all footprints are in the pads before the product begins."""
        return False

    @property
    def step_rows(self) -> int:
        """Rows of a pad from the first step to the second one."""
        return self.tap_levels[-1][1] if self.tap_levels else self.slice_rows

    @property
    def tap_levels(self) -> tuple[tuple[int, int], ...]:
        """Taps of a slice as loops, innermost last: iterations, and rows of a pad from one to the next."""
        (lines, pixels), (down, along) = self.seen.taps, self.seen.tap_distance
        levels = ((lines, down * self.piece_rows), (pixels, along))
        return tuple(level for level in levels if level[0] > 1)


def footprint_blocks(grid: Blocks, window: Window) -> list[FootprintBlocks]:
    """The ways to deal a block out over the pads that read them most evenly.

    None where an image line is too long for a transfer, or where there are more of them than taps to fetch them under.
    """
    found: list[FootprintBlocks] = []
    for down in range(1, min(grid.pads, grid.lines) + 1):
        across = min(grid.pads // down, grid.width)
        blocks = FootprintBlocks(
            grid.line_loop,
            grid.loop,
            grid.lines,
            grid.width,
            grid.pads,
            picture_loop=grid.picture_loop,
            window=window,
            part_lines=-(-grid.lines // down),
            part_width=-(-grid.width // across),
        )
        if blocks.piece_rows <= MAX_DMA_ROWS and blocks.transfers <= window.num_taps:
            found.append(blocks)
    fewest = min((blocks.rows_read for blocks in found), default=0)
    return [blocks for blocks in found if blocks.rows_read == fewest]
