"""Kernels that fold whole rows into one, as a flat loop of steps (`codegen.column_plan`).

Transfers run some steps ahead, through rings in the pads, so that nothing waits for one by its register (see
`kernels.phased_rows`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.column_plan import ColumnPlan, TermBlocks
from atalla_mlir.codegen.iteration import Buffer, Combine, Stage
from atalla_mlir.codegen.phase_plan import AHEAD, MAX_STAGES
from atalla_mlir.codegen.row_plan import SumOrder
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import LANES, Builder
from atalla_mlir.kernels.expression import Evaluated, Evaluator
from atalla_mlir.kernels.folds import PairwiseFold, combined, fold_depth
from atalla_mlir.kernels.functions.bound import FunctionBound
from atalla_mlir.kernels.rings import FIRST_STEPS, PADS, ROW_BYTES, Pads, Ring, Stream, access_key, part_of, tile_name
from atalla_mlir.target.encoding import DmaShape

SLOTS = 1 << (AHEAD + MAX_STAGES + 1).bit_length()
MAX_FOLDED = 32
"""Partial folds that are folded at once."""


@dataclass
class ColumnFolds:
    """Emits a plan; `buffers` are the kernel's DRAM arguments by buffer."""

    builder: Builder
    plan: ColumnPlan
    buffers: dict[Buffer, ir.Value]
    block: ir.Block
    expansions: dict[Stage, FunctionBound] = field(default_factory=dict)

    def emit(self) -> None:
        plan = self.plan
        self.pads = Pads(self.builder, self.block)
        rows = plan.partials * plan.chunks
        homes = {stage: self.pads.quiet(1)[0] for stage in plan.folds}
        self.partials = {stage: self.pads.tile(rows, homes[stage], 1.0) for stage in plan.folds}
        done = 0
        for part in plan.parts:
            StepLoop(self, part, done * plan.chunks).emit()
            done += part.blocks
        self._finish()

    def sum_orders(self) -> dict[Stage, SumOrder]:
        """How each stage adds."""
        depth = max(fold_depth(part.size) for part in self.plan.parts) + fold_depth(self.plan.partials) + 1
        return {stage: SumOrder("any", 1, depth) for stage in self.plan.folds if stage.combine is Combine.ADD}

    def _finish(self) -> None:
        """Fold the partial folds of each chunk, compute what follows, and store it."""
        plan, builder = self.plan, self.builder
        leaving = [stage for stage in (*plan.folds, *plan.after) if stage.write.buffer in self.buffers]
        outputs = {stage: (pad := self.pads.quiet(1)[0], self.pads.tile(plan.chunks, pad, 1.0)) for stage in leaving}
        counts = self._fold_partials()

        def chunk(at: Index) -> None:
            values = {stage.write.buffer: self._total(stage, at, 0, counts) for stage in plan.folds}
            for stage in plan.after:
                loaded = [Evaluated(values[read.buffer], False) for read in stage.reads]
                values[stage.write.buffer] = self.evaluate(stage, loaded)
            for stage, (_, tile) in outputs.items():
                builder.tile_store(values[stage.write.buffer], tile, at, LANES)

        builder.repeat(plan.chunks, chunk)
        tokens: list[ir.Value] = []
        for stage, (_, tile) in outputs.items():
            buffer = self.buffers[stage.write.buffer]
            for first, rows in self._runs():
                row, element = builder.at(first), builder.at(stage.write.offset + plan.first_column(first))
                tokens.append(
                    builder.dma("dma_store", tile, buffer, row, element, rows=rows, cols=plan.cols, pitch=plan.cols)
                )
        builder.wait(tokens)

    def _runs(self) -> Iterator[tuple[int, int]]:
        """Chunks that lie behind one another, as (first, count)."""
        full = self.plan.lane.extent // LANES
        for first in range(0, full, LANES):
            yield first, min(LANES, full - first)
        if full < self.plan.chunks:
            yield full, 1

    def _fold_partials(self) -> int:
        """Fold partial folds until few are left of each chunk; how many are."""
        plan, count = self.plan, self.plan.partials
        while count > MAX_FOLDED:
            for first in range(0, count, MAX_FOLDED):
                size = min(MAX_FOLDED, count - first)

                def chunk(at: Index, first: int = first, size: int = size) -> None:
                    for stage in plan.folds:
                        total = self._total(stage, at, first, size)
                        row = at + first // MAX_FOLDED * plan.chunks
                        self.builder.tile_store(total, self.partials[stage], row, LANES)

                self.builder.repeat(plan.chunks, chunk)
            count = -(-count // MAX_FOLDED)
        return count

    def _total(self, stage: Stage, chunk: Index, first: int, count: int) -> ir.Value:
        """The fold of `count` partial folds of a chunk, from number `first` on."""
        fold = PairwiseFold(partial(combined, self.builder, stage.combine))
        for number in range(first, first + count):
            fold.add(self.builder.tile_load(self.partials[stage], chunk + number * self.plan.chunks, LANES))
        return fold.total()

    def evaluate(self, stage: Stage, loaded: Sequence[Evaluated]) -> ir.Value:
        """The row that a stage's body gives."""
        evaluator = Evaluator(self.builder, loaded.__getitem__, broadcasts=True)
        found = evaluator.evaluate(stage.body)
        for bound in evaluator.expansions:
            self.expansions[stage] = bound
        return evaluator.row(found)


class StepLoop:
    """The steps of some blocks of terms: block after block, chunk after chunk in each."""

    def __init__(self, kernel: ColumnFolds, part: TermBlocks, first_partial: int) -> None:
        self.kernel, self.plan, self.part = kernel, kernel.plan, part
        self.builder = kernel.builder
        self.first_partial = first_partial
        self.steps = part.blocks * kernel.plan.chunks
        inside = {stage.write.buffer for stage in self.plan.stages}
        self.streams: dict[object, Stream] = {}
        size = -(-part.size // PADS)
        counts = [(min(size, part.size - first), LANES) for first in range(0, part.size, size)]
        for read in (read for stage in self.plan.stages for read in stage.reads if read.buffer not in inside):
            if access_key(read) not in self.streams:
                ring = kernel.pads.ring(SLOTS, counts, 2.0)
                stream = Stream(read, kernel.buffers[read.buffer], ring, 2 * read.stride(self.plan.terms), read.offset)
                self.streams[access_key(read)] = stream

    def emit(self) -> None:
        builder = self.builder
        for step in range(AHEAD):
            for stream in self.streams.values():
                distance = builder.index_constant(self._distance(stream, step))
                self._fetch(stream, distance, self._slot_constant(step), FIRST_STEPS)
        # chunk, slot that is filled, slot that is read, partial fold, and how far each stream is
        initial = [AHEAD % self.plan.chunks, self._slot(AHEAD), 0, self.first_partial * ROW_BYTES]
        initial += [self._distance(stream, AHEAD, clamped=False) for stream in self.streams.values()]
        num_tokens = sum(len(stream.ring.parts) for stream in self.streams.values())
        values = [builder.index_constant(value) for value in initial]
        values += [builder.ready() for _ in range(num_tokens)]
        results = builder.loop(self.steps, values, lambda _, carried: self._iteration(carried), overlap=True)
        builder.wait(results[len(initial) :])

    def _slot(self, step: int) -> int:
        """Which slot of the rings a step takes; parts of equal size have it at the same distance."""
        return step % SLOTS * self._slot_bytes

    @property
    def _slot_bytes(self) -> int:
        ring = next(iter(self.streams.values())).ring
        return max(ring.slot_bytes(part) for part in ring.parts)

    def _slot_constant(self, step: int) -> ir.Value:
        return self.builder.index_constant(self._slot(step))

    def _distance(self, stream: Stream, step: int, *, clamped: bool = True) -> int:
        """Bytes from the first chunk of the first term to where a step begins."""
        block, chunk = divmod(min(step, self.steps - 1) if clamped else step, self.plan.chunks)
        return (self.part.first + block * self.part.size) * stream.step_bytes + 2 * self.plan.first_column(chunk)

    def _iteration(self, carried: Sequence[ir.Value]) -> list[ir.Value]:
        builder, streams = self.builder, list(self.streams.values())
        chunk, filled, read, kept = carried[:4]
        distances = carried[4 : 4 + len(streams)]
        tokens = list(carried[4 + len(streams) :])
        started: list[ir.Value] = []
        for stream, distance in zip(streams, distances, strict=True):
            last = self._distance(stream, self.steps - 1)
            for token in tokens[len(started) : len(started) + len(stream.ring.parts)]:
                # until the transfer is complete its address register must not be taken for anything else
                builder.wait([token], orders=False)
            started += self._fetch(stream, builder.at_most(distance, last), filled, tile_name("fetch"))
        self._fold(read, kept)
        following = builder.plus(chunk, 1)
        wraps = builder.equal_bits(following, self.plan.chunks)
        size = self._slot_bytes
        moved = [builder.both(builder.plus(slot, size), size * SLOTS - 1) for slot in (filled, read)]
        further = [
            self._following(distance, following, wraps, self.part.size * stream.step_bytes)
            for stream, distance in zip(streams, distances, strict=True)
        ]
        chunk = builder.both(following, builder.differ(wraps, -1))
        return [chunk, *moved, builder.plus(kept, ROW_BYTES), *further, *started]

    def _following(self, distance: ir.Value, chunk: ir.Value, wraps: ir.Value, block_bytes: int) -> ir.Value:
        """The distance of the next step, in `chunk` or, where that `wraps`, the first one of the next block."""
        builder, last = self.builder, self.plan.chunks - 1
        end = 2 * self.plan.first_column(last)
        moved = builder.plus(distance, ROW_BYTES)
        if last and end != last * ROW_BYTES:
            moved = builder.plus(moved, builder.both(builder.equal_bits(chunk, last), end - last * ROW_BYTES))
        return builder.plus(moved, builder.both(wraps, block_bytes - end - ROW_BYTES))

    def _fetch(self, stream: Stream, distance: ir.Value, slot: ir.Value, name: str) -> list[ir.Value]:
        """Start the transfers of a step into the rows called `name`; their tokens."""
        builder, pitch = self.builder, stream.access.stride(self.plan.terms)
        start = builder.plus(builder.address(stream.buffer), distance)
        tokens: list[ir.Value] = []
        for part in stream.ring.parts:
            tile = builder.tile_at(part.tile, slot, name)
            shape = DmaShape(part.pad, part.count, self.plan.cols, pitch)
            tokens.append(
                builder.transfer(
                    "fetch",
                    tile,
                    builder.index_constant(0),
                    builder.plus(start, 2 * (stream.access.offset + part.first * pitch)),
                    builder.index_constant(shape.encode()),
                    [stream.buffer],
                    rows=part.count,
                    cols=self.plan.cols,
                )
            )
        return tokens

    def _fold(self, slot: ir.Value, kept: ir.Value) -> None:
        """Fold the terms of the step whose rows are in `slot`, and keep the results."""
        kernel, builder = self.kernel, self.builder
        self.tiles = {
            id(part): builder.tile_at(part.tile, slot, tile_name("read"))
            for stream in self.streams.values()
            for part in stream.ring.parts
        }
        folds = {stage: PairwiseFold(partial(combined, builder, stage.combine)) for stage in self.plan.folds}
        for term in range(self.part.size):
            values: dict[Buffer, ir.Value] = {}
            loaded: dict[object, ir.Value] = {}
            for stage in self.plan.stages:
                operands = []
                for read in stage.reads:
                    key = access_key(read)
                    if read.buffer not in values and key not in loaded:
                        loaded[key] = self._row(self.streams[key].ring, term)
                    operands.append(Evaluated(values.get(read.buffer) or loaded[key], False))
                row = kernel.evaluate(stage, operands)
                if stage.reduced:
                    folds[stage].add(row)
                else:
                    values[stage.write.buffer] = row
        for stage, fold in folds.items():
            tile = builder.tile_at(kernel.partials[stage], kept, tile_name("keep"))
            builder.tile_store(fold.total(), tile, builder.at(0), LANES)

    def _row(self, ring: Ring, term: int) -> ir.Value:
        part = part_of(ring, term)
        return self.builder.tile_load(self.tiles[id(part)], self.builder.at(term - part.first), self.plan.cols)
