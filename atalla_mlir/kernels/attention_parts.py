"""The end of attention whose keys come in parts: what the parts gave becomes one result (the online softmax).

Of each part there are for a row of scores the highest score m, the sum s of the exponentials of the differences to it,
and a row of results r, the sum of these exponentials times values. With M, the highest m, and weights w = exp(m - M),
the result of all parts is the sum of w r divided by that of w s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_plan import LANES, PADS, AttentionPlan
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.attention_moves import ahead
from atalla_mlir.kernels.attention_transfers import Tiles
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.rings import ROW_BYTES
from atalla_mlir.kernels.walks import Walk


@dataclass(frozen=True)
class PartCombination:
    """Combines the parts of all rows of a group, four rows in an iteration; the results of the first one are replaced.

    `maxima` and `totals` have a row of equal lanes for each row of scores.
    """

    builder: Builder
    plan: AttentionPlan
    maxima: Tiles
    totals: Tiles
    results: Tiles

    def walks(self) -> list[Walk]:
        plan, count = self.plan, self.plan.queries.count
        extents = (plan.heads, count, plan.piece_rows)
        statistics = tuple(rows * ROW_BYTES for rows in (count * plan.piece_rows, plan.piece_rows, 1))
        results = tuple(rows * ROW_BYTES for rows in (count * plan.width_tiles * plan.piece_rows, plan.piece_rows, 1))
        begins = {"statistics": plan.rows_before * ROW_BYTES}
        return [
            Walk(self.builder, extents, {"statistics": statistics}, begins=begins),
            Walk(self.builder, extents, {"results": results}),
            Walk(self.builder, extents, {"stored": results}),
        ]

    def emit(self, offsets: dict[str, ir.Value]) -> None:
        """One iteration."""
        builder, plan = self.builder, self.plan
        maxima = self._rows(self.maxima, offsets["statistics"], "maxima", plan.statistics_rows)
        totals = self._rows(self.totals, offsets["statistics"], "totals", plan.statistics_rows)
        parts = self._rows(self.results, offsets["results"], "results", plan.result_rows)
        stored = self._at(self.results, offsets["stored"], "combined")
        for pad in range(PADS):
            weights = self._weights([self._load(tiles, pad) for tiles in maxima])
            sums = self._weighted(totals, weights, pad)
            factor = builder.scalar_op("reciprocal", builder.extract(_tree(sums, self._add)))
            for tile in range(plan.width_tiles):
                first = tile * plan.queries.count * plan.piece_rows
                result, *further = self._weighted(parts, weights, pad, first)
                for term in further:
                    result = self._add(result, term)
                builder.tile_store(builder.binary("mul", result, factor), stored[pad], Index(first), LANES)

    def _weights(self, maxima: Sequence[ir.Value]) -> list[ir.Value]:
        builder = self.builder
        highest = _tree(maxima, lambda a, b: builder.select(builder.compare("lt", a, b), b, builder.again(a)))
        return [builder.exp(builder.binary("sub", builder.again(maximum), highest)) for maximum in maxima]

    def _weighted(
        self, parts: Sequence[Sequence[ir.Value]], weights: Sequence[ir.Value], pad: int, row: int = 0
    ) -> list[ir.Value]:
        """A row of each part times its weight."""
        return [
            self.builder.binary("mul", self._load(tiles, pad, row), weight)
            for tiles, weight in zip(parts, weights, strict=True)
        ]

    def _add(self, left: ir.Value, right: ir.Value) -> ir.Value:
        return self.builder.binary("add", left, right)

    def _load(self, tiles: Sequence[ir.Value], pad: int, row: int = 0) -> ir.Value:
        return self.builder.tile_load(tiles[pad], Index(row), LANES)

    def _rows(self, tiles: Tiles, offset: ir.Value, name: str, pitch: int) -> list[list[ir.Value]]:
        """Of each part; parts are `pitch` rows apart."""
        starts = [self.builder.plus(offset, part * pitch * ROW_BYTES) for part in range(self.plan.num_parts)]
        return [self._at(tiles, start, f"{name}{part}") for part, start in enumerate(starts)]

    def _at(self, tiles: Tiles, offset: ir.Value, name: str) -> list[ir.Value]:
        return [self.builder.tile_at(tile, offset, ahead(name)) for tile in tiles.pads]


def _tree(terms: Sequence[ir.Value], join: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
    """All terms in one, joined in pairs."""
    terms = list(terms)
    while len(terms) > 1:
        pairs = list(zip(terms[::2], terms[1::2], strict=False))
        terms = [join(a, b) for a, b in pairs] + (terms[-1:] if len(terms) % 2 else [])
    return terms[0]
