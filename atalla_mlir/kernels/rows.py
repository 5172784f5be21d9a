"""Kernels that work row by row: maps, reductions, and chains of them over the same rows (softmax, norms).

Each iteration of the plan's outer loops is independent. Inside it, stages with equal inner loops share a loop nest; a
value that one nest computes and a later one reads stays in registers when the lanes are the only inner loop and few,
else it goes to a temporary tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Dim, Loop, Stage, joined_dims
from atalla_mlir.codegen.row_plan import (
    LANES,
    MAX_REGISTER_CHUNKS,
    MAX_SEQUENTIAL_TERMS,
    MAX_UNROLLED_TERMS,
    RowPlan,
    SumOrder,
    block_size,
    sum_order,
)
from atalla_mlir.kernels.builder import Builder, Index
from atalla_mlir.kernels.expression import Evaluated, Evaluator
from atalla_mlir.kernels.folds import PairwiseFold, combined
from atalla_mlir.kernels.functions.bound import FunctionBound

IDENTITY = {Combine.ADD: 0.0, Combine.MAX: -math.inf, Combine.MIN: math.inf}


@dataclass
class Place:
    """Where in the iteration space code is being emitted: a position per loop, and the lanes in use."""

    positions: dict[Loop, Index]
    cols: int

    def at(self, loop: Loop, index: Index, cols: int | None = None) -> Place:
        return Place({**self.positions, loop: index}, self.cols if cols is None else cols)


@dataclass
class RowKernel:
    """Emits one loop nest of stages that share loops. `buffers` are the kernel's DRAM arguments by buffer."""

    builder: Builder
    stages: Sequence[Stage]
    plan: RowPlan
    buffers: dict[Buffer, ir.Value]
    block: ir.Block
    """The kernel's body; tiles for temporaries are allocated at its begin."""
    temporaries: dict[Buffer, tuple[ir.Value, list[Loop]]] = field(default_factory=dict)
    expansions: dict[Stage, FunctionBound] = field(default_factory=dict)
    """Stages with a function that had to be expanded, and how exact it is."""

    def emit(self) -> None:
        self._outer(list(self.plan.outer), Place({}, self._only_cols()))

    def emit_rest(self, row: Loop, done: int) -> None:
        """What iterations of the outer loop `row` from `done` on compute."""
        self._rest(list(self.plan.outer), Place({}, self._only_cols()), row, done)

    def _rest(self, loops: list[Loop], place: Place, row: Loop, done: int) -> None:
        if not loops:
            RowBody(self, [place]).emit()
            return
        loop, inner = loops[0], loops[1:]
        first = done if loop is row else 0
        if loop is self.plan.lane:
            for start, count, cols in lane_segments(loop.extent):
                skipped = max(0, first // LANES - start)
                self.builder.repeat(
                    count - skipped,
                    lambda i, start=start + skipped, cols=cols: self._rest(
                        inner, place.at(loop, i.scaled(LANES) + start * LANES, cols), row, done
                    ),
                )
        elif not inner:
            self._rows(loop.extent - first, Index(first), lambda i: place.at(loop, i))
        else:
            self.builder.repeat(loop.extent - first, lambda i: self._rest(inner, place.at(loop, i + first), row, done))

    @property
    def lanes_in_registers(self) -> bool:
        """Whether a whole row is unrolled: the lanes are the only inner loop, and short."""
        lane = self.plan.lane
        others = {
            loop for stage in self.stages for loop in stage.loops if loop is not lane and loop not in self.plan.outer
        }
        return lane is not None and not others and -(-lane.extent // LANES) <= MAX_REGISTER_CHUNKS

    def sum_orders(self) -> list[SumOrder | None]:
        """For each stage how it adds; None for stages that do not."""
        return [
            sum_order(stage.reduced, self.plan, lanes_in_registers=self.lanes_in_registers)
            if stage.reduced and stage.combine is Combine.ADD
            else None
            for stage in self.stages
        ]

    def _only_cols(self) -> int:
        lane = self.plan.lane
        return LANES if lane is None else min(LANES, lane.extent)

    # Outer loops

    def _outer(self, loops: list[Loop], place: Place) -> None:
        if not loops:
            RowBody(self, [place]).emit()
        elif len(loops) == 1:
            self._row_loop(loops[0], place)
        elif loops[0] is self.plan.lane:
            for start, count, cols in lane_segments(loops[0].extent):
                self.builder.repeat(
                    count,
                    lambda i, start=start, cols=cols: self._outer(
                        loops[1:], place.at(loops[0], i.scaled(LANES) + start * LANES, cols)
                    ),
                )
        else:
            self.builder.repeat(loops[0].extent, lambda i: self._outer(loops[1:], place.at(loops[0], i)))

    def _row_loop(self, loop: Loop, place: Place) -> None:
        if loop is not self.plan.lane:
            self._blocked(loop.extent, lambda i: place.at(loop, i))
            return
        for start, count, cols in lane_segments(loop.extent):
            self._blocked(
                count,
                lambda i, start=start, cols=cols: place.at(loop, i.scaled(LANES) + start * LANES, cols),
            )

    def _blocked(self, extent: int, row: Callable[[Index], Place]) -> None:
        """Rows 0..extent-1 in blocks; `row` gives the place of a row."""
        block = min(self.plan.block_rows, extent)
        self.builder.repeat(extent // block, lambda b: self._rows(block, b.scaled(block), row))
        if extent % block:
            self._rows(extent % block, Index(extent - extent % block), row)

    def _rows(self, count: int, start: Index, row: Callable[[Index], Place]) -> None:
        unroll = min(self.plan.unroll, count)

        def several(first: Index, how_many: int) -> None:
            if how_many:
                RowBody(self, [row(first + at) for at in range(how_many)]).emit()

        self.builder.repeat(
            count // unroll, lambda i: several(start + i.scaled(unroll), unroll), overlap=self.plan.overlap
        )
        several(start + (count - count % unroll), count % unroll)

    # Memory

    def load(self, access: Access, place: Place) -> Evaluated:
        """A value from DRAM: a row along the lanes, or one element, as a scalar, when the lanes do not index it."""
        lane = self.plan.lane
        stride = access.stride(lane) if lane is not None else 0
        dims, lane_dim = joined_dims(access, lane)
        row = self.builder.load(
            self.buffers[access.buffer],
            [position_along(dim, place.positions) for dim in dims],
            [dim.stride for dim in dims],
            offset=access.offset,
            lane_dim=lane_dim,
            lane_stride=stride or 1,
            cols=place.cols if stride else 1,
        )
        return Evaluated(row, False) if stride else Evaluated(self.builder.extract(row), True)

    def load_side_by_side(self, access: Access, first: Place, count: int) -> ir.Value | None:
        """Elements for `count` places, up to 32, in the lanes of a row; None where DRAM does not hold them in a row.

        Each place needs one for all of its lanes: extracting it costs less than loading it.
        """
        if count == 1 or not self.plan.outer or self.plan.outer[-1] is self.plan.lane:
            return None
        row, lane = self.plan.outer[-1], self.plan.lane
        if access.stride(row) != 1 or (lane is not None and access.stride(lane)):
            return None
        at = first.positions[row]
        if at.constant % LANES or any(coefficient % LANES for _, coefficient in at.terms):
            return None
        dims, row_dim = joined_dims(access, row)
        return self.builder.load(
            self.buffers[access.buffer],
            [position_along(dim, first.positions) for dim in dims],
            [dim.stride for dim in dims],
            offset=access.offset,
            lane_dim=row_dim,
            lane_stride=1,
            cols=count,
        )

    def store(self, access: Access, place: Place, value: ir.Value) -> None:
        lane = self.plan.lane
        stride = access.stride(lane) if lane is not None else 0
        loops = list(access.strides)
        self.builder.store(
            self.builder.as_row(value),
            self.buffers[access.buffer],
            [place.positions[loop] for loop in loops],
            [access.strides[loop] for loop in loops],
            offset=access.offset,
            lane_dim=loops.index(lane) if lane is not None and stride else -1,
            lane_stride=stride or 1,
            cols=place.cols if stride else 1,
        )

    def temporary(self, access: Access, place: Place, which: int) -> tuple[ir.Value, Index]:
        """The tile of an intermediate buffer and the row in it for `place`, of the `which`-th row side by side."""
        if access.buffer not in self.temporaries:
            inner = [loop for loop in access.strides if loop not in self.plan.outer]
            rows = math.prod(self._tile_extent(loop) for loop in inner) * self.plan.unroll
            with ir.InsertionPoint.at_block_begin(self.block):
                tile = self.builder.alloc_tile(rows, 0, 0)
            self.temporaries[access.buffer] = (tile, inner)
        tile, inner = self.temporaries[access.buffer]
        row, step = Index(), 1
        for loop in reversed(inner):
            position = place.positions[loop]
            if loop is self.plan.lane:
                position = divided(position, LANES)
            row = row + position.scaled(step)
            step *= self._tile_extent(loop)
        return tile, row + which * step

    def _tile_extent(self, loop: Loop) -> int:
        return -(-loop.extent // LANES) if loop is self.plan.lane else loop.extent


def access_key(access: Access) -> object:
    """The same for accesses to the same places."""
    return access.buffer, access.offset, frozenset(access.strides.items())


def position_along(dim: Dim, positions: Mapping[Loop, Index]) -> Index:
    """The position along a dimension of an access at the given positions of its loops."""
    position = Index()
    for loop, factor in dim.terms:
        position = position + positions[loop].scaled(factor)
    return position


def divided(index: Index, factor: int) -> Index:
    return Index(index.constant // factor, tuple((variable, c // factor) for variable, c in index.terms))


def lane_segments(extent: int) -> list[tuple[int, int, int]]:
    """(first chunk, number of chunks, columns): the full chunks of a lane loop, then its tail."""
    segments = [(0, extent // LANES, LANES)] if extent >= LANES else []
    if extent % LANES:
        segments.append((extent // LANES, 1, extent % LANES))
    return segments


def at_all(places: Sequence[Place], loop: Loop, index: Index, cols: int | None = None) -> list[Place]:
    return [place.at(loop, index, cols) for place in places]


Totals = dict[tuple[Stage, int], ir.Value]
"""Accumulators by stage and place."""


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
        self.side_by_side: dict[tuple[object, int, ir.Block], ir.Value | None] = {}
        """Rows with an element for each place of some, by what is read, number and where code stands."""
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
                updated[stage, which] = self._accumulate(stage.combine, total, value, cols)
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
        key = (access_key(access), number, ir.InsertionPoint.current.block)
        if key not in self.side_by_side:
            others = self.places[number * LANES : (number + 1) * LANES]
            first = Place({**place.positions, **others[0].positions}, place.cols)
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
            return self._combine_all(so_far, self._sum_over(segment, rest, at, None))

        return self._combine_all(accumulators, self._levels(segment, loop.extent, term))

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
                totals = self._combine_all(totals, self._levels(segment, count, term))
        return self._combine_all(accumulators, totals or {})

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
                        fold = folds.setdefault((stage, which), PairwiseFold(self._combiner(stage.combine)))
                        fold.add(term)
        return {**totals, **{key: fold.total() for key, fold in folds.items()}}

    def _combiner(self, combine: Combine | None) -> Callable[[ir.Value, ir.Value], ir.Value]:
        return partial(combined, self.builder, combine)

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
            return self._combine_all(so_far, inner)

        totals = self._fold(segment, blocks, one_block)
        if rest:
            last = self._fold(segment, rest, lambda i, acc: term(i + blocks * block, acc))
            totals = self._combine_all(totals, last)
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

    # Accumulation

    def _combine_all(self, so_far: Totals | None, terms: Totals) -> Totals:
        if not so_far:
            return terms
        return {
            key: self._accumulate(key[0].combine or Combine.ADD, so_far[key], Evaluated(term, False), LANES)
            for key, term in terms.items()
        }

    def _accumulate(self, combine: Combine, total: ir.Value | None, term: Evaluated, cols: int) -> ir.Value:
        """`total` combined with `term` in the first `cols` lanes; the others keep `total`."""
        operand = term.value
        assert operand is not None
        if total is None:
            return self._first_term(combine, operand, cols)
        if combine is Combine.ADD:
            return self.builder.binary("add", total, operand, cols)
        return combined(self.builder, combine, total, self._fill_tail(combine, self.builder.as_row(operand), cols))

    def _first_term(self, combine: Combine, operand: ir.Value, cols: int) -> ir.Value:
        """The accumulator after one term; lanes beyond a tail hold the identity unless the final fold masks them."""
        row = self.builder.as_row(operand)
        lane = self.kernel.plan.lane
        if cols == LANES or (lane is not None and lane.extent < LANES):
            return row
        return self._fill_tail(combine, row, cols)

    def _fill_tail(self, combine: Combine, row: ir.Value, cols: int) -> ir.Value:
        if cols == LANES:
            return row
        mask = self.builder.lane_mask(cols, LANES - 1)
        return self.builder.select(mask, self.builder.constant(IDENTITY[combine]), row)
