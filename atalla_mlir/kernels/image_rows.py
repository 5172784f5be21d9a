"""Rows of results in images that stay in the pads: where they lie, and what is stored around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.dealt_images import NUM_PADS, DealtImage
from atalla_mlir.codegen.halved_blocks import HalvedResults
from atalla_mlir.codegen.image_kernel import KeptImage
from atalla_mlir.codegen.image_product import ImageProduct, epilogue_of, walk_of
from atalla_mlir.codegen.iteration import Access, Buffer
from atalla_mlir.codegen.pad_images import HALVES, Halves, ImageWalk, PadImage, image_walk, stored_lines
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.tile_epilogue import TileEpilogue
from atalla_mlir.codegen.tile_schedule import TileSchedule
from atalla_mlir.errors import InternalError
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.tile_addresses import KEPT_PART, ROW_BYTES

_EDGE_PART = "edge"
"""Of lines before and behind what a half has computed: nobody reads them while they are stored."""

MAX_STRAIGHT_ROWS = 32
"""Stored beside the results of a slice, or between its halves, by straight code."""


@dataclass(frozen=True)
class ImageRows:
    """The rows of results of `walk` in an image; `tiles` are its halves, whole.

    The first result of half h of `halves` lies `firsts[h]` rows behind the begin of its tile.
    """

    access: Access
    image: PadImage
    walk: ImageWalk
    tiles: Sequence[ir.Value]
    firsts: tuple[int, int]
    halves: Halves
    slices: int
    """Of the image, that results have."""

    @property
    def byte_strides(self) -> tuple[int, int, int]:
        """Bytes of a pad from line to line of results, from pixel to pixel and from picture to picture."""
        walk, line = self.walk, self.image.pixels * ROW_BYTES
        pictures = self.image.picture_rows * ROW_BYTES if walk.picture_lines else 0
        return walk.lines * line, walk.pixels * ROW_BYTES, pictures

    @property
    def first_bytes(self) -> int:
        """From the begin of a tile to the first result of all."""
        return self.firsts[0] * ROW_BYTES

    def parts(self, builder: Builder, start: ir.Value) -> list[ir.Value]:
        """Each half from the first row of a tile on, which begins `start` bytes into the first half."""
        found: list[ir.Value] = []
        for tile, first in zip(self.tiles, self.firsts, strict=True):
            further = (first - self.firsts[0]) * ROW_BYTES
            offset = builder.plus(start, further) if further else start
            found.append(builder.tile_at(tile, offset, KEPT_PART))
        return found

    def place(self, half: int, line: int, pixel: Index) -> tuple[int, Index]:
        """The part of a line and pixel of a tile's half, and rows from its begin."""
        picture, line = self.halves.of_picture(line)
        first = picture * self.image.picture_rows + line * self.walk.lines * self.image.pixels
        return half, pixel.scaled(self.walk.pixels) + first


@dataclass(frozen=True)
class DealtRows:
    """The rows of results in an image that is dealt out over the pads, which `tiles` are.

    Half h of the results, where tiles are rectangles of both `halves`, begins with line `firsts[h]`. Where tiles
    `go_down`, what they call a line is a column of the image.
    """

    access: Access
    image: DealtImage
    tiles: Sequence[ir.Value]
    halves: Halves
    firsts: Sequence[int]
    go_down: bool

    @property
    def byte_strides(self) -> tuple[int, int, int]:
        """As those of `ImageRows`; tiles begin with a pixel of the first pad."""
        line, picture = (rows * ROW_BYTES for rows in (self.image.line_rows, self.image.picture_rows))
        pixel = ROW_BYTES // NUM_PADS
        return (pixel, line, picture) if self.go_down else (line, pixel, picture)

    @property
    def first_bytes(self) -> int:
        return 0

    def parts(self, builder: Builder, start: ir.Value) -> list[ir.Value]:
        return [builder.tile_at(tile, start, KEPT_PART) for tile in self.tiles]

    def place(self, half: int, line: int, pixel: Index) -> tuple[int, Index]:
        across = pixel.constant
        if self.go_down:
            line, across = across, line
        pad, row = self.image.place(across)
        picture, line = self.halves.of_picture(line)
        return pad, Index(picture * self.image.picture_rows + (self.firsts[half] + line) * self.image.line_rows + row)


def image_rows(
    builder: Builder,
    access: Access,
    image: PadImage,
    walk: ImageWalk,
    halves: Halves,
    place: ir.BlockArgument,
    slices: int | None = None,
) -> ImageRows:
    """Give an image tiles; to be called at the begin of a kernel. Without a number of `slices` results have all."""
    tiles = [builder.image_tile(image.rows, pad, 0, place) for pad in image.pads]
    first, second = (
        image.row(half, walk.first_line(halves, half), walk.pixel) + walk.first_slice * image.slice_rows
        for half in range(HALVES)
    )
    count = image.slices if slices is None else slices
    return ImageRows(access, image, walk, tiles, (first, second), halves, count)


