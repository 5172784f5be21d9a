"""Results of a kernel of windows that go to an image in the pads (`codegen.pad_images`) instead of DRAM.

A line may lie in one half or in both, and the pad of a store is part of its instruction: each result is stored to both,
to the spare rows before a half that does not have its line. There go those behind the end of a line, too, which the
last group of it may compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.dealt_images import DealtImage
from atalla_mlir.codegen.image_kernel import KeptImage
from atalla_mlir.codegen.image_windows import ImageWindows
from atalla_mlir.codegen.iteration import Buffer
from atalla_mlir.codegen.pad_images import HALVES, stored_lines
from atalla_mlir.codegen.window_layout import WindowPlan
from atalla_mlir.errors import InternalError
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.image_rows import ImageEdges, image_rows
from atalla_mlir.kernels.odometer import Level, Odometer, Reading
from atalla_mlir.kernels.rings import ROW_BYTES, tile_name


@dataclass(frozen=True)
class ResultParts:
    """Rows of a half for the results of an iteration: those of any group, and those that the last one has not."""

    always: ir.Value
    rest: ir.Value


class WindowImage:
    """The image that the results of a plan are; to be made at the begin of a kernel.

    `places` says where each iteration stands, in bytes from the begin of the spare rows of the second half.
    """

    def __init__(
        self,
        builder: Builder,
        windows: ImageWindows,
        plan: WindowPlan,
        images: Mapping[Buffer, KeptImage],
        values: Mapping[Buffer, ir.BlockArgument],
    ) -> None:
        self.builder, self.windows, self.plan = builder, windows, plan
        place = values[windows.result.buffer]
        image = images[windows.result.buffer]
        walk = windows.walk(image)
        if walk is None or isinstance(image, DealtImage):
            raise InternalError("results of windows are no walk over their image")
        self.image, self.walk = image, walk
        outs = plan.lines.outs
        self.halves = halves = windows.halves
        self.rows = image_rows(builder, windows.result, image, walk, halves, place)
        self.tiles = [builder.image_tile(image.rows, pad, -image.spare, place) for pad in image.pads]
        """From the spare rows on, where places of no line begin."""
        self.total = halves.pictures if halves.pictures > 1 else outs
        """Pictures or, where there is one, its lines."""
        self.own = [self._own(half) for half in range(HALVES)]
        """Of these, in each half."""
        is_counted = any(len(own) < self.total for own in self.own)
        levels = [
            Level(
                plan.groups, (plan.group * ROW_BYTES,), plan.groups > 1 and (is_counted or plan.last_group < plan.group)
            ),
            Level(outs, (image.pixels * ROW_BYTES,), is_counted and halves.pictures == 1),
        ]
        if halves.pictures > 1:
            levels.append(Level(halves.pictures, (image.picture_rows * ROW_BYTES,), is_counted))
        self.counted = levels[-1]
        self.places = Odometer(
            builder, [*levels, Level(plan.chunks, (image.slice_rows * ROW_BYTES,))], (-1,), endless=True
        )

    def _own(self, half: int) -> range:
        count, first = self.halves.own_pictures, self._first(half)
        if self.halves.pictures > 1:
            return range(half * count, (half + 1) * count)
        return range(max(0, first), min(self.total, first + self.image.held))

    def _first(self, half: int) -> int:
        """The line of results, before the first one where there is a frame, that a half begins with."""
        return self.image.starts[half] - self.walk.line

    def _first_bytes(self, half: int) -> int:
        """Where the first result of all lies, from the begin of the spare rows of a half."""
        return (self.image.spare + self.walk.pixel - self._first(half) * self.image.pixels) * ROW_BYTES

    def first(self) -> Reading:
        at = self.places.first()
        return Reading((self.builder.index_constant(self._first_bytes(1)),), at.counters)

    def parts(self, at: Reading) -> list[ResultParts]:
        """Where in each half the group of an iteration lies."""
        builder, (offset,) = self.builder, at.offsets
        found: list[ResultParts] = []
        for half, tile in enumerate(self.tiles):
            place = builder.plus(offset, self._first_bytes(half) - self._first_bytes(1))
            for is_inside in self._inside(self.own[half], at):
                place = builder.both(place, is_inside)
            part = rest = builder.tile_at(tile, place, tile_name("write"))
            if self.plan.last_group < self.plan.group:
                is_before_last = self._is_below(0, at.counters[0])
                rest = builder.tile_at(tile, builder.both(place, is_before_last), tile_name("rest"))
            found.append(ResultParts(part, rest))
        return found

    def _inside(self, own: range, at: Reading) -> list[ir.Value]:
        """Whether a half has the line of an iteration: a counter says how many lines, or pictures, come after it."""
        total, is_inside = self.total, list[ir.Value]()
        if len(own) == total:
            return []
        after = at.counters[self.places.levels.index(self.counted)]
        if own.start > 0:
            is_inside.append(self.builder.is_negative(self.builder.plus(after, own.start - total)))
        if own.stop < total:
            is_inside.append(self._is_below(total - own.stop - 1, after))
        return is_inside

    def _is_below(self, number: int, counter: ir.Value) -> ir.Value:
        return self.builder.is_negative(self.builder.minus(self.builder.index_constant(number), counter))

    def edges(self) -> ImageEdges:
        """What is stored around the results when all of them are there."""
        halves, plan = self.halves, self.plan
        stored = self.own if halves.pictures == 1 else [stored_lines(halves, self.walk, half) for half in range(HALVES)]
        return ImageEdges(self.builder, self.rows, stored, plan.columns.outs, self.windows.frame, lines=plan.lines.outs)
