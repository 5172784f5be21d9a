"""Images that stay in the pads between kernels: where they lie, and how a kernel walks them.

An image is cut into two halves of lines, each in a pad of its own, so that rows of a tile come from two pads at once.
A half also holds the lines of the other one that windows of its results see. Slices of 32 channels follow each other,
each image line after image line; a row of a pad is 32 channels of a pixel.

Of a batch the lines of all pictures follow each other, with their frames, as those of one tall image. The halves are
then the first and the second half of the pictures; or those of each picture, where what works on one must find it in
both pads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.iteration import Access, Loop, Stage, coalesce_loops, split_loop
from atalla_mlir.codegen.product_plan import LANES

HALVES = 2
PICTURE_LOOPS = 3
"""Over the rows of a product: pictures, lines and pixels."""
Range = tuple[int, int]
"""The first line, and the one behind the last."""


@dataclass(frozen=True)
class Halves:
    """Lines of results in two halves of `extent` lines, which overlap where their number is odd.

    Of several `pictures`, even in number, each half has as many whole ones, of `lines` lines each; or the halves are
    those `of_each` picture.
    """

    lines: int
    pictures: int = 1
    of_each: bool = False

    @property
    def are_whole(self) -> bool:
        """Whether halves are whole pictures."""
        return self.pictures > 1 and not self.of_each

    @property
    def extent(self) -> int:
        """Lines of a half of a picture, or of a whole one."""
        return self.lines if self.are_whole else -(-self.lines // HALVES)

    @property
    def own_pictures(self) -> int:
        """Of which each half has lines."""
        return -(-self.pictures // HALVES) if self.are_whole else self.pictures

    @property
    def firsts(self) -> tuple[int, int]:
        """The first line of each half, of its first picture."""
        return 0, self.lines - self.extent

    @property
    def shared(self) -> int:
        """Lines that both halves have: the last of the first one, which is the first of the second one."""
        return 0 if self.are_whole else HALVES * self.extent - self.lines

    def of_picture(self, line: int) -> tuple[int, int]:
        """The picture of a line of a half, and the line there."""
        return divmod(line, self.extent) if self.pictures > 1 else (0, line)

    def distance(self, lines: int, pictures: int) -> int:
        """From the first result of the first half to that of the second one; lines and pictures lie so far apart."""
        return self.own_pictures * pictures if self.are_whole else self.firsts[1] * lines


@dataclass(frozen=True)
class HalvedRows:
    """The order of the rows of a block with `lines` x `width` rows in each half: the halves take turns.

    A block of all lines has those that both halves share but once: they come before all others, from the first half or,
    where it `alternates`, every other pixel of them from the second one.
    """

    halves: Halves
    lines: int
    width: int
    alternates: bool = True

    @property
    def skipped(self) -> int:
        """Lines that the halves of a block share."""
        return self.halves.shared if self.lines == self.halves.extent else 0

    @property
    def num_lines(self) -> int:
        """Of both halves together."""
        return HALVES * self.lines - self.skipped

    @property
    def rows(self) -> int:
        return self.num_lines * self.width

    def line(self, number: int) -> tuple[int, int]:
        """The half and the line there of the line `number` of a block; the first half for those that are shared."""
        if number < self.skipped:
            return 0, self.lines - self.skipped + number
        line, half = divmod(number - self.skipped, HALVES)
        return half, line + half * self.skipped

    def number(self, half: int, line: int) -> int:
        """The reverse of `line`, for both halves."""
        shared = line - (0 if half else self.lines - self.skipped)
        if 0 <= shared < self.skipped:
            return shared
        return (line - half * self.skipped) * HALVES + half + self.skipped

    def place(self, row: int) -> tuple[int, int, int]:
        """The half of a row, and its line and pixel there."""
        first = self.skipped * self.width
        if row < first:
            line, pixel = divmod(row, self.width)
            half = pixel % HALVES * self.alternates
            return half, line + (0 if half else self.lines - self.skipped), pixel
        half = (row - first) % HALVES
        line, pixel = divmod((row - first) // HALVES, self.width)
        return half, line + half * self.skipped, pixel


ONE_LINE = Halves(1)


@dataclass(frozen=True)
class ImageShape:
    """Lines, pixels and channels of an image as it lies in DRAM, channels innermost; lines of all its pictures.

    `of_each`: in the pads its halves are those of each picture.
    """

    lines: int
    pixels: int
    channels: int
    pictures: int = 1
    of_each: bool = False

    @property
    def picture_lines(self) -> int:
        return self.lines // self.pictures

    @property
    def halved_lines(self) -> int:
        """Lines that are cut into halves: of all pictures, or of each."""
        return self.picture_lines if self.of_each else self.lines

    @property
    def strides(self) -> tuple[int, int]:
        """Elements from line to line and from pixel to pixel."""
        return self.pixels * self.channels, self.channels

    @property
    def num_bytes(self) -> int:
        return 2 * self.lines * self.pixels * self.channels


@dataclass(frozen=True)
class PadImage:
    """An image of `lines` x `pixels` pixels of `slices` * 32 channels: half h lies in pad `first_pad` + h.

    Its half h holds `held` lines from line `starts[h]` on, from row `base` of the pad on; where halves are those
    `of_each` picture, so many of each of them. Before it are `spare` rows, which nobody reads.
    """

    lines: int
    pixels: int
    slices: int
    first_pad: int
    starts: tuple[int, int]
    held: int
    base: int
    spare: int = 0
    pictures: int = 1
    of_each: bool = False

    @property
    def held_lines(self) -> int:
        """Lines of a half, of all pictures."""
        return self.held * self.pictures if self.of_each else self.held

    @property
    def slice_rows(self) -> int:
        """Rows of a pad from a slice to the next one."""
        return self.held_lines * self.pixels

    @property
    def own_rows(self) -> int:
        """Of each of its pads, for all slices."""
        return self.slices * self.slice_rows

    @property
    def begin(self) -> int:
        """The first row of its pads that it takes."""
        return self.base - self.spare

    @property
    def end(self) -> int:
        """The row of its pads behind those that it takes."""
        return self.base + self.own_rows

    @property
    def rows(self) -> int:
        """Rows that it takes of each of its pads."""
        return self.end - self.begin

    @property
    def pads(self) -> tuple[int, ...]:
        return self.first_pad, self.first_pad + 1

    @property
    def layout(self) -> tuple[int, ...]:
        """What kernels depend on besides the shape."""
        return self.held, self.of_each

    @property
    def shape(self) -> ImageShape:
        return ImageShape(self.lines, self.pixels, self.slices * LANES, self.pictures, self.of_each)

    @property
    def picture_rows(self) -> int:
        """Rows of a pad from a picture to the next one."""
        return (self.held if self.of_each else self.lines // self.pictures) * self.pixels

    def row(self, half: int, line: int, pixel: int) -> int:
        """Rows from the begin of a half to the first slice of a pixel, of the first picture where each has halves."""
        return (line - self.starts[half]) * self.pixels + pixel


@dataclass(frozen=True)
class ImageWalk:
    """Where the rows of a grid of results lie in an image: that of the first one, and distances to the next."""

    line: int
    pixel: int
    lines: int
    """Image lines from one line of results to the next one."""
    pixels: int
    first_slice: int = 0
    """Of the image, where the channels of results begin."""
    picture_lines: int = 0
    """Image lines from one picture of results to the next one; 0 where all lines are alike."""

    def first_line(self, halves: Halves, half: int) -> int:
        """The image line of the first result of a half."""
        return self.line + half * halves.distance(self.lines, self.picture_lines)


def matrix_lines(rows: int) -> tuple[int, int]:
    """Lines and pixels of a matrix as an image: its halves as lines, or each row where their number is odd."""
    return (rows, 1) if rows % HALVES else (HALVES, rows // HALVES)


def split_matrix(stages: Iterable[Stage], rows: Loop) -> tuple[Loop, Loop]:
    """Make the loop over the rows of a matrix one over lines and one over pixels, in every stage."""
    return split_loop(stages, rows, matrix_lines(rows.extent)[1])


def split_pictures(stages: Iterable[Stage], rows: Sequence[Loop], pictures: int) -> bool:
    """Make loops over rows those over `pictures`, lines and pixels, of which each picture has halves.

    The rows of a matrix for each picture are its lines as in `matrix_lines`. False where there are no such loops.
    """
    first, *inner = rows
    if not inner and first.extent % (HALVES * pictures) == 0:
        first, rest = split_loop(stages, first, first.extent // pictures)
        inner = [rest]
    if first.extent != pictures or not 1 <= len(inner) <= HALVES:
        return False
    if len(inner) == 1:
        split_matrix(stages, inner[0])
    return True


def coalesce_pictures(stages: Sequence[Stage], rows: Sequence[Loop]) -> None:
    """Make the loops over pictures and over lines one, where every access walks them as one."""
    loops = {loop for stage in stages for loop in stage.loops}
    coalesce_loops(stages, apart=loops - {*rows[:-1]})


def is_whole_image(rows: Sequence[Loop], shape: ImageShape) -> bool:
    """Whether loops over pictures, if any, lines and pixels go over all of an image."""
    *pictures, lines, pixels = (loop.extent for loop in rows)
    return (math.prod(pictures) * lines, pixels) == (shape.lines, shape.pixels)


def image_walk(
    access: Access, shape: ImageShape, rows: Sequence[Loop], *, of_each: bool = False, in_any_slice: bool = False
) -> ImageWalk | None:
    """How the two loops over the rows of a product, lines and pixels, walk an image; None where they do not.

    They begin with the first channel of a pixel, or with that of any slice. A third one, the outermost, is
    over pictures, and halves of results are those `of_each`.
    """
    if access.indirect or of_each != shape.of_each or not can_halve(rows, of_each=of_each):
        return None
    line, pixel = shape.strides
    *pictures, line_loop, pixel_loop = rows
    along, down = access.stride(pixel_loop), access.stride(line_loop)
    first_line, rest = divmod(access.offset, line)
    first_pixel, channel = divmod(rest, pixel)
    if channel % LANES or (channel and not in_any_slice):
        return None
    if down <= 0 or along <= 0 or down % line or along % pixel:
        return None
    if first_pixel + (pixel_loop.extent - 1) * (along // pixel) >= shape.pixels:
        return None
    walk = ImageWalk(first_line, first_pixel, down // line, along // pixel, channel // LANES)
    if not pictures:
        return walk if shape.pictures == 1 or _has_all_lines(walk, shape, line_loop) else None
    (picture_loop,) = pictures
    if picture_loop.extent != shape.pictures or first_line >= shape.picture_lines:
        return None
    whole = shape.picture_lines
    return replace(walk, picture_lines=whole) if access.stride(picture_loop) == whole * line else None


def _has_all_lines(walk: ImageWalk, shape: ImageShape, line_loop: Loop) -> bool:
    """Whether lines of results are those of all pictures, one after the other."""
    return walk.line < walk.lines and walk.lines * line_loop.extent == shape.lines


def can_halve(rows: Sequence[Loop], *, of_each: bool = False) -> bool:
    """Whether loops are over lines and pixels, or over pictures, too, of which each half has as many."""
    if of_each:
        return len(rows) == PICTURE_LOOPS
    return len(rows) == HALVES or (len(rows) == PICTURE_LOOPS and rows[0].extent % HALVES == 0)


def halves_of(rows: Sequence[Loop], *, of_each: bool = False) -> Halves:
    """Those of results with loops over lines and pixels, or over pictures, lines and pixels."""
    return Halves(rows[-HALVES].extent, rows[0].extent if len(rows) == PICTURE_LOOPS else 1, of_each)


def stored_lines(halves: Halves, walk: ImageWalk, half: int) -> range:
    """Lines from the first result of a half to its last one, counted from the first one of all.

    Results are neighbours; lines that lie between whole pictures are counted, too.
    """
    first = walk.first_line(halves, half) - walk.line
    further = (halves.own_pictures - 1) * walk.picture_lines if halves.are_whole else 0
    return range(first, first + further + halves.extent)


def held_ranges(halves: Halves, walk: ImageWalk, reach: int) -> list[Range]:
    """Image lines that the results of each half look at, `reach` from the first line of a result on.

    Where halves are whole pictures, all lines of these.
    """
    if halves.are_whole:
        lines = halves.own_pictures * walk.picture_lines
        return [(half * lines, (half + 1) * lines) for half in range(HALVES)]
    last = (halves.extent - 1) * walk.lines
    starts = [walk.first_line(halves, half) for half in range(HALVES)]
    return [(start, start + last + reach) for start in starts]