class ImageEdges:
    """What a half holds besides results: a frame of one number, and lines of the other half.

    Kernels store the lines of results in `stored`, of each half, with `pixels` pixels. Of the `shared` lines of both
    they store even pixels to the first half, odd ones to the second one. Where halves are whole pictures, each with so
    many `lines` of results, `stored` has the lines of the frame between these, too. Where each picture has halves, all
    of that is said of one, and done for each.
    """

    def __init__(
        self,
        builder: Builder,
        rows: ImageRows,
        stored: Sequence[range],
        pixels: int,
        frame: float | None,
        shared: Sequence[int] = (),
        lines: int = 0,
    ) -> None:
        self.builder, self.rows, self.stored, self.pixels, self.frame = builder, rows, stored, pixels, frame
        self.shared, self.lines = shared, lines
        self.num_lines = max(lines.stop for lines in stored)
        self.tiles: list[ir.Value] = []
        self.edges: list[ir.Value] = []
        """The same rows, by the name of those that copies and the frame come to."""

    def emit(self) -> None:
        """Store the frame beside the results, then the frame before and behind them and copies from the other half."""
        image = self.rows.image
        slices = self.rows.slices * (image.pictures if image.of_each else 1)
        zero = self.builder.index_constant(0)
        self.tiles, self.edges = (
            [self.builder.tile_at(tile, zero, part) for tile in self.rows.tiles] for part in (KEPT_PART, _EDGE_PART)
        )
        value = self.builder.splat(self.frame or 0.0)
        columns = [*range(self.rows.walk.pixel), *range(self.rows.walk.pixel + self.pixels, image.pixels)]
        if columns:
            self.builder.repeat(slices, lambda number: self._columns(self._slice(number), columns, value))
        if self.shared:
            self.builder.repeat(slices, lambda number: self._shared_lines(self._slice(number)))
        framed, copied = self._framed_lines(), self._copied_lines()
        if framed or copied:
            self.builder.repeat(slices, lambda number: self._lines(self._slice(number), framed, copied, value))

    def _slice(self, number: Index) -> Index:
        """Rows from the begin of a half to a slice of the results, or to one of each picture."""
        image, first = self.rows.image, self.rows.walk.first_slice * self.rows.image.slice_rows
        return number.scaled(image.picture_rows if image.of_each else image.slice_rows) + first

    def _columns(self, base: Index, columns: Sequence[int], value: ir.Value) -> None:
        """Beside the lines of both halves; where one has fewer, from a line before them on."""
        image, count = self.rows.image, max(map(len, self.stored))

        def line(number: Index) -> None:
            for half, lines in enumerate(self.stored):
                start = image.row(half, self.rows.walk.line + self._first_of(lines, half, count), 0)
                for column in columns:
                    at = base + number.scaled(image.pixels) + (start + column)
                    self.builder.tile_store(value, self.tiles[half], at, LANES)

        self._repeat(count, line, len(columns) * HALVES)

    def _repeat(self, count: int, body: Callable[[Index], None], rows: int) -> None:
        """Straight code where few rows are stored, `rows` each time: then slices overlap."""
        if count * rows > MAX_STRAIGHT_ROWS:
            self.builder.repeat(count, body)
            return
        for number in range(count):
            body(Index(number))

    def _first_of(self, lines: range, half: int, count: int) -> int:
        """The first of `count` lines that a half holds, those of `lines` among them."""
        first = self.rows.image.starts[half] - self.rows.walk.line
        return max(first, lines.stop - count)

    def _shared_lines(self, base: Index) -> None:
        """Pixels of shared lines that the other half has."""
        image, walk, builder = self.rows.image, self.rows.walk, self.builder
        begins = [[image.row(half, walk.line + line, walk.pixel) for half in range(HALVES)] for line in self.shared]
        for other in range(HALVES):

            def copy(number: Index, other: int = other) -> None:
                for rows in begins:
                    at = base + number.scaled(HALVES) + other
                    found = builder.tile_load(self.tiles[other], at + rows[other], LANES)
                    builder.tile_store(found, self.edges[1 - other], at + rows[1 - other], LANES)

            self._repeat(len(range(other, self.pixels, HALVES)), copy, len(begins))

    def _framed_lines(self) -> list[tuple[int, int]]:
        """Halves and rows where lines of the frame begin."""
        return [(half, row) for half, row, line in self._held() if self._is_frame(line)]

    def _is_frame(self, line: int) -> bool:
        """Whether a line, counted from the first one of results, has none."""
        distance = 0 if self.rows.image.of_each else self.rows.walk.picture_lines
        return not 0 <= line < self.num_lines or (distance > 0 and line % distance >= self.lines)

    def _copied_lines(self) -> list[tuple[int, int, int]]:
        """Halves, rows where lines begin that only the other half has, and their rows there."""
        return [
            (half, row, self.rows.image.row(1 - half, line + self.rows.walk.line, 0))
            for half, row, line in self._held()
            if not self._is_frame(line) and line not in self.stored[half]
        ]

    def _held(self) -> list[tuple[int, int, int]]:
        """Halves, rows of the first slice, and lines of results, of each line that a half holds."""
        image = self.rows.image
        return [
            (half, held * image.pixels, image.starts[half] + held - self.rows.walk.line)
            for half in range(HALVES)
            for held in range(image.held)
        ]

    def _lines(
        self, base: Index, framed: Sequence[tuple[int, int]], copied: Sequence[tuple[int, int, int]], value: ir.Value
    ) -> None:
        tiles, edges, builder = self.tiles, self.edges, self.builder

        def pixel(number: Index) -> None:
            for half, row, other in copied:
                found = builder.tile_load(tiles[1 - half], base + number + other, LANES)
                builder.tile_store(found, edges[half], base + number + row, LANES)
            for half, row in framed:
                builder.tile_store(value, edges[half], base + number + row, LANES)

        builder.repeat(self.rows.image.pixels, pixel)


