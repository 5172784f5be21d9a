"""Products whose rows are images that stay in the pads between kernels (`pad_images`): as tiles of both halves."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir.codegen.dealt_images import DealtImage, can_deal
from atalla_mlir.codegen.decision import Decision, Fields, fastest
from atalla_mlir.codegen.footprints import Window, window_of
from atalla_mlir.codegen.halved_blocks import (
    HalvedBlocks,
    HalvedResults,
    HalvedRuns,
    halved_blocks,
    halved_results,
    window_in_image,
)
from atalla_mlir.codegen.image_kernel import Cost, HalvesOnly, KeptImage, frame_rows
from atalla_mlir.codegen.iteration import Access, Buffer, Stage, StageKind, coalesce_loops
from atalla_mlir.codegen.pad_images import (
    PICTURE_LOOPS,
    Halves,
    ImageShape,
    ImageWalk,
    PadImage,
    Range,
    can_halve,
    coalesce_pictures,
    halves_of,
    held_ranges,
    image_walk,
    is_whole_image,
    split_matrix,
    split_pictures,
)
from atalla_mlir.codegen.placement import MAX_DMA_ROWS
from atalla_mlir.codegen.product_plan import LANES, ProductPlan, choose_product_plan
from atalla_mlir.codegen.row_blocks import Blocks
from atalla_mlir.codegen.spared_columns import spared_columns
from atalla_mlir.codegen.tile_cost import (
    FORM_NAME,
    READ_PIECE_CYCLES,
    ROW_TRANSFER_CYCLES,
    TRANSFER_START_CYCLES,
    is_pad_bound,
    least_cycles,
    predicted_cycles,
    start_cycles,
    step_cycles,
    tile_fields,
)
from atalla_mlir.codegen.tile_epilogue import TileEpilogue, tile_epilogue
from atalla_mlir.codegen.tile_schedule import (
    MAX_BLOCK_ROWS,
    STAGING_MARGIN,
    Depth,
    TileSchedule,
    depth_of,
    fitting,
    is_column_read,
    is_plain,
    outside_reads,
    tile_schedules,
    window_depth,
)

IN_PADS = "in_pads"
"""What lies in the pads between kernels, among the facts of a decision."""
KEPT_BYTES = "kept_bytes"
"""Of a value that stays in the pads, among the facts of a decision."""
MAX_PIECES = 16
"""Transfers of the results of a tile, at most: each is a line of one half."""
FETCHED_PIECES = 8
"""Transfers of a step of the rows of a tile, at most."""
STORED_PIECE_CYCLES = 4
"""Of a tile, for each transfer of its results: addresses are computed between tiles."""
MAX_MET_ROWS = 176
"""Of a tile of one step with the rows of images that it meets: registers hold all of them, and weights."""
LANE_CYCLES = 2
"""Of an operation on a row."""
LAST_ROW_CYCLES = 80
"""From the last row that enters the array to its result, and through the maps."""


@dataclass(frozen=True)
class ImageProduct(HalvesOnly):
    """A product with its maps whose rows are lines and pixels; `result` is what it stores.

    What lies around the results in their buffer is `frame`; None where nothing does.
    """

    stages: tuple[Stage, ...]
    plan: ProductPlan
    result: Access
    frame: float | None
    is_chained: bool = False
    """Whether the result stays in the pads for the next product of the kernel."""
    of_each: bool = False
    """Whether each picture has halves."""

    @property
    def halves(self) -> Halves:
        return halves_of(self.plan.rows, of_each=self.of_each)

    @property
    def product(self) -> Stage:
        return self.stages[0]

    @property
    def maps(self) -> tuple[Stage, ...]:
        return self.stages[1:]

    @property
    def streamed(self) -> Access:
        return self.product.reads[self.plan.streamed]

    @property
    def row_reads(self) -> list[Access]:
        """Operands of the epilogue that differ from row to row."""
        return [read for read in outside_reads(self.product, self.maps) if not is_column_read(read, self.plan)]

    def touches(self, buffer: Buffer) -> bool:
        """Whether it reads or stores any of a buffer."""
        return any(access.buffer is buffer for stage in self.stages for access in stage.accesses())

    def in_pads(self, images: Collection[Buffer]) -> list[str]:
        """What lies in the pads, in words."""
        operands = {"operand": self.streamed.buffer, "result": self.result.buffer}
        names = [name for name, buffer in operands.items() if buffer in images]
        return names + ["residual"] * any(read.buffer in images for read in self.row_reads)

    # For `image_plan`

    @property
    def operand(self) -> Buffer:
        return self.streamed.buffer

    def held_lines(self, buffer: Buffer, shape: ImageShape) -> list[list[Range]] | None:
        found = [_walked(self, read, shape) for read in self.row_reads if read.buffer is buffer]
        is_result = self.result.buffer is buffer
        if is_result:
            found.append(_stored(self, shape))
        if self.operand is buffer:
            found.append(_windowed(self, shape))
        others = [read for stage in self.stages for read in stage.reads if read.buffer is buffer]
        if not found or len(others) + is_result != len(found):
            return None
        complete = [ranges for ranges in found if ranges is not None]
        return complete if len(complete) == len(found) else None

    def stores_dealt(self, buffer: Buffer, shape: ImageShape) -> bool:
        is_whole = self.plan.lane is not None and self.plan.lane.extent == shape.channels
        return buffer is self.result.buffer and self.frame is None and is_whole and _stored(self, shape) is not None

    def cost(self, images: Mapping[Buffer, KeptImage], *, pads: int, pad_rows: int) -> Cost | None:
        chosen = choose_image_schedule(self, images, pads=pads, pad_rows=pad_rows, wanted={})
        if chosen is None:
            return None
        walk, decision = chosen
        rows = epilogue_of(self, images).pad_rows(walk) + frame_rows(self.frame, self.result.buffer, images)
        if isinstance(images.get(self.result.buffer), DealtImage):
            # what `tile_schedules` counts for totals
            rows += walk.results.rows_per_pad + STAGING_MARGIN
        return Cost(decision.predicted_cycles or 0, rows, fetched_bytes(walk))


def image_product(
    stages: Sequence[Stage],
    stored: Sequence[Access],
    frame: float | None,
    *,
    is_chained: bool = False,
    each_of: int = 1,
) -> ImageProduct | None:
    """A product as one over images; None where it is not. Coalesces loops but those over lines and pixels.

    The rows of a matrix become two loops, over its halves and the rows of a half; or those `each_of` so many pictures,
    where there are several.
    """
    if stages[0].kind is not StageKind.PRODUCT or stages[0].is_scalar or len(stored) != 1:
        return None
    (result,) = stored
    lanes = {loop for loop, stride in result.strides.items() if stride == 1}
    coalesce_loops(stages, apart=set(result.strides) - lanes)
    plan = choose_product_plan(stages[0], [result])
    of_each = each_of > 1
    if of_each:
        if not plan.rows or not split_pictures(stages, plan.rows, each_of):
            return None
        plan = choose_product_plan(stages[0], [result])
    elif len(plan.rows) == PICTURE_LOOPS:
        coalesce_pictures(stages, plan.rows)
        plan = choose_product_plan(stages[0], [result])
    if len(plan.rows) == 1:
        split_matrix(stages, plan.rows[0])
        plan = choose_product_plan(stages[0], [result])
    lane = plan.lane
    if plan.batch or not can_halve(plan.rows, of_each=of_each) or len(plan.cols) != 1:
        return None
    if lane is None or lane.extent % LANES or not is_plain(stages[1:], plan) or result.stride(lane) != 1:
        return None
    return ImageProduct(tuple(stages), plan, result, frame, is_chained, of_each)


def walk_of(product: ImageProduct, access: Access, image: KeptImage) -> ImageWalk | None:
    """How results, or operands of the epilogue, walk an image."""
    return _slices_walk(product, access, image.shape)


def _slices_walk(product: ImageProduct, access: Access, shape: ImageShape) -> ImageWalk | None:
    """How they walk an image of which their channels are all slices, or some."""
    lane = product.plan.lane
    if lane is None or access.stride(lane) != 1:
        return None
    walk = image_walk(access, shape, product.plan.rows, of_each=product.of_each, in_any_slice=True)
    return walk if walk is not None and walk.first_slice * LANES + lane.extent <= shape.channels else None


def epilogue_of(product: ImageProduct, images: Mapping[Buffer, KeptImage]) -> TileEpilogue:
    """What becomes of the sums of a tile."""
    is_kept = product.is_chained or product.result.buffer in images
    kept, in_dram = (product.result.buffer, []) if is_kept else (None, [product.result.buffer])
    return tile_epilogue(product.plan, product.product, product.maps, in_dram, kept, images)


def image_schedules(
    product: ImageProduct, images: Mapping[Buffer, KeptImage], *, pads: int, pad_rows: int
) -> Iterator[TileSchedule]:
    """All walks for a product of which some operands or the result are `images`; `pad_rows` are free in each pad."""
    plan, pushed = product.plan, product.product.reads[product.plan.pushed]
    image = images.get(product.streamed.buffer)
    if plan.lane is None or isinstance(image, DealtImage):
        return
    cols = Blocks(None, plan.lane, 1, LANES, pads)
    epilogue = epilogue_of(product, images)
    moved = [*epilogue.stored, *epilogue.staged_reads]
    in_pads = [access for access in (product.result, *epilogue.image_reads) if access.buffer in images]
    if any(walk_of(product, access, images[access.buffer]) is None for access in in_pads):
        return
    if not cols.can_move(pushed, LANES) or any(access.stride(plan.lane) != 1 for access in moved):
        return
    reads_rows = bool(epilogue.staged_reads)
    is_dealt = isinstance(images.get(product.result.buffer), DealtImage)
    if is_dealt and len(images) == 1:
        yield from _dealt_schedules(product, epilogue, pads=pads, pad_rows=pad_rows)
        return
    for rows, results, depth in _ways(product, image, pads):
        if is_dealt and not can_deal(results, plan.rows[-1]):
            continue
        if not all(results.can_move(access, LANES) and results.num_pieces <= MAX_PIECES for access in moved):
            continue
        columns = spared_columns(cols, image.first_pad) if image is not None and is_pad_bound(rows) else cols
        walk = TileSchedule(
            product.streamed, pushed, rows, columns, results, depth, True, rows.num_blocks, reads_rows=reads_rows
        )
        if image is not None and isinstance(results, HalvedRuns) and epilogue.in_loop(walk):
            continue  # its code exceeds the instruction cache by more than it gains (ViT-B/16: 1.33 instead of 1.30 M)
        if depth.steps == 1 and not epilogue.in_loop(walk) and _met_rows(epilogue, results) > MAX_MET_ROWS:
            continue
        free = pad_rows - (epilogue.pad_rows(walk) - walk.operand_rows)
        if is_dealt and epilogue.in_loop(walk):
            continue
        if image is None:
            yield from fitting(walk, free)
        elif walk.operand_rows <= free:
            yield walk


def _met_rows(epilogue: TileEpilogue, results: HalvedResults) -> int:
    """Rows of a tile and those of images that it meets; none where it meets no image."""
    return results.rows * (1 + len(epilogue.image_reads)) if epilogue.image_reads else 0


def _dealt_schedules(
    product: ImageProduct, epilogue: TileEpilogue, *, pads: int, pad_rows: int
) -> Iterator[TileSchedule]:
    """Walks for a product of which only the result stays in the pads, dealt out over them: blocks of any rows."""
    plan = product.plan
    for walk in tile_schedules(plan, product.product, product.maps, (), pads=pads, pad_rows=pad_rows):
        fits = can_deal(walk.results, plan.rows[-1]) and epilogue.pad_rows(walk) <= pad_rows
        if fits and not epilogue.in_loop(walk):
            yield walk


def _ways(product: ImageProduct, image: PadImage | None, pads: int) -> Iterator[tuple[Blocks, HalvedResults, Depth]]:
    """Blocks of rows and of results, and the steps of the depth: over an image in the pads, or over one in DRAM.

    Of what lies in DRAM footprints are fetched, or what each step needs.
    """
    streamed, pushed = product.streamed, product.product.reads[product.plan.pushed]
    window = window_of(product.plan, streamed, pushed, least_taps=1 if image is not None else 2)
    if image is not None and window is not None:
        window = window_in_image(window, image.shape)
    steps = depth_of(product.plan, streamed, pushed) if image is None else None
    *pictures, line_loop, loop = product.plan.rows
    picture_loop = pictures[0] if pictures else None
    for results in halved_results(line_loop, loop, MAX_BLOCK_ROWS, pads, picture_loop, of_each=product.of_each):
        rows = halved_blocks(results, window, image) if window is not None else None
        if image is None and results.pictures_together > 1:
            rows = None  # image lines of one picture are fetched
        if rows is not None and window is not None and (image is not None or _can_fetch(rows, window)):
            yield rows, results, window_depth(window)
        if steps is not None and results.num_pieces <= FETCHED_PIECES and results.can_move(streamed, steps.lanes):
            yield results, results, steps


def _can_fetch(rows: HalvedBlocks, window: Window) -> bool:
    return rows.piece_rows <= MAX_DMA_ROWS and rows.transfers <= window.num_taps


def choose_image_schedule(
    product: ImageProduct, images: Mapping[Buffer, KeptImage], *, pads: int, pad_rows: int, wanted: Fields
) -> tuple[TileSchedule, Decision] | None:
    """The walk that is predicted to take the fewest cycles, of those that are as `wanted`; None where there is none."""
    epilogue = epilogue_of(product, images)
    pad_rows -= frame_rows(product.frame, product.result.buffer, images)
    found = list(image_schedules(product, images, pads=pads, pad_rows=pad_rows))
    chosen = fastest(FORM_NAME, found, tile_fields, lambda walk: _cycles(walk, epilogue), wanted, least_cycles)
    if chosen is None:
        return None
    walk, cycles, ways = chosen
    facts = {
        "tile_rows": walk.rows.rows,
        "tiles": walk.rows.num_blocks * walk.cols.num_blocks,
        "panels": walk.num_panels,
        "steps": walk.depth.steps,
        "epilogue": epilogue.form(walk),
        "operand_rows": walk.operand_rows,
        IN_PADS: ", ".join(product.in_pads(images)),
    }
    if product.result.buffer in images:
        results, whole = product.result, product.result.buffer.num_elements
        own = whole if product.frame is not None else math.prod(loop.extent for loop in results.strides)
        facts[KEPT_BYTES] = own * 2
    return walk, Decision(FORM_NAME, tile_fields(walk), facts, round(start_cycles(walk, epilogue.cost) + cycles), ways)


def _cycles(walk: TileSchedule, epilogue: TileEpilogue) -> float:
    """Of all tiles, with transfers of results and of operands of the epilogue, which tiles of few steps wait for."""
    cycles, tiles = predicted_cycles(walk, epilogue.cost), walk.rows.num_blocks * walk.cols.num_blocks
    stored, read = len(epilogue.stored), len(epilogue.staged_reads)
    transfer = walk.results.piece_rows * ROW_TRANSFER_CYCLES + TRANSFER_START_CYCLES
    waited = -(-(stored + read) * walk.results.num_pieces // walk.rows.pads) * transfer
    issued = (stored * STORED_PIECE_CYCLES + read * READ_PIECE_CYCLES) * walk.results.num_pieces
    if walk.depth.steps == 1 and not epilogue.in_loop(walk):
        # nothing hides what is done with the rows
        finished = step_cycles(walk, None) + LANE_CYCLES * walk.rows.rows * epilogue.operations + LAST_ROW_CYCLES
        cycles = max(cycles, tiles * finished)
    return max(cycles + issued * tiles, waited * tiles)


def fetched_bytes(walk: TileSchedule) -> int:
    """Of operands of a product, roughly: outer blocks come again for each panel."""
    return sum(
        walk.access(blocks).buffer.num_elements * 2 * (walk.num_panels if blocks is walk.outer else 1)
        for blocks in (walk.rows, walk.cols)
        if not walk.is_resident(blocks)
    )


def _stored(product: ImageProduct, shape: ImageShape) -> list[Range] | None:
    """Lines of the results in each half: neighbours, and all that there is where no frame is around them."""
    walk = _slices_walk(product, product.result, shape)
    if walk is None or (walk.lines, walk.pixels) != (1, 1):
        return None
    if product.frame is None and not is_whole_image(product.plan.rows, shape):
        return None
    return _walked(product, product.result, shape)


def _walked(product: ImageProduct, access: Access, shape: ImageShape) -> list[Range] | None:
    """Lines that operands of the epilogue touch in each half."""
    walk = _slices_walk(product, access, shape)
    if walk is None:
        return None
    return held_ranges(product.halves, walk, 1)


def _windowed(product: ImageProduct, shape: ImageShape) -> list[Range] | None:
    """Lines that the windows of each half look at."""
    plan, pushed = product.plan, product.product.reads[product.plan.pushed]
    window = window_of(plan, product.streamed, pushed, least_taps=1)
    window = window_in_image(window, shape) if window is not None else None
    walk = image_walk(product.streamed, shape, plan.rows, of_each=product.of_each)
    if window is None or walk is None:
        return None
    lines, pixels = window.reach(1, plan.rows[-1].extent)
    if walk.pixel + pixels > shape.pixels:
        return None
    return held_ranges(product.halves, walk, lines)
