"""What `kernels.attention` does to scores: the maps before the softmax, and the two halves of a step of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_pattern import Attention
from atalla_mlir.codegen.attention_plan import LANES, MAX_STEP_CHUNKS, PADS, AttentionPlan
from atalla_mlir.codegen.iteration import Access, Buffer, Node, Stage
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.expression import Evaluated, Evaluator
from atalla_mlir.kernels.functions.bound import FunctionBound

Row = tuple[int, int]
"""Pad, and number of the row there."""


class ScoreMaps:
    """The maps between the product and the softmax; `operands` are the rows of each pad of what the scores meet."""

    def __init__(
        self, builder: Builder, attention: Attention, plan: AttentionPlan, operands: Mapping[int, Sequence[ir.Value]]
    ) -> None:
        self.builder, self.attention, self.plan, self.operands = builder, attention, plan, operands
        self.shared: dict[int, ir.Value] = {}
        self.expansions: dict[Stage, FunctionBound] = {}

    def evaluate(self, score: ir.Value, pad: int, at: int) -> ir.Value:
        """What becomes of a row of scores, row `at` in a pad; lanes without a key give -inf."""
        builder, found = self.builder, self.attention.found
        value = Evaluated(score, False)
        values: dict[Buffer, Evaluated] = {found.scores.write.buffer: value}
        for stage in found.maps:

            def load(read: int, stage: Stage = stage) -> Evaluated:
                access = stage.reads[read]
                if access.buffer in values:
                    return values[access.buffer]
                return Evaluated(self._operand(access, pad, at), False)

            evaluator = Evaluator(builder, load)
            value = Evaluated(evaluator.row(evaluator.evaluate(_overwriting(stage.body))), False)
            for bound in evaluator.expansions:
                self.expansions[stage] = bound
            values[stage.write.buffer] = value
        assert value.value is not None
        if self.plan.keys.size == LANES:
            return value.value
        mask = builder.lane_mask(self.plan.keys.size, LANES - 1)
        return builder.select(mask, builder.constant(-math.inf), value.value)

    def _operand(self, access: Access, pad: int, at: int) -> ir.Value:
        tiles = self.operands[id(access)]
        if access.stride(self.attention.queries):
            return self.builder.tile_load(tiles[pad], Index(at), LANES)
        if id(access) not in self.shared:
            self.shared[id(access)] = self.builder.tile_load(tiles[0], Index(), LANES)
        return self.shared[id(access)]


def _overwriting(node: Node) -> Node:
    """A selection of a computed value or a constant as one that overwrites the former: no row need be filled first."""
    if node.op != "select" or node.args[0].op != "cmp_une" or node.args[2].op != "constant":
        return node
    condition, on_true, on_false = node.args
    return Node("select", (Node("cmp_oeq", condition.args), on_false, on_true))


def _rows(plan: AttentionPlan) -> list[Row]:
    return [(pad, at) for at in range(plan.step_rows // PADS) for pad in range(PADS)]


def _together(plan: AttentionPlan) -> list[list[Row]]:
    """The rows of a step, those together whose chunks the array sums at once."""
    rows, count = _rows(plan), max(1, MAX_STEP_CHUNKS // plan.key_tiles)
    return [rows[first : first + count] for first in range(0, len(rows), count)]


Tiles = Sequence[ir.Value]
"""A part of each pad."""


@dataclass
class SoftmaxStep:
    """The phases of the softmax, on parts of the pads that belong to different steps; of pairs, the first is written.

    Each phase is a chain of few instructions from pads to pads: the highest score of a row; exponentials of differences
    to it and their sums; factors; probabilities. The sums of chunks come from the array: rows pushed as weights, met by
    a row of ones.
    """

    builder: Builder
    plan: AttentionPlan
    scores: tuple[Tiles, Tiles]
    highest: tuple[Tiles, Tiles]
    exponentials: tuple[Tiles, Tiles]
    sums: tuple[ir.Value, ir.Value]
    factors: tuple[Tiles, Tiles]
    probabilities: Tiles
    ones: ir.Value

    def emit(self) -> None:
        for number, rows in enumerate(_together(self.plan)):
            for row in rows:
                self._find_highest(row)
            for row in rows:
                self._exponentiate(row)
            self.builder.tile_store(self.builder.gemm(self.ones), self.sums[0], Index(number), LANES)
            sums = self.builder.tile_load(self.sums[1], Index(number), LANES)
            for position, row in enumerate(rows):
                # what was pushed last is in the first lane
                self._invert(row, sums, (len(rows) - 1 - position) * self.plan.key_tiles)
            for row in rows:
                self._normalise(row)

    def _places(self, row: Row) -> list[Index]:
        return [Index(row[1] * self.plan.key_tiles + chunk) for chunk in range(self.plan.key_tiles)]

    def _find_highest(self, row: Row) -> None:
        """In a tree; a NaN may get lost, as it comes back with the difference."""
        builder, (pad, at) = self.builder, row
        rows = [builder.tile_load(self.scores[0][pad], place, LANES) for place in self._places(row)]
        while len(rows) > 1:
            pairs = list(zip(rows[::2], rows[1::2], strict=False))
            rest = rows[-1:] if len(rows) % 2 else []
            rows = [builder.select(builder.compare("lt", a, b), b, a) for a, b in pairs] + rest
        builder.tile_store(builder.reduce("max", rows[0]), self.highest[0][pad], Index(at), LANES)

    def _exponentiate(self, row: Row) -> None:
        builder, (pad, at) = self.builder, row
        highest = builder.tile_load(self.highest[1][pad], Index(at), LANES)
        for chunk, place in enumerate(self._places(row)):
            score = builder.tile_load(self.scores[1][pad], place, LANES)
            exponential = self._without_strangers(builder.exp(builder.binary("sub", score, highest)), chunk)
            builder.push(exponential)
            builder.tile_store(exponential, self.exponentials[0][pad], place, LANES)

    def _without_strangers(self, row: ir.Value, chunk: int) -> ir.Value:
        """Zero in lanes whose keys belong to the chunk before."""
        keys = self.plan.keys
        if chunk < keys.count - 1 or not keys.excess or keys.size < LANES:
            return row
        return self.builder.select(self.builder.lane_mask(0, keys.excess - 1), self.builder.constant(0.0), row)

    def _invert(self, row: Row, sums: ir.Value, first: int) -> None:
        builder, (pad, at) = self.builder, row
        total = builder.reduce("add", sums, self.plan.key_tiles, first)
        factor = builder.scalar_op("reciprocal", builder.extract(total))
        builder.tile_store(builder.binary("mul", self.ones, factor), self.factors[0][pad], Index(at), LANES)

    def _normalise(self, row: Row) -> None:
        builder, (pad, at) = self.builder, row
        factor = builder.tile_load(self.factors[1][pad], Index(at), LANES)
        for place in self._places(row):
            exponential = builder.tile_load(self.exponentials[1][pad], place, LANES)
            builder.tile_store(builder.binary("mul", exponential, factor), self.probabilities[pad], place, LANES)
