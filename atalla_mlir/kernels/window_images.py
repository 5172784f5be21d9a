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
from atalla_mlir.codegen.pad_images import HALVES, Halves
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
        self.rows = image_rows(builder, windows.result, image, walk, Halves(outs), place)
        self.tiles = [builder.image_tile(image.rows, pad, -image.spare, place) for pad in image.pads]
        """From the spare rows on, where places of no line begin."""
        self.stored = [range(max(0, first), min(outs, first + image.held)) for first in map(self._first, range(HALVES))]
        """Lines of results in each half."""
        is_counted = any(len(lines) < outs for lines in self.stored)
        levels = [
            Level(
                plan.groups, (plan.group * ROW_BYTES,), plan.groups > 1 and (is_counted or plan.last_group < plan.group)
            ),
            Level(outs, (image.pixels * ROW_BYTES,), is_counted),
            Level(plan.chunks, (image.slice_rows * ROW_BYTES,)),
        ]
        self.places = Odometer(builder, levels, (-1,), endless=True)

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
            for is_inside in self._inside(self.stored[half], at):
                place = builder.both(place, is_inside)
            part = rest = builder.tile_at(tile, place, tile_name("write"))
            if self.plan.last_group < self.plan.group:
                is_before_last = self._is_below(0, at.counters[0])
                rest = builder.tile_at(tile, builder.both(place, is_before_last), tile_name("rest"))
            found.append(ResultParts(part, rest))
        return found

    def _inside(self, stored: range, at: Reading) -> list[ir.Value]:
        """Whether a half has the line of an iteration: a counter says how many lines come after it."""
        outs, is_inside = self.plan.lines.outs, list[ir.Value]()
        if len(stored) == outs:
            return []
        after = at.counters[self.plan.groups > 1]
        if stored.start > 0:
            is_inside.append(self.builder.is_negative(self.builder.plus(after, stored.start - outs)))
        if stored.stop < outs:
            is_inside.append(self._is_below(outs - stored.stop - 1, after))
        return is_inside

    def _is_below(self, number: int, counter: ir.Value) -> ir.Value:
        return self.builder.is_negative(self.builder.minus(self.builder.index_constant(number), counter))

    def edges(self) -> ImageEdges:
        """What is stored around the results when all of them are there."""
        return ImageEdges(self.builder, self.rows, self.stored, self.plan.columns.outs, self.windows.frame)