@dataclass(frozen=True)
class ProductImages:
    """What of a product lies in the pads between kernels."""

    epilogue: TileEpilogue
    operand_tiles: Sequence[ir.Value]
    """A tile for each half of the streamed operand, from the first row that a product looks at; none in DRAM."""
    rows: Sequence[ImageRows | DealtRows]
    """Result and operands of the epilogue."""
    edges: ImageEdges | None
    """Of the result, where that is an image."""


def product_images(
    builder: Builder,
    product: ImageProduct,
    schedule: TileSchedule,
    images: Mapping[Buffer, KeptImage],
    places: Mapping[Buffer, ir.BlockArgument],
) -> ProductImages:
    """Give the images of a product tiles; to be called at the begin of a kernel, whose arguments are their `places`."""
    epilogue = epilogue_of(product, images)
    halves = product.halves
    operand: list[ir.Value] = []
    streamed = product.streamed
    image = images.get(streamed.buffer)
    if isinstance(image, PadImage):
        walk = image_walk(streamed, image.shape, product.plan.rows, of_each=product.of_each)
        if walk is None:
            raise InternalError("the operand of a product is no walk over its image")
        for half in range(HALVES):
            start = image.row(half, walk.first_line(halves, half), walk.pixel)
            operand.append(builder.image_tile(image.rows - start, image.pads[half], start, places[streamed.buffer]))
    rows: list[ImageRows | DealtRows] = []
    accesses = [product.result, *epilogue.image_reads]
    for access in accesses:
        image = images.get(access.buffer)
        walk = walk_of(product, access, image) if image is not None else None
        if isinstance(image, DealtImage) and walk is not None:
            tiles = [builder.image_tile(image.rows, pad, 0, places[access.buffer]) for pad in image.pads]
            firsts = [walk.first_line(halves, half) for half in range(HALVES)]
            go_down = schedule.results.loop is product.plan.rows[-HALVES]
            rows.append(DealtRows(access, image, tiles, halves, firsts, go_down))
        elif isinstance(image, PadImage) and walk is not None:
            slices = product.plan.lane.extent // LANES if product.plan.lane is not None else None
            rows.append(image_rows(builder, access, image, walk, halves, places[access.buffer], slices))
    edges = None
    if rows and isinstance(rows[0], ImageRows) and product.result.buffer in images:
        pixels, results = product.plan.rows[-1].extent, schedule.results
        skipped = results.in_order.skipped if isinstance(results, HalvedResults) else 0
        # a loop over rows stores shared lines to the first half
        alternates = isinstance(results, HalvedResults) and results.in_order.alternates
        is_apart = alternates and not epilogue.in_loop(schedule)
        stored = [stored_lines(halves, rows[0].walk, half) for half in range(HALVES)]
        if not is_apart:
            stored[1] = stored[1][skipped:]
        shared = range(halves.firsts[1], halves.firsts[1] + skipped) if is_apart else ()
        edges = ImageEdges(builder, rows[0], stored, pixels, product.frame, shared, halves.extent)
    return ProductImages(epilogue, operand, rows, edges)
