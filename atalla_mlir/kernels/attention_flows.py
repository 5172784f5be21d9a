"""Which operands of attention come beside its loops, and how (`kernels.attention_moves`): one slice after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_pattern import Attention
from atalla_mlir.codegen.attention_plan import LANES, PADS, AttentionPlan, Blocks
from atalla_mlir.codegen.attention_strata import Span
from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.kernels.attention_moves import ELEMENT_BYTES, LAG, LEAD, Flow, Level
from atalla_mlir.kernels.attention_transfers import Outer, Tiles
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.rings import ROW_BYTES

CHUNK_BYTES = LANES * ELEMENT_BYTES


@dataclass(frozen=True)
class GroupFlows:
    """The flows of a group of heads; None where a loop is too short for one, or rows or lanes are left over."""

    builder: Builder
    attention: Attention
    plan: AttentionPlan
    buffers: dict[Buffer, ir.Value]
    outer: Outer
    sink: Tiles

    def queries(self, tiles: Tiles) -> Flow | None:
        plan, loop = self.plan, self.attention.queries
        if plan.depth % LANES or plan.queries.size % PADS:
            return None
        flow = self._ahead("queries", self.attention.query, tiles, loop, plan.moved_queries, plan.piece_rows)
        return None if flow is None else replace(flow, deal=plan.deal)

    def keys(self, tiles: Tiles) -> Flow | None:
        plan, loop = self.plan, self.attention.keys
        if plan.depth % LANES or plan.keys.size < LANES:
            return None
        flow = self._ahead("keys", self.attention.key, tiles, loop, plan.moved_keys, LANES // PADS)
        return None if flow is None else replace(flow, deal=plan.key_deal)

    def _ahead(self, name: str, access: Access, tiles: Tiles, loop: Loop, blocks: Blocks, rows: int) -> Flow | None:
        """A flow beside the scores: all of a head before its first product."""
        plan = self.plan
        iterations = plan.score_iterations
        while 2 * plan.depth_slices * blocks.count <= iterations and not blocks.excess and not rows % 2:
            # more and smaller pieces, in the same places: a piece that does not exist takes as much time
            blocks, rows = Blocks(blocks.extent, blocks.size // 2), rows // 2
        if plan.depth_slices * blocks.count > iterations and not blocks.excess and blocks.count % 2 == 0:
            blocks, rows = Blocks(blocks.extent, 2 * blocks.size), 2 * rows
        pieces = plan.depth_slices * blocks.count
        each = -(-pieces // iterations)
        first = -(-pieces // each) + LEAD
        if first >= plan.heads * iterations:
            return None
        levels = self._levels(access, self._slices(plan.depth_slices, blocks.count, rows), loop, blocks, rows)
        return self._flow(name, "fetch", access, tiles, levels, loop, rows, first, each)

    def values(self, tiles: Tiles) -> Flow | None:
        """Values beside the loop that turns them."""
        plan, loop, access, rows = self.plan, self.attention.keys, self.attention.value, LANES // PADS
        is_regular = plan.width % LANES == 0 and plan.keys.size == LANES
        if plan.is_turned or not is_regular or plan.value_pieces // plan.turned_together <= LEAD:
            return None
        levels = self._levels(access, self._slices(plan.width_tiles, plan.key_tiles, rows), loop, plan.moved_keys, rows)
        flow = self._flow("values", "fetch", access, tiles, levels, loop, rows, LEAD, plan.turned_together)
        return replace(flow, deal=plan.key_deal)

    def results(self, tiles: Tiles) -> Flow | None:
        """Results beside the last of the loops that add to them, in the order of its iterations."""
        plan, loop, access, rows = self.plan, self.attention.queries, self.attention.output, self.plan.piece_rows
        iterations = plan.blocks * plan.width_tiles
        if plan.width % LANES or plan.queries.size % PADS or iterations <= LAG:
            return None
        slices = self._slices(plan.width_tiles, plan.queries.count, rows)
        levels = self._levels(access, slices, loop, plan.moved_queries, rows)
        return replace(self._flow("results", "send", access, tiles, levels, loop, rows, -LAG, 1), deal=plan.deal)

    def span_results(self, tiles: Tiles, span: Span) -> Flow | None:
        """The results of all heads that a loop over results completes, beside it."""
        plan, loop, access = self.plan, self.attention.queries, self.attention.output
        rows = span.done_to - span.done_from
        if not rows or plan.heads * plan.width_tiles <= LAG:
            return None
        head = Blocks(plan.queries.extent, plan.queries.extent)
        levels = self._levels(access, self._slices(plan.width_tiles, 1, plan.head_rows), loop, head, plan.head_rows)
        flow = self._flow("results", "send", access, tiles, levels, loop, rows, -LAG, 1)
        begin = span.done_from * PADS * access.stride(loop) * ELEMENT_BYTES
        return replace(flow, base=self.builder.plus(flow.base, begin), begin=span.done_from * ROW_BYTES)

    @staticmethod
    def _slices(slices: int, count: int, rows: int) -> list[Level]:
        return [Level(slices, CHUNK_BYTES, count * rows * ROW_BYTES)]

    def _levels(self, access: Access, inside: Sequence[Level], loop: Loop, blocks: Blocks, rows: int) -> list[Level]:
        """The loops over heads, those of `inside`, and the one over blocks."""
        stride = access.stride(loop) * ELEMENT_BYTES
        slices = (
            self.plan.width_tiles if access in (self.attention.value, self.attention.output) else self.plan.depth_slices
        )
        place = slices * blocks.count * rows * ROW_BYTES
        heads: list[Level] = []
        for head, count in reversed(self.plan.group):
            heads.insert(0, Level(count, access.stride(head) * ELEMENT_BYTES, place))
            place *= count
        return [*heads, *inside, Level(blocks.count, stride * blocks.size, rows * ROW_BYTES, stride * blocks.excess)]

    def _flow(
        self,
        name: str,
        kind: str,
        access: Access,
        tiles: Tiles,
        levels: Sequence[Level],
        loop: Loop,
        rows: int,
        first: int,
        each: int,
    ) -> Flow:
        builder, buffer = self.builder, self.buffers[access.buffer]
        start = builder.index_value(self.outer.element(access).scaled(ELEMENT_BYTES))
        return Flow(
            name,
            kind,
            buffer,
            builder.plus(builder.address(buffer), start),
            tiles.pads,
            (self.sink.base - tiles.base) * ROW_BYTES,
            tuple(levels),
            rows,
            access.stride(loop),
            first,
            each,
        )
