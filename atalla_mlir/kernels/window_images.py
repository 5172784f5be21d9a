"""Results of a kernel of windows that go to an image in the pads (`codegen.pad_images`) instead of DRAM.

A line may lie in one half or in both, and the pad of a store is part of its instruction: each result is stored to both,
to the spare rows before a half that does not have its line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


class WindowImage:
    """The image that the results of a plan are; to be made at the begin of a kernel.

    `places` says where each iteration stands: bytes from the first result of a slice, slices behind each other, and the
    line.
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
        image = images[windows.result.buffer]
        walk = windows.walk(image)
        if walk is None or isinstance(image, DealtImage):
            raise InternalError("results of windows are no walk over their image")
        self.image, self.walk = image, walk
        outs = plan.lines.outs
        self.rows = image_rows(builder, windows.result, image, walk, Halves(outs), values[windows.result.buffer])
        self.stored = [range(max(0, first), min(outs, first + image.held)) for first in map(self._first, range(HALVES))]
        """Lines of results in each half."""
        levels = [
            Level(plan.groups, (plan.group * ROW_BYTES, 0)),
            Level(outs, (image.pixels * ROW_BYTES, 1)),
            Level(plan.chunks, (image.slice_rows * ROW_BYTES, 0)),
        ]
        self.places = Odometer(builder, levels, (-1, -1), endless=True)

    def _first(self, half: int) -> int:
        """The line of results, before the first one where there is a frame, that a half begins with."""
        return self.image.starts[half] - self.walk.line

    def parts(self, at: Reading) -> Sequence[ir.Value]:
        """Where in each half the group of an iteration lies."""
        builder, (offset, line) = self.builder, at.offsets
        found: list[ir.Value] = []
        for half, (tile, stored) in enumerate(zip(self.rows.tiles, self.stored, strict=True)):
            first = self.walk.pixel - self._first(half) * self.image.pixels
            place = builder.plus(offset, first * ROW_BYTES)
            outside: list[ir.Value] = []
            if stored.start > 0:
                outside.append(builder.is_negative(builder.plus(line, -stored.start)))
            if stored.stop < self.plan.lines.outs:
                outside.append(builder.is_negative(builder.minus(builder.index_constant(stored.stop - 1), line)))
            spare = builder.index_constant(-self.image.spare * ROW_BYTES)
            for is_outside in outside:
                place = builder.select_bits(is_outside, spare, place)
            found.append(builder.tile_at(tile, place, tile_name("write")))
        return found

    def edges(self) -> ImageEdges:
        """What is stored around the results when all of them are there."""
        return ImageEdges(self.builder, self.rows, self.stored, self.plan.columns.outs, self.windows.frame)
