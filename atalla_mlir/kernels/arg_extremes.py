"""Kernels that find the index of the first largest or smallest element of a row; a NaN counts as the most extreme.

The lanes find the extreme of a row; then, chunk by chunk, the bits of the mask of elements that equal it go to the
scalar units, which keep the first that are not all 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Buffer, Combine, Loop, Stage
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import LANES
from atalla_mlir.kernels.integer_builder import IntegerBuilder
from atalla_mlir.kernels.integers import Elements, Positions
from atalla_mlir.kernels.row_places import lane_segments
from atalla_mlir.kernels.row_totals import IDENTITY


@dataclass
class ArgExtremeKernel:
    """Emits one stage of kind `ARGMAX` or `ARGMIN`."""

    builder: IntegerBuilder
    stage: Stage
    buffers: dict[Buffer, ir.Value]

    def emit(self) -> None:
        if len(self.stage.reduced) > 1:
            raise UnsupportedError("the index of an extreme over several dimensions")
        outer = [loop for loop in self.stage.loops if loop not in self.stage.reduced]
        self._nest(outer, {})

    def _nest(self, loops: Sequence[Loop], at: Positions) -> None:
        if loops:
            self.builder.repeat(loops[0].extent, lambda i: self._nest(loops[1:], {**at, loops[0]: i}))
            return
        element = Elements(self.builder, self.stage, self.buffers).element(self.stage.write, at)
        self.builder.word_store(self._index(at), self.buffers[self.stage.write.buffer], element)

    def _index(self, at: Positions) -> ir.Value:
        if not self.stage.reduced:  # of one element
            return self.builder.number(0)
        b, lane = self.builder, self.stage.reduced[0]
        extreme = self._extreme(lane, at)
        nothing = b.number(0)
        found = [nothing, nothing, nothing, nothing]
        for start, count, cols in lane_segments(lane.extent):
            found = self._searched(lane, at, extreme, (start, count, cols), found)
        chunk, bits, nan_chunk, nan_bits = found
        has_nan = b.is_nonzero(nan_bits)
        chunk, bits = b.choose(has_nan, nan_chunk, chunk), b.choose(has_nan, nan_bits, bits)
        return b.integer("add", chunk, b.lowest_bit(bits))

    def _extreme(self, lane: Loop, at: Positions) -> ir.Value:
        """A row that holds the extreme in every lane."""
        b = self.builder
        is_max = self.stage.combine is Combine.ARGMAX
        combine, predicate = (Combine.MAX, "gt") if is_max else (Combine.MIN, "lt")
        total = b.splat(IDENTITY[combine])
        for start, count, cols in lane_segments(lane.extent):

            def better(index: Index, carried: list[ir.Value], start: int = start, cols: int = cols) -> list[ir.Value]:
                row = self._row(lane, at, index + start, cols)
                wins = b.compare(predicate, row, carried[0])
                chosen = b.select(wins, row, carried[0])
                if cols < LANES:
                    chosen = b.select(b.lane_mask(0, cols - 1), chosen, carried[0])
                return [chosen]

            (total,) = b.loop(count, [total], better)
        return b.reduce(combine.value, total)

    def _searched(
        self, lane: Loop, at: Positions, extreme: ir.Value, segment: tuple[int, int, int], found: list[ir.Value]
    ) -> list[ir.Value]:
        """First element and mask bits of the first chunk with the extreme, and of the first with a NaN."""
        b = self.builder
        start, count, cols = segment

        def step(index: Index, carried: list[ir.Value]) -> list[ir.Value]:
            at_chunk = index + start
            row = self._row(lane, at, at_chunk, cols)
            first = b.counter(at_chunk.scaled(LANES))
            results: list[ir.Value] = []
            masks: list[Callable[[], ir.Value]] = [
                lambda: b.compare("eq", row, extreme),
                lambda: b.compare("ne", row, row),
            ]
            for which, mask in enumerate(masks):
                bits = b.mask_bits(mask())
                if cols < LANES:
                    bits = b.integer("and", bits, b.number((1 << cols) - 1))
                old_chunk, old_bits = carried[2 * which : 2 * which + 2]
                found_before = b.is_nonzero(old_bits)
                results += [b.choose(found_before, old_chunk, first), b.choose(found_before, old_bits, bits)]
            return results

        return b.loop(count, found, step)

    def _row(self, lane: Loop, at: Positions, chunk: Index, cols: int) -> ir.Value:
        access = self.stage.reads[0]
        places = {**at, lane: chunk.scaled(LANES)}
        loops = list(access.strides)
        return self.builder.load(
            self.buffers[access.buffer],
            [places[loop] for loop in loops],
            [access.strides[loop] for loop in loops],
            offset=access.offset,
            lane_dim=loops.index(lane),
            lane_stride=access.strides[lane],
            cols=cols,
        )
