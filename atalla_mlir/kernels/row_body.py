"""Code for some iterations of a row kernel's outer loops: segments of stages that share a nest of inner loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Stage
from atalla_mlir.codegen.row_plan import LANES, MAX_SEQUENTIAL_TERMS, MAX_UNROLLED_TERMS, block_size
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.expression import Evaluated, Evaluator
from atalla_mlir.kernels.folds import PairwiseFold
from atalla_mlir.kernels.row_places import Place, access_key, at_all, lane_segments
from atalla_mlir.kernels.row_totals import IDENTITY, Accumulation, Totals

if TYPE_CHECKING:
    from atalla_mlir.kernels.rows import RowKernel


@dataclass
class Segment:
    """Stages that share one nest of `loops` (parallel ones first, then `reduced`, the lanes innermost)."""

    stages: list[Stage]
    loops: list[Loop]
    reduced: list[Loop]


class RowBody:
    """Some iterations of the outer loops, at `places`, side by side: they share loop nests, so latencies overlap."""

    def __init__(self, kernel: RowKernel, places: Sequence[Place]) -> None:
        self.kernel = kernel
        self.builder = kernel.builder
        self.places = list(places)
        self.values: list[dict[Buffer, Evaluated]] = [{} for _ in places]
        """For each place its results without inner loops."""
        self.chunks: list[dict[Buffer, dict[int, Evaluated]]] = [{} for _ in places]
        """For each place its results along the lanes that stay in registers, by chunk."""
        self.side_by_side: dict[tuple[object, int, tuple[Index | None, ...], ir.Block], ir.Value | None] = {}
        """Rows with an element for each place of some, by what is read, number and where code stands."""
        self.totals = Accumulation(self.builder, kernel.plan.lane)
        self.segments = self._segments()

    def emit(self) -> None:
        for segment in self.segments:
            if segment.loops:
                self._nest(segment)
            else:
                self._straight(segment.stages, self.places, {}, chunk=None)

    def _inner(self, stage: Stage) -> list[Loop]:
        return [loop for loop in stage.loops if loop not in self.kernel.plan.outer]

    def _segments(self) -> list[Segment]:
        segments: list[Segment] = []
        for stage in self.kernel.stages:
            inner = self._inner(stage)
            last = segments[-1] if segments else None
            if last is None or set(last.loops) != set(inner) or not self._may_join(last, stage):
                ordered = self._nest_order(inner, stage.reduced)
                segments.append(Segment([], ordered, list(stage.reduced)))
            elif stage.reduced and not last.reduced:
                last.reduced = list(stage.reduced)
                last.loops = self._nest_order(inner, stage.reduced)
            segments[-1].stages.append(stage)
        return segments

    def _may_join(self, segment: Segment, stage: Stage) -> bool:
        done = {member.write.buffer for member in segment.stages if member.reduced}
        if any(read.buffer in done for read in stage.reads):
            return False
        return not stage.reduced or not segment.reduced or set(stage.reduced) == set(segment.reduced)

    def _nest_order(self, loops: Sequence[Loop], reduced: Sequence[Loop]) -> list[Loop]:
        lane = self.kernel.plan.lane
        return sorted(loops, key=lambda loop: (loop in reduced, loop is lane, -loop.extent))

    # Straight-line code

    def _straight(
        self, stages: Sequence[Stage], places: Sequence[Place], accumulators: Totals, chunk: int | None
    ) -> Totals:
        """Evaluate all stages at each place; gives the accumulators of the reducing ones after this term."""
        updated: Totals = {}
        for which, place in enumerate(places):
            updated.update(self._straight_row(stages, which, place, accumulators, chunk))
        return updated

    def _straight_row(
        self, stages: Sequence[Stage], which: int, place: Place, accumulators: Totals, chunk: int | None
    ) -> Totals:
        local: dict[Buffer, Evaluated] = {}
        loaded: dict[object, Evaluated] = {}
        updated: Totals = {}
        for stage in stages:
            value = self._evaluate(stage, which, place, local, loaded, chunk)
            if stage.reduced and stage.combine is not None:
                cols = place.cols if self.kernel.plan.lane in stage.reduced else LANES
                total = accumulators.get((stage, which))
                updated[stage, which] = self.totals.add_term(stage.combine, total, value, cols)
            else:
                local[stage.write.buffer] = value
                self._deliver(stage, which, place, value, chunk)
        return updated

    def _evaluate(
        self,
        stage: Stage,
        which: int,
        place: Place,
        local: dict[Buffer, Evaluated],
        loaded: dict[object, Evaluated],
        chunk: int | None,
    ) -> Evaluated:
        def load(read: int) -> Evaluated:
            access = stage.reads[read]
            if access.buffer in local:
                return local[access.buffer]
            key = access_key(access)
            if key not in loaded:
                loaded[key] = self._fetch(access, which, place, chunk)
            return loaded[key]

        evaluator = Evaluator(self.builder, load)
        found = evaluator.evaluate(stage.body)
        for bound in evaluator.expansions:
            self.kernel.expansions[stage] = bound
        return Evaluated(evaluator.operand(found), found.uniform)

    def _fetch(self, access: Access, which: int, place: Place, chunk: int | None) -> Evaluated:
        if access.buffer in self.values[which]:
            return self.values[which][access.buffer]
        if access.buffer in self.chunks[which] and chunk is not None:
            return self.chunks[which][access.buffer][chunk]
        if access.buffer in self._computed():
            tile, row = self.kernel.temporary(access, place, which)
            lane = self.kernel.plan.lane
            if lane is None or lane not in access.strides:
                return Evaluated(self.builder.tile_load(tile, row, LANES), True)
            return Evaluated(self.builder.tile_load(tile, row, place.cols), False)
        return self._element(access, which, place) or self.kernel.load(access, place)

    def _element(self, access: Access, which: int, place: Place) -> Evaluated | None:
        """What all lanes of a place read, out of a row that several places share, if there is such a row."""
        number, lane = divmod(which, LANES)
        others = self.places[number * LANES : (number + 1) * LANES]
        first = Place({**place.positions, **others[0].positions}, place.cols)
        # loops inside may be unrolled: then one block has several of their iterations
        positions = tuple(first.positions.get(loop) for loop in access.strides)
        key = (access_key(access), number, positions, ir.InsertionPoint.current.block)
        if key not in self.side_by_side:
            self.side_by_side[key] = self.kernel.load_side_by_side(access, first, len(others))
        row = self.side_by_side[key]
        return None if row is None else Evaluated(self.builder.extract(row, lane), True)

    def _computed(self) -> set[Buffer]:
        return {stage.write.buffer for stage in self.kernel.stages}

    def _deliver(self, stage: Stage, which: int, place: Place, value: Evaluated, chunk: int | None) -> None:
        """Put a finished value where its readers look for it, and store it when it leaves the kernel."""
        buffer = stage.write.buffer
        operand = value.value
        assert operand is not None
        if buffer in self.kernel.buffers:
            self.kernel.store(stage.write, place, operand)
        inner = [loop for loop in stage.write.strides if loop not in self.kernel.plan.outer]
        if not inner:
            self.values[which][buffer] = value
        elif inner == [self.kernel.plan.lane] and chunk is not None:
            self.chunks[which].setdefault(buffer, {})[chunk] = value
        elif self._is_read_later(stage):
            tile, row = self.kernel.temporary(stage.write, place, which)
            lane_varies = self.kernel.plan.lane in stage.write.strides
            self.builder.tile_store(self.builder.as_row(operand), tile, row, place.cols if lane_varies else LANES)

    def _is_read_later(self, stage: Stage) -> bool:
        own = next(segment for segment in self.segments if stage in segment.stages)
        return any(
            read.buffer is stage.write.buffer
            for segment in self.segments
            if segment is not own
            for reader in segment.stages
            for read in reader.reads
        )

    # Loop nests

    def _nest(self, segment: Segment) -> None:
        parallel = [loop for loop in segment.loops if loop not in segment.reduced]
        self._parallel(segment, parallel, self.places)

    def _parallel(self, segment: Segment, loops: list[Loop], places: Sequence[Place]) -> None:
        if not loops:
            reduced = [loop for loop in segment.loops if loop in segment.reduced]
            self._reduced(segment, reduced, places)
        elif loops[0] is self.kernel.plan.lane:
            self._lane_chunks(loops[0], places, lambda at, chunk: self._after_lanes(segment, loops[1:], at, chunk))
        else:
            self.builder.repeat(
                loops[0].extent, lambda i: self._parallel(segment, loops[1:], at_all(places, loops[0], i))
            )

    def _after_lanes(self, segment: Segment, loops: list[Loop], places: Sequence[Place], chunk: int | None) -> None:
        reduced = [loop for loop in segment.loops if loop in segment.reduced]
        if not loops and not reduced:
            self._straight(segment.stages, places, {}, chunk)
        else:
            self._parallel(segment, loops, places)

    def _lane_chunks(
        self, lane: Loop, places: Sequence[Place], body: Callable[[list[Place], int | None], None]
    ) -> None:
        """Run `body` for each chunk of the lanes: unrolled when the chunks stay in registers, else as a loop."""
        in_registers = self._lanes_in_registers()
        for start, count, cols in lane_segments(lane.extent):
            if in_registers:
                for chunk in range(start, start + count):
                    body(at_all(places, lane, Index(chunk * LANES), cols), chunk)
            else:
                self.builder.repeat(
                    count,
                    lambda i, start=start, cols=cols: body(
                        at_all(places, lane, i.scaled(LANES) + start * LANES, cols), None
                    ),
                )

    def _lanes_in_registers(self) -> bool:
        return self.kernel.lanes_in_registers

    def _reduced(self, segment: Segment, loops: list[Loop], places: Sequence[Place]) -> None:
        reducing = [stage for stage in segment.stages if stage.reduced]
        if not reducing:
            self._straight(segment.stages, places, {}, None)
            return
        totals = self._sum_over(segment, loops, places, None)
        lane = self.kernel.plan.lane
        for (stage, which), total in totals.items():
            place = places[which]
            if lane is not None and lane in stage.reduced and stage.combine is not None:
                folded = self.builder.reduce(stage.combine.value, total, min(LANES, lane.extent))
                self._deliver(stage, which, place, Evaluated(folded, True), None)
            else:
                uniform = lane not in stage.loops
                self._deliver(stage, which, place, Evaluated(total, uniform), None)

    def _sum_over(
        self, segment: Segment, loops: list[Loop], places: Sequence[Place], accumulators: Totals | None
    ) -> Totals:
        """Fold all iterations of `loops` into `accumulators` (None: there is no term yet)."""
        if not loops:
            return self._straight(segment.stages, places, accumulators or {}, None)
        loop, rest = loops[0], loops[1:]
        if loop is self.kernel.plan.lane:
            return self._sum_over_lanes(segment, loop, places, accumulators)

        def term(index: Index, so_far: Totals | None) -> Totals:
            at = at_all(places, loop, index)
            if not rest:
                return self._straight(segment.stages, at, so_far or {}, None)
            return self.totals.combine_all(so_far, self._sum_over(segment, rest, at, None))

        return self.totals.combine_all(accumulators, self._levels(segment, loop.extent, term))

    def _sum_over_lanes(
        self, segment: Segment, lane: Loop, places: Sequence[Place], accumulators: Totals | None
    ) -> Totals:
        if self._lanes_in_registers():
            return self._sum_over_registers(segment, lane, places, accumulators or {})
        totals = None
        for start, count, cols in lane_segments(lane.extent):

            def term(index: Index, so_far: Totals | None, start: int = start, cols: int = cols) -> Totals:
                at = at_all(places, lane, index.scaled(LANES) + start * LANES, cols)
                return self._straight(segment.stages, at, so_far or {}, None)

            if count == 1 and totals is not None:
                totals = term(Index(), totals)
            else:
                totals = self.totals.combine_all(totals, self._levels(segment, count, term))
        return self.totals.combine_all(accumulators, totals or {})

    def _sum_over_registers(self, segment: Segment, lane: Loop, places: Sequence[Place], totals: Totals) -> Totals:
        """Sums in sequence; maxima and minima, whose order does not matter, two by two, so that no chain is long."""
        folds: dict[tuple[Stage, int], PairwiseFold] = {}
        for start, count, cols in lane_segments(lane.extent):
            for chunk in range(start, start + count):
                at = at_all(places, lane, Index(chunk * LANES), cols)
                for (stage, which), term in self._straight(segment.stages, at, totals, chunk).items():
                    if stage.combine is Combine.ADD:
                        totals = {**totals, (stage, which): term}
                    else:
                        fold = folds.setdefault((stage, which), PairwiseFold(self.totals.combiner(stage.combine)))
                        fold.add(term)
        return {**totals, **{key: fold.total() for key, fold in folds.items()}}

    def _levels(
        self,
        segment: Segment,
        extent: int,
        term: Callable[[Index, Totals | None], Totals],
    ) -> Totals:
        """Fold `extent` terms: in sequence up to 32, beyond that in blocks of about the square root of their number."""
        if extent <= MAX_SEQUENTIAL_TERMS:
            return self._fold(segment, extent, term)
        block = block_size(extent)
        blocks, rest = divmod(extent, block)

        def one_block(index: Index, so_far: Totals | None) -> Totals:
            inner = self._fold(segment, block, lambda i, acc: term(index.scaled(block) + i, acc))
            return self.totals.combine_all(so_far, inner)

        totals = self._fold(segment, blocks, one_block)
        if rest:
            last = self._fold(segment, rest, lambda i, acc: term(i + blocks * block, acc))
            totals = self.totals.combine_all(totals, last)
        return totals

    def _fold(
        self,
        segment: Segment,
        extent: int,
        term: Callable[[Index, Totals | None], Totals],
    ) -> Totals:
        if extent == 1:
            return term(Index(), None)
        if self._is_unrolled(segment):
            totals: Totals | None = None
            for step in range(extent):
                totals = term(Index(step), totals)
            return totals or {}
        reducing = [(stage, which) for which in range(len(self.places)) for stage in segment.stages if stage.reduced]
        initial = [self.builder.splat(IDENTITY[stage.combine or Combine.ADD]) for stage, _ in reducing]

        def one_term(index: Index, carried: list[ir.Value]) -> list[ir.Value]:
            result = term(index, dict(zip(reducing, carried, strict=True)))
            return [result[key] for key in reducing]

        return dict(zip(reducing, self.builder.loop(extent, initial, one_term), strict=True))

    def _is_unrolled(self, segment: Segment) -> bool:
        """Whether the terms are few and none of their loops runs along the lanes."""
        if self.kernel.plan.lane in segment.reduced:
            return False
        return math.prod(loop.extent for loop in segment.reduced) <= MAX_UNROLLED_TERMS
