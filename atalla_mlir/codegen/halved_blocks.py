"""Blocks of results with one part in each half of an image (`pad_images`): a rectangle here, and the same one there."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from atalla_mlir.codegen.footprints import FootprintBlocks, Window
from atalla_mlir.codegen.iteration import Access, Loop
from atalla_mlir.codegen.pad_images import HALVES, ONE_LINE, HalvedRows, Halves, ImageShape, PadImage
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.row_blocks import Blocks

RUNS = 2
"""Pieces of a half where a line is one row."""


@dataclass(frozen=True)
class _Halved(Blocks):
    """Blocks of `lines` x `width` rows of each half: of one picture, or all lines of some."""

    halves: Halves = ONE_LINE

    @property
    def num_lines(self) -> int:
        return self.halves.extent * self.pictures_together

    @property
    def pictures_together(self) -> int:
        return max(1, self.lines // self.halves.extent)

    @property
    def num_pictures(self) -> int:
        return self.halves.own_pictures // self.pictures_together

    def half_offset(self, half: int, access: Access) -> int:
        """Elements from the first row of a block in the first half to that in a half."""
        return half * self.halves.distance(self.strides(access)[0], self.picture_stride(access))

    @cached_property
    def in_order(self) -> HalvedRows:
        # a pixel must come from the same half in all blocks that have it
        alternates = self.blocks_across == 1 or (self.width % HALVES == 0 and self.extent % HALVES == 0)
        return HalvedRows(self.halves, self.lines, self.width, alternates)

    @cached_property
    def rows(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.in_order.rows


@dataclass(frozen=True)
class HalvedBlocks(_Halved, FootprintBlocks):
    """Footprints of the results of both halves, fetched for each block or held by an `image`."""

    image: PadImage | None = None

    @property
    def is_resident(self) -> bool:
        return self.image is not None

    @property
    def parts_across(self) -> int:
        return 1

    @property
    def num_pieces(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return HALVES

    @property
    def transfers(self) -> int:
        return self.image.held_lines if self.image is not None else super().transfers

    @property
    def piece_rows(self) -> int:
        return self.image.pixels if self.image is not None else super().piece_rows

    @property
    def block_strides(self) -> tuple[int, int, int]:
        """Rows of a pad that the lines and the pixels of results lie apart, and pictures."""
        lines, pixels = self.seen.result_distance
        return lines * self.piece_rows, pixels, self.image.picture_rows if self.image is not None else 0

    def piece_offset(self, piece: int, access: Access) -> int:
        return self.half_offset(piece, access)

    def place(self, row: int) -> tuple[int, int]:
        half, line, pixel = self.in_order.place(row)
        picture, line = self.halves.of_picture(line)
        lines, pixels, pictures = self.block_strides
        return half, picture * pictures + line * lines + pixel * pixels


@dataclass(frozen=True)
class HalvedResults(_Halved):
    """The rows of such a block in staging areas: a line of a half is a piece, or two pieces where there is but one."""

    @property
    def pieces_of_a_line(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return 2 if self.lines == 1 and self.width % 2 == 0 else 1

    @property
    def num_pieces(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.in_order.num_lines * self.pieces_of_a_line

    @property
    def piece_rows(self) -> int:
        return self.width // self.pieces_of_a_line

    def rows_of_piece(self, piece: int) -> int:
        return self.piece_rows

    def place(self, row: int) -> tuple[int, int]:
        half, line, pixel = self.in_order.place(row)
        piece = self.in_order.number(half, line) * self.pieces_of_a_line + pixel % self.pieces_of_a_line
        return self.pad_of_piece(piece), self.row_of_piece(piece) + pixel // self.pieces_of_a_line

    def first_of_piece(self, piece: int) -> tuple[int, int, int]:
        """The half of a piece, and the line and pixel of its first row."""
        number, first = divmod(piece, self.pieces_of_a_line)
        return (*self.in_order.line(number), first)

    @property
    def rows_apart(self) -> int:
        """Pixels from row to row of a piece; lines where a line is one row."""
        return self.pieces_of_a_line

    def piece_offset(self, piece: int, access: Access) -> int:
        lines, pixels = self.strides(access)
        half, line, first = self.first_of_piece(piece)
        picture, line = self.halves.of_picture(line)
        start = self.half_offset(half, access) + picture * self.picture_stride(access)
        return start + line * lines + first * pixels

    def pitch(self, access: Access) -> int:
        return self.strides(access)[1] * self.pieces_of_a_line

    def in_a_run(self, access: Access) -> Blocks | None:
        return None


@dataclass(frozen=True)
class HalvedRuns(HalvedResults):
    """The same where a line is one row and a half of a block has an even number of them: each second is in a piece."""

    @property
    def num_pieces(self) -> int:
        return HALVES * RUNS

    @property
    def pieces_of_a_line(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return 1

    @property
    def piece_rows(self) -> int:
        return self.lines // RUNS

    @property
    def rows_apart(self) -> int:
        return RUNS

    def first_of_piece(self, piece: int) -> tuple[int, int, int]:
        return (*divmod(piece, RUNS), 0)

    def place(self, row: int) -> tuple[int, int]:
        half, line, _ = self.in_order.place(row)
        piece = half * RUNS + line % RUNS
        return self.pad_of_piece(piece), self.row_of_piece(piece) + line // RUNS

    def pitch(self, access: Access) -> int:
        return RUNS * self.strides(access)[0]


def halved_results(
    line_loop: Loop, loop: Loop, limit: int, pads: int, picture_loop: Loop | None = None, *, of_each: bool = False
) -> Iterator[HalvedResults]:
    """Ways to cut rows into blocks of at most `limit`: as few as possible of each width, of about equal size.

    Those of less than half as many rows as others are left out: the array would not be in use for long. Where a line is
    one row, a half of a block has an even number of them, and an image more. Blocks that have all lines of several
    pictures come last.
    """
    halves = Halves(line_loop.extent, picture_loop.extent if picture_loop is not None else 1, of_each)
    kind = HalvedRuns if loop.extent == 1 else HalvedResults
    for lines, width in _block_sizes(halves, loop.extent, limit):
        if kind is HalvedResults or lines < halves.extent:
            yield kind(line_loop, loop, lines, width, pads, picture_loop=picture_loop, halves=halves)


@lru_cache(maxsize=64)
def _block_sizes(halves: Halves, extent: int, limit: int) -> tuple[tuple[int, int], ...]:
    """Lines and width of such blocks of `extent` pixels a line."""
    sizes: dict[tuple[int, int], int] = {}
    for across in range(1, extent + 1):
        width = -(-extent // across)
        for most in range(1, halves.extent + 1):
            lines = -(-halves.extent // -(-halves.extent // most))
            lines += lines % RUNS * (extent == 1)
            rows = HalvedRows(halves, lines, width).rows
            if rows <= limit:
                sizes[lines, width] = rows
    largest = max(sizes.values(), default=0)
    alone = tuple(size for size, rows in sizes.items() if 2 * rows >= largest)
    return (*alone, *_sizes_of_several(halves, {width for _, width in sizes}, largest, limit))


def _sizes_of_several(halves: Halves, widths: Collection[int], largest: int, limit: int) -> Iterator[tuple[int, int]]:
    """Those with all lines of several pictures which have more rows than the `largest` of one has."""
    for together in range(2, halves.own_pictures + 1) if not halves.shared else ():
        lines = together * halves.extent
        for width in sorted(widths) if halves.own_pictures % together == 0 else ():
            if largest < HALVES * lines * width <= limit:
                yield lines, width


def halved_blocks(results: HalvedResults, window: Window, image: PadImage | None) -> HalvedBlocks:
    """The same blocks, of what windows see."""
    line_loop, loop, lines, width = results.line_loop, results.loop, results.lines, results.width
    return HalvedBlocks(
        line_loop,
        loop,
        lines,
        width,
        results.pads,
        picture_loop=results.picture_loop,
        window=window,
        part_lines=lines,
        part_width=width,
        halves=results.halves,
        image=image,
    )


def window_in_image(window: Window, shape: ImageShape) -> Window | None:
    """The window with distances in lines and pixels of an image; None where it looks at anything else."""
    (line, pixel), (lines, pixels) = shape.strides, window.strides
    if lines % line or pixels % pixel or window.slices * LANES != shape.channels:
        return None
    down, along = lines // line, pixels // pixel
    return replace(
        window,
        tap_distance=(window.tap_distance[0] * down, window.tap_distance[1] * along),
        result_distance=(window.result_distance[0] * down, window.result_distance[1] * along),
        strides=shape.strides,
    )
