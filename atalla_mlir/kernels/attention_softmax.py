"""What `kernels.attention` does to scores: the maps before the softmax, and a step of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_pattern import Attention
from atalla_mlir.codegen.attention_plan import LANES, MAX_SCALAR_TERMS, PADS, AttentionPlan, StepRow, is_uniform
from atalla_mlir.codegen.iteration import Access, Buffer, Node, Stage
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.attention_stairs import STAIRS
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.expression import Evaluated, Evaluator
from atalla_mlir.kernels.functions.bound import FunctionBound

NEAR_ROWS = 4
"""Rows whose sums are loaded at once."""
LOWEST = -(2 - 2.0**-7) * 2.0**127
"""The lowest finite number."""
SUM_PADS = (0, 2, 1, 3)
"""The pads of the sums of a step, one after the other."""


class ScoreMaps:
    """The maps between the product and the softmax; `operands` are the rows of each pad of what the scores meet.

    Those of stairs (`kernels.attention_stairs`) are limits of the rows of a block from `first` on.
    """

    def __init__(
        self,
        builder: Builder,
        attention: Attention,
        plan: AttentionPlan,
        operands: Mapping[int | str, Sequence[ir.Value]],
        first: int = 0,
    ) -> None:
        self.builder, self.attention, self.plan, self.operands = builder, attention, plan, operands
        self.first = first
        self.limits = score_limits(attention)
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
                return Evaluated(self._operand(access, pad, at), is_uniform(access))

            evaluator = Evaluator(builder, load)
            if self.attention.visible is not None and stage is self.attention.visible.stage:
                stair = builder.tile_load(self.operands[STAIRS][pad], Index(at * PADS + pad - self.first), LANES)
                value = Evaluated(self._limited(evaluator.row(value), Evaluated(stair, False)), False)
                values[stage.write.buffer] = value
                continue
            if stage in self.limits:
                value = Evaluated(self._limited(evaluator.row(value), load(self.limits[stage].read)), False)
                values[stage.write.buffer] = value
                continue
            value = Evaluated(evaluator.row(evaluator.evaluate(_overwriting(stage.body))), False)
            for bound in evaluator.expansions:
                self.expansions[stage] = bound
            values[stage.write.buffer] = value
        assert value.value is not None
        if self.plan.keys.size == LANES:
            return value.value
        mask = builder.lane_mask(self.plan.keys.size, LANES - 1)
        return builder.select(mask, builder.constant(-math.inf), value.value)

    def _limited(self, score: ir.Value, limit: Evaluated) -> ir.Value:
        """A score below its limit, else the limit."""
        assert limit.value is not None
        return self.builder.select(self.builder.compare("lt", score, limit.value), score, limit.value)

    def _operand(self, access: Access, pad: int, at: int) -> ir.Value:
        tiles = self.operands[id(access)]
        if access.stride(self.attention.queries):
            return self.builder.tile_load(tiles[pad], Index(at), LANES)
        if id(access) not in self.shared:
            row = self.builder.tile_load(tiles[0], Index(), LANES)
            self.shared[id(access)] = self.builder.extract(row) if is_uniform(access) else row
        return self.shared[id(access)]


@dataclass(frozen=True)
class ScoreLimit:
    """A map that gives -inf to some scores, as the smaller of a score and a limit that is an infinity.

    The limits are made once, of what tells the scores apart, and serve all heads. A score that is NaN or +inf gives
    +inf then, which makes a row of probabilities NaN as well.
    """

    read: int
    """What the limit is made of: a read of the map."""
    node: Node


def score_limits(attention: Attention) -> dict[Stage, ScoreLimit]:
    """The maps that limit scores, by an operand with rows of its own for each query."""
    outside = {id(access) for access in attention.outside}
    limits: dict[Stage, ScoreLimit] = {}
    for stage in attention.found.maps:
        limit = _limit(stage.body)
        if limit is None:
            continue
        access = stage.reads[limit.read]
        if id(access) in outside and access.stride(attention.queries) and _has_own_rows(attention, stage, access):
            limits[stage] = limit
    return limits


def _has_own_rows(attention: Attention, stage: Stage, access: Access) -> bool:
    """Whether nothing else in the maps reads what limits are made of, which they replace."""
    readers = [other for other in attention.found.maps for read in other.reads if read is access]
    return readers == [stage]


def _limit(body: Node) -> ScoreLimit | None:
    """The limit that `select(condition of one read, score, -inf)` stands for; the arms may be the other way round."""
    if body.op != "select" or not body.args[0].op.startswith("cmp_"):
        return None
    condition, *arms = body.args
    reads = [node.read for node in condition.args if node.op == "load"]
    kept = [arm.op == "load" and arm.read not in reads for arm in arms]
    dropped = [arm.op == "constant" and arm.value == -math.inf for arm in arms]
    is_simple = len(reads) == 1 and all(node.op in ("load", "constant") for node in condition.args)
    if not is_simple or kept == dropped or [not is_kept for is_kept in kept] != dropped:
        return None
    limits = (Node("constant", value=math.inf if is_kept else -math.inf) for is_kept in kept)
    return ScoreLimit(reads[0], Node("select", (condition, *limits)))


def _overwriting(node: Node) -> Node:
    """A selection of a computed value or a constant as one that overwrites the former: no row need be filled first."""
    if node.op != "select" or node.args[0].op != "cmp_une" or node.args[2].op != "constant":
        return node
    condition, on_true, on_false = node.args
    return Node("select", (Node("cmp_oeq", condition.args), on_false, on_true))


Tiles = Sequence[ir.Value]
"""A part of each pad."""


@dataclass
class SoftmaxStep:
    """The two phases of the softmax, on rows of the pads that belong to different steps.

    The first one finds the highest score of a row and takes the exponentials of the differences to it, in place of the
    scores. Their sums come from the array: rows pushed as weights, met by a row of ones. The second one makes
    reciprocals of the sums, which the results are multiplied by: there are fewer of these than probabilities.
    """

    builder: Builder
    plan: AttentionPlan
    parts: Callable[[int, str, str], Tiles]
    """The rows of a phase, of `scores`, `sums` or `factors`, for a use by name."""
    ones: ir.Value

    def emit(self, beside: Callable[[], None]) -> None:
        """`beside` emits what else the array is to do: after the first rows, as those that follow take their time."""
        builder = self.builder
        scores, exponentials = self.parts(0, "scores", "scores"), self.parts(0, "scores", "exponentials")
        maxima = None if self.plan.parts is None else self.parts(0, "maxima", "maxima")
        stored, factors = self.parts(0, "sums", "sums"), self.parts(1, "factors", "factors")
        for number, together in enumerate(self.plan.summed_rows):
            for row in together:
                self._exponentiate(row, scores, exponentials, maxima)
            pad, place = SUM_PADS[number % PADS], Index(number // PADS)
            builder.tile_store(builder.gemm(self.ones), stored[pad], place, LANES)
            if not number:
                beside()
            # what was pushed last is in the first lane
            lane = sum(row.tiles for row in together)
            for at in range(0, len(together), NEAR_ROWS):
                # loaded anew: a register should not be in use while all reciprocals are taken
                sums = builder.tile_load(self.parts(1, "sums", f"sums{number}.{at}")[pad], place, LANES)
                for row in together[at : at + NEAR_ROWS]:
                    lane -= row.tiles
                    self._invert(row, sums, lane, factors)

    def _place(self, row: StepRow, chunk: int) -> Index:
        return Index(row.place * self.plan.key_tiles + chunk)

    def _exponentiate(self, row: StepRow, scores: Tiles, exponentials: Tiles, maxima: Tiles | None) -> None:
        builder, pad = self.builder, row.pad
        chunks = [builder.tile_load(scores[pad], self._place(row, chunk), LANES) for chunk in range(row.tiles)]
        highest = self._highest(chunks)
        if maxima is not None:
            builder.tile_store(highest, maxima[pad], Index(row.place), LANES)
        for chunk, score in enumerate(chunks):
            exponential = self._without_strangers(builder.exp(builder.binary("sub", score, highest)), chunk)
            builder.push(exponential)
            builder.tile_store(exponential, exponentials[pad], self._place(row, chunk), LANES)
        for chunk in range(row.tiles, row.cleared):
            builder.tile_store(builder.splat(0.0), exponentials[pad], self._place(row, chunk), LANES)

    def _highest(self, rows: Sequence[ir.Value]) -> ir.Value:
        """Of all elements, in all lanes, found in a tree; a NaN may get lost, as it comes back with the difference."""
        builder, rows = self.builder, list(rows)
        while len(rows) > 1:
            pairs = list(zip(rows[::2], rows[1::2], strict=False))
            rest = rows[-1:] if len(rows) % 2 else []
            rows = [builder.select(builder.compare("lt", a, b), b, builder.again(a)) for a, b in pairs] + rest
        if self.plan.parts is not None:
            # a part whose keys are all masked gives zeros; only a row without any keys gives NaN
            lowest = builder.constant(LOWEST)
            rows = [builder.select(builder.compare("lt", rows[0], lowest), lowest, rows[0])]
        return builder.reduce("max", rows[0])

    def _without_strangers(self, row: ir.Value, chunk: int) -> ir.Value:
        """Zero in lanes whose keys belong to the chunk before."""
        keys = self.plan.keys
        if chunk < keys.count - 1 or not keys.excess or keys.size < LANES:
            return row
        return self.builder.select(self.builder.lane_mask(0, keys.excess - 1), self.builder.constant(0.0), row)

    def _total(self, sums: ir.Value, first: int, count: int) -> ir.Value:
        """The sum of the `count` chunks of a row, from lane `first` on; of few chunks beside the lanes."""
        builder = self.builder
        if count > MAX_SCALAR_TERMS:
            return builder.extract(builder.reduce("add", sums, count, first))
        terms = [builder.extract(sums, first + lane) for lane in range(count)]
        while len(terms) > 1:
            pairs = list(zip(terms[::2], terms[1::2], strict=False))
            rest = terms[-1:] if len(terms) % 2 else []
            terms = [builder.scalar_op("scalar_add", a, b) for a, b in pairs] + rest
        return terms[0]

    def _invert(self, row: StepRow, sums: ir.Value, first: int, factors: Tiles) -> None:
        """The reciprocal of the sum of a row; the sum itself where it is that of a part."""
        builder = self.builder
        factor = self._total(sums, first, row.tiles)
        if self.plan.parts is None:
            factor = builder.scalar_op("reciprocal", factor)
        builder.tile_store(builder.binary("mul", self.ones, factor), factors[row.pad], Index(row.place), LANES)
