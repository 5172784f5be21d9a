"""Results of attention that stay in the pads: rows of heads are stored to the slices of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_images import HeadImage
from atalla_mlir.codegen.attention_plan import LANES, AttentionPlan
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.attention_moves import ahead
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.rings import ROW_BYTES

KEPT = "kept"
"""The offset of rows that are stored to an image."""
NEAR_ROWS = 32
"""Rows that are reached with one address."""


@dataclass(frozen=True)
class HeadRows:
    """The rows of heads in an image; `tiles` are its halves."""

    builder: Builder
    places: HeadImage
    tiles: Sequence[ir.Value]

    @property
    def first_bytes(self) -> int:
        """From the begin of a half to the first head."""
        return self.places.first_rows * ROW_BYTES

    @property
    def slice_bytes(self) -> int:
        return self.places.image.slice_rows * ROW_BYTES

    @property
    def head_bytes(self) -> int:
        return self.places.slices * self.slice_bytes

    def block_bytes(self, plan: AttentionPlan) -> int:
        """From a block of queries to the next one."""
        return plan.moved_queries.size * ROW_BYTES

    def store(self, rows: Mapping[int, ir.Value], offset: ir.Value) -> None:
        """Rows by their numbers, from where `offset` bytes point on."""
        parts: dict[int, list[ir.Value]] = {}
        for row, value in rows.items():
            near = row // NEAR_ROWS
            if near not in parts:
                parts[near] = [self.builder.tile_at(tile, offset, ahead(f"{KEPT}{near}")) for tile in self.tiles]
            half, place = self.places.place(row)
            self.builder.tile_store(value, parts[near][half], Index(place), LANES)


def head_rows(builder: Builder, places: HeadImage, argument: ir.BlockArgument) -> HeadRows:
    """Give an image tiles; to be called at the begin of a kernel."""
    image = places.image
    return HeadRows(builder, places, [builder.image_tile(image.own_rows, pad, 0, argument) for pad in image.pads])
