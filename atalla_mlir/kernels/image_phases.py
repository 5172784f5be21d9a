"""Long pixels of images in the pads, folded along channels: phase by phase, a pixel of each half in an iteration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.pad_images import HALVES, Halves
from atalla_mlir.kernels.image_rows import ImageRows
from atalla_mlir.kernels.phased_rows import PhasedRows
from atalla_mlir.kernels.rings import ROW_BYTES, Counter, tile_name


@dataclass
class ImagePhases(PhasedRows):
    """Steps of which each has a pixel of both halves; see `codegen.image_maps.PixelSteps`."""

    sides: int = HALVES
    images: Mapping[Buffer, ImageRows] = field(default_factory=dict[Buffer, ImageRows])
    line: Loop = field(default_factory=lambda: Loop(1))
    """The loop over all lines of results; what is in the plan goes over those of a half."""
    picture: Loop | None = None
    """The loop over pictures of which each has halves: in DRAM a run of steps is one of them."""

    def side_elements(self, access: Access) -> int:
        return Halves(self.line.extent).firsts[1] * access.stride(self.line)

    def jump_elements(self, access: Access) -> int:
        if self.picture is None:
            return 0
        return access.stride(self.picture) - self.run_steps * access.stride(self.plan.row)

    def image_of(self, access: Access) -> ImageRows | None:
        return self.images.get(access.buffer)

    @property
    def num_iterations(self) -> int:
        """An image need not leave the pads."""
        return self.plan.iterations if self.outputs else self.plan.steps + self.plan.last_phase * self.plan.lag

    def pixel_tile(self, image: ImageRows, side: int, step: int, name: str) -> ir.Value:
        """Steps that do not exist are those next to them: they compute the same once more, or are written over."""
        builder = self.builder
        key = (id(image), side, step, name)
        row = self.counter(key, Counter(step * ROW_BYTES, ROW_BYTES))
        row = builder.at_most(builder.at_least(row, 0), (self.plan.steps - 1) * ROW_BYTES)
        first = image.firsts[side] * ROW_BYTES
        return builder.tile_at(image.tiles[side], builder.plus(row, first), tile_name(name, self.plan.stages))
