"""Operands and results of attention that stay in the pads: the rows of heads are those of slices of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_images import HeadImage
from atalla_mlir.codegen.attention_plan import LANES, PADS, AttentionPlan
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.attention_moves import ahead
from atalla_mlir.kernels.attention_transfers import Outer, Tiles
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.rings import ROW_BYTES

KEPT = "kept"
"""The offset of rows that are stored to an image."""
NEAR_ROWS = 32
"""Rows that are reached with one address."""


@dataclass(frozen=True)
class HeadRows:
    """The rows of heads in an image, of which `halves` are the tiles."""

    builder: Builder
    places: HeadImage
    halves: Tiles

    @property
    def first_bytes(self) -> int:
        """From the begin of a half to the first head."""
        return self.places.first_rows * ROW_BYTES

    @property
    def slice_bytes(self) -> int:
        return self.places.image.slice_rows * ROW_BYTES

    def head_bytes(self, plan: AttentionPlan) -> tuple[int, ...]:
        """From one iteration of each loop over the heads of a group to the next one."""
        return tuple(self.places.distances[loop] * ROW_BYTES for loop, _ in plan.group)

    def start(self, outer: Outer) -> ir.Value | None:
        """Bytes from the first group of heads to another one; None where there is but one."""
        loops = [loop for loop in self.places.distances if loop in outer.at]
        if not loops:
            return None
        rows = sum((outer.at[loop].scaled(self.places.distances[loop]) for loop in loops), Index())
        return self.builder.index_value(rows.scaled(ROW_BYTES))

    def block_bytes(self, plan: AttentionPlan) -> int:
        """From a block of queries to the next one."""
        return plan.moved_queries.size * ROW_BYTES

    def store(self, rows: Mapping[int, ir.Value], offset: ir.Value) -> None:
        """Rows by their numbers, from where `offset` bytes point on."""
        parts: dict[int, list[ir.Value]] = {}
        for row, value in rows.items():
            near = row // NEAR_ROWS
            if near not in parts:
                parts[near] = [self.builder.tile_at(tile, offset, ahead(f"{KEPT}{near}")) for tile in self.halves.pads]
            half, place = self.places.place(row)
            self.builder.tile_store(value, parts[near][half], Index(place), LANES)


def head_rows(builder: Builder, places: HeadImage, argument: ir.BlockArgument) -> HeadRows:
    """Give an image tiles; to be called at the begin of a kernel."""
    image = places.image
    tiles = [builder.image_tile(image.own_rows, pad, 0, argument) for pad in image.pads]
    return HeadRows(builder, places, Tiles(tiles, 0))


@dataclass(frozen=True)
class OperandRows:
    """How a loop over blocks and heads walks an operand: rows of each of the pads in which it lies.

    Row r of a block lies in pad r mod their number, in rows of each slice one after the other.
    """

    tiles: Tiles
    heads: tuple[int, ...]
    """Rows from one iteration of each loop over the heads of a group to the next one."""
    block: int
    slice: int
    begin: int = 0
    """Rows before the first head."""
    image_rows: int = 0
    """Of each half, where they lie in an image."""

    @property
    def num_pads(self) -> int:
        return len(self.tiles.pads)

    def bytes_of(self, *rows: int) -> tuple[int, ...]:
        return tuple(count * ROW_BYTES for count in rows)


def operand_rows(
    name: str, plan: AttentionPlan, places: Mapping[str, Tiles], kept: Mapping[str, HeadRows]
) -> OperandRows:
    """Queries, keys or values of a group, wherever they lie."""
    tiles = places[name]
    if name in plan.found:
        blocks = plan.moved_queries if name == "queries" else plan.moved_keys
        image = kept[name].places
        rows = image.image.slice_rows
        heads = tuple(image.distances[loop] for loop, _ in plan.group)
        return OperandRows(tiles, heads, blocks.size, rows, image.first_rows, image.image.own_rows)
    count, block = (plan.queries.count, plan.piece_rows) if name == "queries" else (plan.key_tiles, LANES // PADS)
    slices = plan.width_tiles if name == "values" else plan.depth_slices
    return OperandRows(tiles, plan.head_strides(slices * count * block), block, count * block)
