"""What becomes of the sums of a tile: operands that are met, whether it is straight code or a loop, rows it needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from atalla_mlir.codegen.halved_blocks import HalvedResults
from atalla_mlir.codegen.iteration import Access, Buffer, Stage, StageKind
from atalla_mlir.codegen.product_plan import ProductPlan
from atalla_mlir.codegen.tile_cost import (
    Epilogue,
    finishes_in_loop,
    late_operations,
    late_rows,
    num_additions,
    num_operations,
)
from atalla_mlir.codegen.tile_schedule import (
    MAX_ROWS_TOGETHER,
    SPARE_ITERATIONS,
    TileSchedule,
    is_column_read,
    outside_reads,
)

LOOP_OPERATIONS = 64
"""Of one iteration of a loop over rows, about: enough to cover the time that one row takes."""
PIXEL_OPERATIONS, LONG_CHAIN = 128, 8
"""The same of images, whose iterations do not overlap, where a row takes at least so many: others are short of code."""


@dataclass(frozen=True)
class TileEpilogue:
    """The maps behind a product. `initial` is what its sums start from, a row that the first map adds."""

    stages: tuple[Stage, ...]
    """Those that are left when sums start from a row."""
    initial: Access | None
    column_reads: tuple[Access, ...]
    """Operands that are one row for all rows of a tile."""
    staged_reads: tuple[Access, ...]
    """Those that differ from row to row."""
    stored: tuple[Access, ...]
    """Results that go to DRAM."""
    num_kept: int
    """Results that stay in the pads."""
    image_reads: tuple[Access, ...] = ()
    """Operands that differ from row to row and lie in the pads as images."""
    stores_image: bool = False
    """Whether a result is an image that stays in the pads between kernels."""

    @property
    def meets_images(self) -> bool:
        """Whether rows of a tile are rows of images: there are none to spare around them."""
        return self.stores_image or bool(self.image_reads)

    @cached_property
    def operations(self) -> int:
        """Of one row."""
        return num_operations(self.stages)

    @cached_property
    def cost(self) -> Epilogue:
        return Epilogue(
            self.operations,
            num_additions(self.stages) + (self.initial is not None),
            len(self.staged_reads),
            len(self.stored) + self.num_kept,
            late_operations(self.stages) if self._may_wait else None,
        )

    @property
    def _may_wait(self) -> bool:
        """Whether rows can be finished when the next tile is under way: nothing comes for them, and they go to DRAM."""
        return bool(self.stored) and not (self.staged_reads or self.num_kept or self.meets_images)

    def in_loop(self, schedule: TileSchedule) -> bool:
        """Whether it is a loop over rows in the pads."""
        return finishes_in_loop(schedule, self.cost)

    def late_rows(self, schedule: TileSchedule) -> int:
        """Rows of each pad that a step of the following tile finishes; 0 where that is done before it."""
        return late_rows(schedule, self.cost)

    def form(self, schedule: TileSchedule) -> str:
        """How the rows of a tile are finished, as decisions say it."""
        if self.late_rows(schedule):
            return "beside the next tile"
        return "a loop over rows" if self.in_loop(schedule) else "straight code"

    def rows_together(self, schedule: TileSchedule) -> int:
        """Rows of each pad that an iteration of such a loop finishes: short ones would wait."""
        return max(1, min(MAX_ROWS_TOGETHER, LOOP_OPERATIONS // max(1, schedule.rows.pads * self.operations)))

    def pixels_together(self, rows: HalvedResults) -> int:
        """The same of rows of each piece of an image: if need be half as many, of which none are left over."""
        if self.operations < LONG_CHAIN:
            return 1
        most = PIXEL_OPERATIONS // (rows.num_pieces * self.operations)
        most = max(1, min(MAX_ROWS_TOGETHER, rows.piece_rows, most))
        return next((count for count in range(most, most // 2, -1) if rows.piece_rows % count == 0), most)

    def area(self, schedule: TileSchedule) -> tuple[int, int]:
        """Rows of each pad for the rows of a tile, and those before and after them that belong to nobody."""
        rows = schedule.results.rows_per_pad
        if not self.in_loop(schedule) or self.meets_images:
            return rows, 0
        together = self.rows_together(schedule)
        return rows + -rows % together, SPARE_ITERATIONS * together

    def pad_rows(self, schedule: TileSchedule) -> int:
        """Rows of each pad that a product with this epilogue takes."""
        rows, spare = self.area(schedule)
        areas = (
            len(self.stored) * (1 + bool(self.late_rows(schedule)))
            + 2 * len(self.staged_reads)
            + self.in_loop(schedule)
        )
        return schedule.operand_rows + areas * (rows + 2 * spare) + len(self.column_reads) * schedule.cols.num_blocks


def tile_epilogue(
    plan: ProductPlan,
    product: Stage,
    maps: Sequence[Stage],
    in_dram: Collection[Buffer],
    kept: Buffer | None = None,
    images: Collection[Buffer] = (),
) -> TileEpilogue:
    """`in_dram` are buffers that outlive the kernel; `kept` stays in the pads for the next product, as `images` do."""
    reads = outside_reads(product, maps)
    columns = [read for read in reads if is_column_read(read, plan)]
    others = [read for read in reads if read not in columns]
    initial = _initial_row(product, maps, columns, {*in_dram, kept})
    return TileEpilogue(
        stages=tuple(maps if initial is None else maps[1:]),
        initial=initial,
        column_reads=tuple(columns),
        staged_reads=tuple(read for read in others if read.buffer not in images),
        stored=tuple(stage.write for stage in (product, *maps) if stage.write.buffer in in_dram),
        num_kept=0 if kept is None else 1,
        image_reads=tuple(read for read in others if read.buffer in images),
        stores_image=kept is not None and kept in images,
    )


def _initial_row(
    product: Stage, maps: Sequence[Stage], columns: Sequence[Access], leaving: Collection[Buffer | None]
) -> Access | None:
    """What the sums start from: a row that the first map adds to a result nobody else needs."""
    result = product.write.buffer
    if not maps or result in leaving:
        return None
    first, *others = maps
    if any(read.buffer is result for stage in others for read in stage.reads):
        return None
    loads = [node.read for node in first.body.args if node.op == "load"]
    if first.kind is not StageKind.MAP or first.body.op != "add" or len(loads) != 2:
        return None
    reads = [first.reads[load] for load in loads]
    rows = [read for read in reads if read in columns]
    is_product_read = any(read.buffer is result for read in reads)
    return rows[0] if len(rows) == 1 and is_product_read else None
