"""Folds over all pixels of an image in the pads: chunk by chunk of its channels, pixels of both halves in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.image_folds import FoldPlan, ImageFolds, Run
from atalla_mlir.codegen.image_kernel import KeptImage
from atalla_mlir.codegen.iteration import Buffer, Combine, Stage
from atalla_mlir.codegen.pad_images import HALVES, PadImage
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.row_plan import RowPlan, SumOrder
from atalla_mlir.errors import InternalError
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.expression import Evaluated, Evaluator
from atalla_mlir.kernels.folds import PairwiseFold, combined
from atalla_mlir.kernels.image_rows import image_rows
from atalla_mlir.kernels.row_places import Place, access_key
from atalla_mlir.kernels.row_totals import IDENTITY
from atalla_mlir.kernels.rows import RowKernel

Folds = dict[Stage, ir.Value]
"""What has been folded so far."""


class ImageFoldNest:
    """Emits such a kernel by a plan; to be made at the begin of a kernel, whose arguments are `places`."""

    def __init__(
        self,
        builder: Builder,
        folds: ImageFolds,
        plan: FoldPlan,
        images: Mapping[Buffer, KeptImage],
        places: Mapping[Buffer, ir.BlockArgument],
        block: ir.Block,
    ) -> None:
        self.builder, self.folds, self.plan = builder, folds, plan
        image = images[folds.image.buffer]
        walk = folds.walk(image.shape)
        if walk is None or not isinstance(image, PadImage):
            raise InternalError("a fold is no walk over its image")
        self.rows = image_rows(builder, folds.image, image, walk, folds.halves, places[folds.image.buffer])
        # what is not in the pads
        plan_of_rows = RowPlan(folds.lane, (*folds.picture_loops, folds.lane), 1, 1)
        self.memory = RowKernel(builder, folds.stages, plan_of_rows, dict(places), block)
        self.half, self.picture = 0, Index()
        """Where the present picture of several lies: its number in a half."""

    def sum_orders(self) -> dict[Stage, SumOrder]:
        """How each stage adds."""
        order = SumOrder("any", 1, self.plan.depth)
        return {stage: order for stage in self.folds.walking if stage.combine is Combine.ADD}

    def emit(self) -> None:
        if not self.folds.picture_loops:
            self.builder.repeat(self.folds.chunks, lambda chunk: self._chunk(chunk, Place({}, LANES)))
            return
        self.builder.repeat(self.folds.halves.own_pictures, self._pictures)

    def _pictures(self, number: Index) -> None:
        """One of each half."""
        (loop,), own = self.folds.picture_loops, self.folds.halves.own_pictures

        def chunk(at: Index) -> None:
            for half in range(HALVES):
                self.half, self.picture = half, number
                self._chunk(at, Place({loop: number + half * own}, LANES))

        self.builder.repeat(self.folds.chunks, chunk)

    def _chunk(self, chunk: Index, place: Place) -> None:
        place = place.at(self.folds.lane, chunk.scaled(LANES))
        totals = self._straight(chunk, place) if self.plan.is_straight else self._by_steps(chunk, place)
        values: dict[Buffer, Evaluated] = {}
        for stage in self.folds.stages:
            if stage in totals:
                found = totals[stage]
            elif self.folds.rows[-1] in stage.loops:
                continue
            else:
                found = self._evaluate(stage, values, {}, place)
            values[stage.write.buffer] = Evaluated(found, False)
            if stage.write.buffer is self.folds.result.buffer:
                self.memory.store(stage.write, place, found)

    # Pixels

    def _straight(self, chunk: Index, place: Place) -> Folds:
        rows = [
            row
            for run in self.plan.runs
            for line in range(run.lines)
            for row in self._step(run, chunk, Index(line), Index(), run.pixels)
        ]
        return self._fold(rows, place)

    def _by_steps(self, chunk: Index, place: Place) -> Folds:
        folds = [stage for stage in self.folds.walking if stage.reduced]
        totals = [self.builder.splat(IDENTITY[stage.combine or Combine.ADD]) for stage in folds]
        for run in self.plan.runs:
            totals = self.builder.loop(run.lines, totals, partial(self._line, folds, run, chunk, place))
        return dict(zip(folds, totals, strict=True))

    def _line(
        self, folds: list[Stage], run: Run, chunk: Index, place: Place, line: Index, totals: list[ir.Value]
    ) -> list[ir.Value]:
        size = self.plan.step_pixels(run)

        def step(pixel: Index, count: int, totals: list[ir.Value]) -> list[ir.Value]:
            found = self._fold(list(self._step(run, chunk, line, pixel, count)), place)
            return [
                combined(self.builder, stage.combine, total, found[stage])
                for stage, total in zip(folds, totals, strict=True)
            ]

        whole, rest = divmod(run.pixels, size)
        totals = self.builder.loop(whole, totals, lambda at, so_far: step(at.scaled(size), size, so_far))
        return step(Index(run.pixels - rest), rest, totals) if rest else totals

    def _step(self, run: Run, chunk: Index, line: Index, pixel: Index, count: int) -> Iterator[tuple[int, Index]]:
        """Halves and rows of `count` pixels of each half, from a pixel of a line on."""
        image, walk = self.rows.image, self.rows.walk
        line_rows, base = walk.lines * image.pixels, chunk.scaled(image.slice_rows)
        if self.folds.picture_loops:
            base = base + self.picture.scaled(image.picture_rows)
        for number in range(count):
            for half, (first_line, first_pixel) in enumerate(run.firsts, self.half):
                first = self.rows.firsts[half] + first_line * line_rows + first_pixel * walk.pixels
                row = line.scaled(line_rows) + (pixel + number).scaled(walk.pixels)
                yield half, row + base + first

    def _fold(self, rows: list[tuple[int, Index]], place: Place) -> Folds:
        """The fold of pixels whose halves and rows are given."""
        folds = {
            stage: PairwiseFold(partial(combined, self.builder, stage.combine))
            for stage in self.folds.walking
            if stage.reduced
        }
        loaded: dict[object, Evaluated] = {}
        for half, row in rows:
            pixel = self.builder.tile_load(self.rows.tiles[half], row, LANES)
            values = {self.folds.image.buffer: Evaluated(pixel, False)}
            for stage in self.folds.walking:
                found = self._evaluate(stage, values, loaded, place)
                if stage.reduced:
                    folds[stage].add(found)
                else:
                    values[stage.write.buffer] = Evaluated(found, False)
        return {stage: fold.total() for stage, fold in folds.items()}

    def _evaluate(
        self, stage: Stage, values: Mapping[Buffer, Evaluated], loaded: dict[object, Evaluated], place: Place
    ) -> ir.Value:
        """What the body of a stage gives with the `values` of some buffers; others are read from DRAM, once each."""

        def load(read: int) -> Evaluated:
            access = stage.reads[read]
            if access.buffer in values:
                return values[access.buffer]
            key = access_key(access)
            if key not in loaded:
                loaded[key] = self.memory.load(access, place)
            return loaded[key]

        evaluator = Evaluator(self.builder, load, broadcasts=True)
        found = evaluator.row(evaluator.evaluate(stage.body))
        for bound in evaluator.expansions:
            self.memory.expansions[stage] = bound
        return found
