"""What an iteration of a kernel of windows computes (`kernels.windows`): a group of neighbouring results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Buffer, Combine, Stage
from atalla_mlir.codegen.row_plan import block_size
from atalla_mlir.codegen.window_plan import WindowPlan
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.expression import Evaluated, Evaluator
from atalla_mlir.kernels.functions.bound import FunctionBound
from atalla_mlir.kernels.rings import ROW_BYTES, tile_name
from atalla_mlir.kernels.window_pads import Tap, WindowPads, taps_of


class WindowBody:
    """The group whose windows begin `position` bytes into the ring of lines; `chunk` says which rows it shares.

    `expansions` takes a note of functions that had to be expanded.
    """

    def __init__(
        self,
        builder: Builder,
        stages: Sequence[Stage],
        plan: WindowPlan,
        pads: WindowPads,
        expansions: dict[Stage, FunctionBound],
        position: ir.Value,
        chunk: ir.Value,
    ) -> None:
        self.builder, self.stages, self.plan, self.pads = builder, stages, plan, pads
        self.expansions = expansions
        line_bytes = plan.line_rows * ROW_BYTES
        self.line_tiles: list[list[ir.Value]] = []
        for line in range(plan.lines.taps):
            at = builder.plus(position, line * plan.lines.dilation * line_bytes)
            at = builder.both(at, plan.ring_lines * line_bytes - 1) if line else position
            self.line_tiles.append([builder.tile_at(tile, at, tile_name(f"line{line}")) for tile in pads.lines])
        self.fixed_tiles = list(pads.fixed_tiles)
        if plan.chunks > 1:
            self.fixed_tiles = [builder.tile_at(tile, chunk, "read") for tile in pads.fixed_tiles]
        self.loaded: dict[object, ir.Value] = {}

    def emit(self, written: Sequence[ir.Value]) -> None:
        """Compute the results and put them into their rings, `written` bytes from the begin of each."""
        values = self._values()
        for ring, at in zip(self.pads.results, written, strict=True):
            tile = self.builder.tile_at(ring.tile, at, tile_name("write"))
            for out, value in enumerate(values[ring.write.buffer]):
                self.builder.tile_store(value, tile, self.builder.at(out), self.plan.cols)

    def _values(self) -> dict[Buffer, list[ir.Value]]:
        """What each stage gives for each result of the group."""
        window, *others = self.stages
        values = {window.write.buffer: self._fold(window)}
        for stage in others:

            def load(read: int, out: int, stage: Stage = stage) -> Evaluated:
                access = stage.reads[read]
                if access.buffer in values:
                    return Evaluated(values[access.buffer][out], False)
                return Evaluated(self._fixed(stage, read, None), False)

            values[stage.write.buffer] = [
                self._evaluate(stage, partial(load, out=out)) for out in range(self.plan.group)
            ]
        return values

    def _fold(self, window: Stage) -> list[ir.Value]:
        """The terms of each result in sequence, where they are many in blocks.

        Tap by tap for all results: what they share is needed for a short time, and no addition waits for another one.
        """
        taps = list(taps_of(self.plan))
        size = block_size(len(taps))
        totals: list[list[ir.Value]] = []
        for first in range(0, len(taps), size):
            terms = (
                [self._term(window, out, tap) for out in range(self.plan.group)] for tap in taps[first : first + size]
            )
            totals.append(self._chain(window, terms))
        return self._chain(window, totals)

    def _chain(self, window: Stage, terms: Iterable[list[ir.Value]]) -> list[ir.Value]:
        """Fold lists of rows, one of each result."""
        rest = iter(terms)
        totals = next(rest)
        for others in rest:
            totals = [self._combined(window, total, term) for total, term in zip(totals, others, strict=True)]
        return totals

    def _combined(self, window: Stage, total: ir.Value, term: ir.Value) -> ir.Value:
        if window.combine is Combine.ADD:
            return self.builder.binary("add", total, term)
        predicate = "lt" if window.combine is Combine.MAX else "gt"
        return self.builder.select(self.builder.compare(predicate, total, term), term, total)

    def _term(self, window: Stage, out: int, tap: Tap) -> ir.Value:
        def load(read: int) -> Evaluated:
            if window.reads[read] is not self.plan.image:
                return Evaluated(self._fixed(window, read, tap), False)
            return Evaluated(self._pixel(out, tap), False)

        return self._evaluate(window, load)

    def _evaluate(self, stage: Stage, load: Callable[[int], Evaluated]) -> ir.Value:
        evaluator = Evaluator(self.builder, load)
        found = evaluator.evaluate(stage.body)
        for bound in evaluator.expansions:
            self.expansions[stage] = bound
        return evaluator.row(found)

    def _pixel(self, out: int, tap: Tap) -> ir.Value:
        plan = self.plan
        column = out * plan.columns.step + tap[1] * plan.columns.dilation
        key = (tap[0], column)
        if key not in self.loaded:
            row, pad = divmod(column, plan.pads)
            self.loaded[key] = self.builder.tile_load(self.line_tiles[tap[0]][pad], self.builder.at(row), plan.cols)
        return self.loaded[key]

    def _fixed(self, stage: Stage, read: int, tap: Tap | None) -> ir.Value:
        key = (stage, read, tap)
        if key not in self.loaded:
            fixed = self.pads.fixed[key]
            self.loaded[key] = self.builder.tile_load(
                self.fixed_tiles[fixed.pad], self.builder.at(fixed.row), self.plan.cols
            )
        return self.loaded[key]
