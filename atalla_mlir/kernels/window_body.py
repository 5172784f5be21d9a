"""What an iteration of a kernel of windows computes (`kernels.windows`): a group of neighbouring results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Buffer, Combine, Stage
from atalla_mlir.codegen.row_plan import LANES, block_size
from atalla_mlir.codegen.window_layout import WindowPlan
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.expression import Evaluated, Evaluator
from atalla_mlir.kernels.functions.bound import FunctionBound
from atalla_mlir.kernels.rings import ROW_BYTES, tile_name
from atalla_mlir.kernels.window_images import ResultParts
from atalla_mlir.kernels.window_pads import Tap, WindowPads, taps_of


class WindowBody:
    """The group whose windows are where `at` says (`WindowTransfers.windows`): in the ring of lines, in shared rows.

    `expansions` takes a note of functions that had to be expanded.
    """

    def __init__(
        self,
        builder: Builder,
        stages: Sequence[Stage],
        plan: WindowPlan,
        pads: WindowPads,
        expansions: dict[Stage, FunctionBound],
        at: Sequence[ir.Value],
    ) -> None:
        self.builder, self.stages, self.plan, self.pads = builder, stages, plan, pads
        self.expansions = expansions
        position, chunk, *first = at
        self.line_tiles: list[list[ir.Value]] = []
        for line in range(plan.lines.taps):
            place = self._line_place(position, first, line)
            self.line_tiles.append([builder.tile_at(tile, place, tile_name(f"line{line}")) for tile in pads.lines])
        self.fixed_tiles = list(pads.fixed_tiles)
        if plan.chunks > 1:
            self.fixed_tiles = [builder.tile_at(tile, chunk, "read") for tile in pads.fixed_tiles]
        self.loaded: dict[object, ir.Value] = {}

    def _line_place(self, position: ir.Value, first: Sequence[ir.Value], line: int) -> ir.Value:
        """Bytes into the ring, or the image, to a line of the windows, or to that of the frame behind it."""
        plan, builder = self.plan, self.builder
        line_bytes = plan.line_rows * ROW_BYTES
        at = position
        if line:
            at = builder.plus(position, line * plan.lines.dilation * line_bytes)
            if plan.dealt is None:
                at = builder.both(at, plan.ring_lines * line_bytes - 1)
        if not first:
            return at
        moved = line * plan.lines.dilation - plan.lines.low
        last = plan.lines.fetched - 1
        outside: list[ir.Value] = []
        if moved < 0:
            outside.append(builder.is_negative(builder.plus(first[0], moved)))
        if (plan.lines.outs - 1) * plan.lines.step + moved > last:
            outside.append(builder.is_negative(builder.minus(builder.index_constant(last - moved), first[0])))
        for is_outside in outside:
            at = builder.select_bits(is_outside, builder.index_constant(plan.frame_row * ROW_BYTES), at)
        return at

    def emit(self, written: Sequence[ir.Value], image: Sequence[ResultParts] = ()) -> None:
        """Compute the results and put them into their rings, `written` bytes from the begin of each.

        The last one goes to the parts of an `image` instead, where there are any.
        """
        window, *others = self.stages
        tiles = [
            self.builder.tile_at(ring.tile, at, tile_name("write"))
            for ring, at in zip(self.pads.results, written, strict=True)
        ]
        folds = self._shared_folds(window) if self.plan.is_separable else self._folds(window)
        for out, total in enumerate(folds):
            values = {window.write.buffer: total}
            for stage in others:
                values[stage.write.buffer] = self._evaluate(stage, partial(self._operand, stage, values))
            for ring, tile in zip(self.pads.results, tiles, strict=True):
                self.builder.tile_store(values[ring.write.buffer], tile, self.builder.at(out), self.plan.cols)
            for parts in image:
                part = parts.always if out < self.plan.last_group else parts.rest
                self.builder.tile_store(values[self.stages[-1].write.buffer], part, self.builder.at(out), LANES)

    def _operand(self, stage: Stage, values: Mapping[Buffer, ir.Value], read: int) -> Evaluated:
        """What a stage after the window reads: an earlier one's result, or a row that results share."""
        buffer = stage.reads[read].buffer
        return Evaluated(values[buffer] if buffer in values else self._fixed(stage, read, None), False)

    # Folds

    def _folds(self, window: Stage) -> list[ir.Value]:
        """The terms of each result in sequence, where they are many in blocks.

        Tap by tap for all results: what they share is needed for a short time, and no addition waits for another one.
        """
        taps = list(taps_of(self.plan))
        size = block_size(len(taps))
        totals: list[list[ir.Value]] = []
        for first in range(0, len(taps), size):
            terms = [
                [self._term(window, tap, out * self.plan.columns.step) for tap in taps[first : first + size]]
                for out in range(self.plan.group)
            ]
            totals.append(self._chains(window, terms))
        return self._chains(window, [list(blocks) for blocks in zip(*totals, strict=True)])

    def _chains(self, window: Stage, terms: Sequence[Sequence[ir.Value]]) -> list[ir.Value]:
        """Fold the terms of each result, those of all results side by side."""
        totals = [first for first, *_ in terms]
        for number in range(1, len(terms[0])):
            totals = [self._combined(window, total, of[number]) for total, of in zip(totals, terms, strict=True)]
        return totals

    def _shared_folds(self, window: Stage) -> Iterator[ir.Value]:
        """Fold each column of the window's lines once, then for each result the columns that it looks at."""
        columns: dict[int, ir.Value] = {}
        for out in range(self.plan.group):
            seen: list[ir.Value] = []
            for tap in range(self.plan.columns.taps):
                column = out * self.plan.columns.step + tap * self.plan.columns.dilation
                if column not in columns:
                    lines = range(self.plan.lines.taps)
                    columns[column] = self._fold(window, [self._term(window, (line, 0), column) for line in lines])
                seen.append(columns[column])
            yield self._fold(window, seen)

    def _fold(self, window: Stage, terms: Sequence[ir.Value]) -> ir.Value:
        """In sequence, where they are many in blocks."""
        size = block_size(len(terms))
        blocks = [self._chains(window, [terms[first : first + size]]) for first in range(0, len(terms), size)]
        return self._chains(window, [[total for (total,) in blocks]])[0]

    def _combined(self, window: Stage, total: ir.Value, term: ir.Value) -> ir.Value:
        if window.combine is Combine.ADD:
            return self.builder.binary("add", total, term)
        predicate = "lt" if window.combine is Combine.MAX else "gt"
        return self.builder.select(self.builder.compare(predicate, total, term), term, total)

    def _term(self, window: Stage, tap: Tap, first: int) -> ir.Value:
        """The term of a tap in the window whose first column is `first`."""

        def load(read: int) -> Evaluated:
            if window.reads[read] is not self.plan.image:
                return Evaluated(self._fixed(window, read, tap), False)
            return Evaluated(self._pixel(tap[0], first + tap[1] * self.plan.columns.dilation), False)

        return self._evaluate(window, load)

    def _evaluate(self, stage: Stage, load: Callable[[int], Evaluated]) -> ir.Value:
        evaluator = Evaluator(self.builder, load)
        found = evaluator.evaluate(stage.body)
        for bound in evaluator.expansions:
            self.expansions[stage] = bound
        return evaluator.row(found)

    def _pixel(self, line: int, column: int) -> ir.Value:
        if (line, column) not in self.loaded:
            row, pad = divmod(column, self.plan.pads)
            tile = self.line_tiles[line][pad]
            self.loaded[line, column] = self.builder.tile_load(tile, self.builder.at(row), self.plan.cols)
        return self.loaded[line, column]

    def _fixed(self, stage: Stage, read: int, tap: Tap | None) -> ir.Value:
        key = (stage, read, tap)
        if key not in self.loaded:
            fixed = self.pads.fixed[key]
            self.loaded[key] = self.builder.tile_load(
                self.fixed_tiles[fixed.pad], self.builder.at(fixed.row), self.plan.cols
            )
        return self.loaded[key]
