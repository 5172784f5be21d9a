"""Maps, and folds along the channels, of images in the pads, which go to an image or to DRAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.image_kernel import KeptImage
from atalla_mlir.codegen.image_maps import ImageMaps, MapPlan, PixelSteps
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage
from atalla_mlir.codegen.pad_images import HALVES, ONE_LINE, Halves, PadImage
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.row_plan import SumOrder
from atalla_mlir.errors import InternalError
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.expression import Evaluated
from atalla_mlir.kernels.functions.bound import FunctionBound
from atalla_mlir.kernels.image_phases import ImagePhases
from atalla_mlir.kernels.image_rows import ImageEdges, ImageRows, image_rows
from atalla_mlir.kernels.row_body import RowBody
from atalla_mlir.kernels.row_places import Place, divided
from atalla_mlir.kernels.rows import RowKernel


@dataclass
class ImageMapKernel(RowKernel):
    """Rows that are pixels: of both halves side by side, or of one half after the other."""

    images: Mapping[Buffer, ImageRows] = field(default_factory=dict[Buffer, ImageRows])
    halves: Halves = ONE_LINE
    side: Loop = field(default_factory=lambda: Loop(HALVES))
    """Stands for the half in the place of a pixel, whose line is counted from the first one of the half."""
    picture: Loop | None = None
    """Over pictures of which each has halves."""

    def load(self, access: Access, place: Place) -> Evaluated:
        if access.buffer not in self.images:
            return super().load(self._of_half(access, place), place)
        tile, row = self._row(self.images[access.buffer], place)
        return Evaluated(self.builder.tile_load(tile, row, LANES), False)

    def load_side_by_side(self, access: Access, first: Place, count: int) -> ir.Value | None:
        """None: places that follow each other are of different halves."""
        return None

    def store(self, access: Access, place: Place, value: ir.Value) -> None:
        if access.buffer not in self.images:
            super().store(self._of_half(access, place), place, value)
            return
        tile, row = self._row(self.images[access.buffer], place)
        self.builder.tile_store(self.builder.as_row(value), tile, row, LANES)

    def _of_half(self, access: Access, place: Place) -> Access:
        """What a half has of an access in DRAM: transfers of a half must not touch what lies between them."""
        first = self.halves.firsts[place.positions[self.side].constant]
        return replace(access, offset=access.offset + first * access.stride(self.plan.outer[-2]))

    def _row(self, rows: ImageRows, place: Place) -> tuple[ir.Value, Index]:
        """A tile of a half, and the row of a place in it."""
        image, walk, half = rows.image, rows.walk, place.positions[self.side].constant
        *_, line, pixel = self.plan.outer
        lines = place.positions[line].scaled(walk.lines)
        row = lines.scaled(image.pixels) + place.positions[pixel].scaled(walk.pixels) + rows.firsts[half]
        if self.picture in place.positions:
            row = row + place.positions[self.picture].scaled(image.picture_rows)
        assert self.plan.lane is not None
        return rows.tiles[half], row + divided(place.positions[self.plan.lane], LANES).scaled(image.slice_rows)


class ImageMapNest:
    """Emits such a kernel by a plan; to be made at the begin of a kernel, whose arguments are `places`."""

    def __init__(
        self,
        builder: Builder,
        maps: ImageMaps,
        plan: MapPlan,
        images: Mapping[Buffer, KeptImage],
        places: Mapping[Buffer, ir.BlockArgument],
        block: ir.Block,
        free_rows: int,
    ) -> None:
        self.builder, self.maps, self.plan, self.free_rows = builder, maps, plan, free_rows
        self.places, self.block = dict(places), block
        self.images = {
            access.buffer: self._image_rows(access, images[access.buffer], places[access.buffer])
            for access in (*maps.reads, maps.result)
            if access.buffer in images
        }
        self.sums: dict[Stage, SumOrder] = {}
        """How stages that add do so; of what has been emitted."""
        self.expansions: dict[Stage, FunctionBound] = {}

    def _image_rows(self, access: Access, image: KeptImage, place: ir.BlockArgument) -> ImageRows:
        walk = self.maps.walk(access, image)
        if walk is None or not isinstance(image, PadImage):
            raise InternalError("a map is no walk over its image")
        return image_rows(self.builder, access, image, walk, self.maps.halves, place)

    def emit(self) -> None:
        if self.plan.steps is not None:
            self._phases(self.plan.steps)
        else:
            self._pixel_by_pixel()
        result = self.images.get(self.maps.result.buffer)
        if result is not None:
            halves = self.maps.halves
            stored = [range(first, first + halves.extent) for first in halves.firsts]
            ImageEdges(self.builder, result, stored, self.maps.rows[-1].extent, self.maps.frame).emit()

    def _phases(self, steps: PixelSteps) -> None:
        kernel = ImagePhases(
            self.builder, steps.stages, steps.plan, self.places, self.block, images=self.images, line=steps.line
        )
        kernel.picture, kernel.run_steps = steps.picture, steps.pixels
        kernel.emit()
        if max(kernel.pads.used) > self.free_rows:
            raise InternalError("the rings of a kernel of pixels take more rows than it was given")
        original = dict(zip(steps.stages, self.maps.stages, strict=True))
        self.sums = {original[stage]: order for stage, order in kernel.sum_orders().items()}
        self.expansions = {original[stage]: bound for stage, bound in kernel.expansions.items()}

    def _pixel_by_pixel(self) -> None:
        rows = self.maps.row_plan(self.plan.pixels, self.plan.sides)
        self.kernel = ImageMapKernel(
            self.builder, self.maps.stages, rows, self.places, self.block, images=self.images, halves=self.maps.halves
        )
        self.kernel.picture = self.maps.rows[0] if self.maps.of_each else None
        lane, start = self.maps.lane, Place({}, LANES)
        if self.maps.is_folded:
            self._halves(start)
        else:
            self.builder.repeat(self.maps.chunks, lambda chunk: self._halves(start.at(lane, chunk.scaled(LANES))))
        orders = zip(self.maps.stages, self.kernel.sum_orders(), strict=True)
        self.sums = {stage: order for stage, order in orders if order is not None}
        self.expansions = self.kernel.expansions

    def _halves(self, place: Place) -> None:
        sides = range(HALVES)
        for some in (sides,) if self.plan.sides == HALVES else ((side,) for side in sides):
            self._lines(place, some)

    def _lines(self, place: Place, sides: Sequence[int]) -> None:
        halves, pixels = self.maps.halves, self.maps.rows[-1].extent
        if self.plan.is_run:
            self._pixels(place, sides, Index(), halves.own_pictures * halves.extent * pixels)
            return

        def lines(place: Place) -> None:
            self.builder.repeat(halves.extent, lambda line: self._pixels(place, sides, line, pixels))

        if self.maps.of_each:
            picture, *_ = self.maps.rows
            self.builder.repeat(halves.pictures, lambda number: lines(place.at(picture, number)))
        else:
            lines(place)

    def _pixels(self, place: Place, sides: Sequence[int], line: Index, count: int) -> None:
        """So many pixels from the begin of a line of the halves `sides` on."""
        unroll = min(self.plan.pixels, count)

        def several(first: Index, how_many: int) -> None:
            places = [self._at(place, side, line, first + number) for number in range(how_many) for side in sides]
            RowBody(self.kernel, places).emit()

        self.builder.repeat(count // unroll, lambda index: several(index.scaled(unroll), unroll))
        if count % unroll:
            several(Index(count - count % unroll), count % unroll)

    def _at(self, place: Place, side: int, line: Index, pixel: Index) -> Place:
        line_loop, pixel_loop = self.maps.rows[-HALVES:]
        return place.at(self.kernel.side, Index(side)).at(line_loop, line).at(pixel_loop, pixel)
