"""What lies in the pads beside the operands of a tiled product: results on their way, totals, rows of the epilogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Stage
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.tile_epilogue import TileEpilogue
from atalla_mlir.codegen.tile_schedule import TileSchedule
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.expression import Evaluated
from atalla_mlir.kernels.image_rows import DealtRows, ImageRows
from atalla_mlir.kernels.row_places import Place
from atalla_mlir.kernels.rows import RowKernel
from atalla_mlir.kernels.tile_addresses import ROW_BYTES
from atalla_mlir.kernels.tile_walk import KeptRows, TilePlan

Rows = list[ir.Value]


@dataclass(frozen=True)
class RowPlace:
    """A row of a tile: its pad in staging areas and the row there; its half in images, and its line and pixel of it."""

    pad: int
    row: Index
    half: int = 0
    line: int = 0
    pixel: Index = field(default_factory=Index)


@dataclass
class StagedRows(RowKernel):
    """The epilogue's view of memory: rows of the tile that is being finished, in staging areas."""

    staging: dict[tuple[Buffer, int], list[ir.Value]] = field(default_factory=dict)
    """By buffer and offset of an access: a tile for each pad."""
    columns: dict[tuple[Buffer, int], ir.Value] = field(default_factory=dict)
    """Rows that all rows of the tile share, by buffer and offset."""
    images: dict[tuple[Buffer, int], tuple[ImageRows | DealtRows, list[ir.Value]]] = field(default_factory=dict)
    """Images in the pads by buffer and offset of an access, with the first row of the tile in each part."""
    at: RowPlace = RowPlace(0, Index())
    """The present row."""

    def load(self, access: Access, place: Place) -> Evaluated:
        key = (access.buffer, access.offset)
        if key in self.columns:
            return Evaluated(self.columns[key], False)
        tile, row = self._row(key)
        return Evaluated(self.builder.tile_load(tile, row, LANES), False)

    def store(self, access: Access, place: Place, value: ir.Value) -> None:
        tile, row = self._row((access.buffer, access.offset))
        self.builder.tile_store(self.builder.as_row(value), tile, row, LANES)

    def _row(self, key: tuple[Buffer, int]) -> tuple[ir.Value, Index]:
        """The present row of an access, in its tile."""
        if key in self.images:
            rows, parts = self.images[key]
            part, row = rows.place(self.at.half, self.at.line, self.at.pixel)
            return parts[part], row
        return self.staging[key][self.at.pad], self.at.row


class TileRows:
    """The rows of an epilogue. `finished` is the stage that the sums of a tile are the result of."""

    def __init__(
        self,
        builder: Builder,
        schedule: TileSchedule,
        epilogue: TileEpilogue,
        staged: StagedRows,
        finished: Stage,
        kept: KeptRows | None,
        images: Sequence[ImageRows | DealtRows] = (),
    ) -> None:
        self.builder, self.schedule, self.epilogue = builder, schedule, epilogue
        self.staged, self.finished, self.kept, self.images = staged, finished, kept, images
        self.staged_bytes = 0
        """From one buffer of what comes for the epilogue to the other one."""
        self.result_bytes = 0
        """From one staging area of results to the other one, where the next tile is under way before they are made."""
        self.result_tiles: dict[tuple[Buffer, int], list[ir.Value]] = {}
        """Staging areas of results, by buffer and offset of an access."""
        self.staged_tiles: dict[int, list[ir.Value]] = {}
        self.totals: list[ir.Value] = []
        """Sums of a tile, where they do not stay in registers."""
        self.column_tiles: list[ir.Value] = []

    def allocate(self, base: int, tiles: Callable[[int, int, int], list[ir.Value]]) -> None:
        """Take the rows of each pad from `base` on; `tiles` makes one for each pad of a base, rows and spare rows."""
        rows, spare = self.epilogue.area(self.schedule)
        # a loop over the rows of one area works on the spare rows around it, too
        further = rows + 2 * spare if self.epilogue.late_rows(self.schedule) else 0
        for access in self.epilogue.stored:
            area = tiles(base, rows + further, spare)
            self.staged.staging[access.buffer, access.offset] = area
            self.result_tiles[access.buffer, access.offset] = area
            base += rows + further + 2 * spare
        self.staged_bytes, self.result_bytes = rows * ROW_BYTES, further * ROW_BYTES
        for access in self.epilogue.staged_reads:
            self.staged_tiles[id(access)] = tiles(base, 2 * rows, spare)
            base += 2 * (rows + spare)
        if self.epilogue.in_loop(self.schedule):
            self.totals = tiles(base, rows, spare)
            base += rows + 2 * spare
        for at, _ in enumerate(self.epilogue.column_reads):
            pad = at % self.schedule.rows.pads
            self.column_tiles.append(self.builder.placed_tile(self.schedule.cols.num_blocks, pad, base))
            base += self.schedule.cols.num_blocks

    def column(self, access: Access, tile: TilePlan) -> ir.Value:
        """The row of a tile's columns."""
        rows = self.column_tiles[self.epilogue.column_reads.index(access)]
        part = self.builder.tile_at(rows, tile.column[0], "block")
        return self.builder.tile_load(part, Index(), self.schedule.cols.width)

    def initial_row(self, tile: TilePlan) -> ir.Value:
        """What the sums of a tile start from."""
        initial = self.epilogue.initial
        return self.column(initial, tile) if initial is not None else self.builder.zero()
