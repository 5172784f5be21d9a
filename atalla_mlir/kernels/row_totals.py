"""Accumulators of the reductions of a row kernel, and how terms are combined with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Combine, Loop, Stage
from atalla_mlir.codegen.row_plan import LANES
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.expression import Evaluated
from atalla_mlir.kernels.folds import combined

IDENTITY = {Combine.ADD: 0.0, Combine.MAX: -math.inf, Combine.MIN: math.inf}

Totals = dict[tuple[Stage, int], ir.Value]
"""Accumulators by stage and place."""


@dataclass(frozen=True)
class Accumulation:
    """Combines terms at the insertion point of `builder`; `lane` is the loop along the lanes, if there is one."""

    builder: Builder
    lane: Loop | None

    def combine_all(self, so_far: Totals | None, terms: Totals) -> Totals:
        if not so_far:
            return terms
        return {
            key: self.add_term(key[0].combine or Combine.ADD, so_far[key], Evaluated(term, False), LANES)
            for key, term in terms.items()
        }

    def add_term(self, combine: Combine, total: ir.Value | None, term: Evaluated, cols: int) -> ir.Value:
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
        lane = self.lane
        if cols == LANES or (lane is not None and lane.extent < LANES):
            return row
        return self._fill_tail(combine, row, cols)

    def _fill_tail(self, combine: Combine, row: ir.Value, cols: int) -> ir.Value:
        if cols == LANES:
            return row
        mask = self.builder.lane_mask(cols, LANES - 1)
        return self.builder.select(mask, self.builder.constant(IDENTITY[combine]), row)

    def combiner(self, combine: Combine | None) -> Callable[[ir.Value, ir.Value], ir.Value]:
        return partial(combined, self.builder, combine)
