"""Attention as one kernel (`codegen.attention_plan`): the scores of a group of heads stay in the pads.

Queries are streamed through the array against keys as weights, the softmax turns rows of scores into exponentials in
place, and these are streamed against values that were turned, so that their keys lie along the lanes; results are
multiplied by the reciprocals of the sums of their exponentials at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_pattern import Attention
from atalla_mlir.codegen.attention_plan import (
    AHEAD,
    EDGE,
    LAG,
    LANES,
    PADS,
    PHASES,
    AttentionPlan,
    Blocks,
    KeyParts,
    KeyRange,
    is_uniform,
)
from atalla_mlir.codegen.attention_strata import VisibleTiles
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage
from atalla_mlir.codegen.row_plan import SumOrder
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.attention_flows import GroupFlows
from atalla_mlir.kernels.attention_images import KEPT, HeadRows, operand_rows
from atalla_mlir.kernels.attention_moves import Flow, FlowLoop, ahead, begin_flows
from atalla_mlir.kernels.attention_parts import PartCombination
from atalla_mlir.kernels.attention_places import allocate_places
from atalla_mlir.kernels.attention_softmax import LOWEST, ScoreLimit, ScoreMaps, SoftmaxStep, score_limits
from atalla_mlir.kernels.attention_spans import NEAR_ROWS, SpanProducts, push_turned
from atalla_mlir.kernels.attention_stairs import STAIRS, StairWalk, stair_places, store_stairs
from atalla_mlir.kernels.attention_transfers import GroupTransfers, Moved, Outer, Tiles
from atalla_mlir.kernels.attention_values import ValueTurning
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.expression import Evaluated, Evaluator
from atalla_mlir.kernels.functions.bound import TINY, UNIT, FunctionBound
from atalla_mlir.kernels.point_walks import PointWalk
from atalla_mlir.kernels.rings import ROW_BYTES
from atalla_mlir.kernels.walks import Walk
from atalla_mlir.target.encoding import DmaShape

UNROLLED_ROWS = 8
"""Rows of each pad that are filled in an iteration."""
MAX_OFFSETS = 48
"""Numbers of rows that are kept in registers for an address: beyond that, parts of rows have addresses of their own."""


class AttentionKernel:
    """Emits one attention. `buffers` are the kernel's DRAM arguments by buffer."""

    def __init__(
        self,
        builder: Builder,
        attention: Attention,
        plan: AttentionPlan,
        buffers: dict[Buffer, ir.Value],
        block: ir.Block,
        places: dict[str, Tiles] | None = None,
        kept: Mapping[str, HeadRows] | None = None,
    ) -> None:
        self.builder, self.attention, self.plan = builder, attention, plan
        self.buffers, self.block, self.kept = buffers, block, kept or {}
        self.transfers = GroupTransfers(builder, attention, plan, buffers)
        self.expansions: dict[Stage, FunctionBound] = {}
        self.places = places or allocate_places(builder, plan, block, self.kept)
        self.queries, self.keys, self.values = (self.places[name] for name in ("queries", "keys", "values"))
        self.query_rows, self.key_rows, self.value_rows = (
            operand_rows(name, plan, self.places, self.kept) for name in ("queries", "keys", "values")
        )
        self.turned, self.scores, self.sums = (self.places[name] for name in ("turned", "scores", "sums"))
        self.factors, self.results, self.sink = (self.places[name] for name in ("factors", "results", "sink"))
        self.outside = {id(access): self.places[f"outside{at}"] for at, access in enumerate(attention.outside)}

    def sum_orders(self) -> dict[Stage, SumOrder]:
        """How each stage adds."""
        found, plan = self.attention.found, self.plan
        return {
            found.scores: SumOrder("slices", plan.depth_slices),
            found.total: SumOrder("any", 1, plan.total_roundings),
            found.output: SumOrder(
                "slices",
                plan.key_tiles,
                is_turned=not plan.is_turned,
                is_scaled=plan.parts is not None,
            ),
        }

    def emit(self) -> None:
        self._clear()
        self._outer(list(self.plan.outer), {})

    def _clear(self) -> None:
        """Transfers write only lanes that exist; the array reads all 32."""
        plan = self.plan
        cleared: list[tuple[Tiles, int]] = []
        if plan.depth % LANES:
            cleared.append((self.queries, plan.blocks * plan.piece_rows * plan.depth_slices))
            cleared.append((self.keys, plan.heads * plan.key_tiles * plan.key_rows))
        if plan.width % LANES and not plan.is_turned:
            cleared.append((self.values, plan.heads * plan.key_tiles * plan.value_rows))
        if plan.keys.size < LANES and plan.is_turned:
            cleared.append((self.turned, plan.turned_rows))
        zero = self.builder.splat(0.0)
        for tiles, rows in cleared:
            self._store_everywhere(tiles, rows, zero)
        if plan.reach is not None:
            store_stairs(self.builder, plan, self.places[STAIRS])

    def _store_everywhere(self, tiles: Tiles, rows: int, row: ir.Value) -> None:
        def store(first: Index, count: int) -> None:
            for at in range(count):
                for tile in tiles.pads:
                    self.builder.tile_store(row, tile, first + at, LANES)

        whole, rest = divmod(rows, UNROLLED_ROWS)
        self.builder.repeat(whole, lambda index: store(index.scaled(UNROLLED_ROWS), UNROLLED_ROWS))
        store(Index(whole * UNROLLED_ROWS), rest)

    # Groups of heads

    def _outer(self, loops: list[Loop], at: dict[Loop, Index]) -> None:
        if loops:
            self.builder.repeat(loops[0].extent, lambda i: self._outer(loops[1:], {**at, loops[0]: i}))
            return
        partial = [(loop, count) for loop, count in self.plan.group if count < loop.extent]
        if not partial:
            self._panels(Outer(at))
            return
        ((loop, count),) = partial
        self.builder.repeat(loop.extent // count, lambda i: self._panels(Outer({**at, loop: i.scaled(count)})))

    def _panels(self, outer: Outer) -> None:
        """A group with all queries of its heads, or with some of them at a time; the last ones may begin early."""
        builder, panels = self.builder, self.plan.panels
        if panels is None:
            self._all_keys(outer)
            return

        def panel(index: Index, panels: Blocks = panels) -> None:
            first = index.scaled(panels.size)
            if panels.excess:
                first = Index(0, ((builder.at_most(builder.index_value(first), panels.start(panels.count - 1)), 1),))
            self._all_keys(outer.at_loop(self.attention.queries, first))

        builder.repeat(panels.count, panel)

    def _all_keys(self, outer: Outer) -> None:
        """All keys at once, or part by part."""
        builder, plan, parts = self.builder, self.plan, self.plan.parts
        if parts is None:
            self._group(outer)
            return
        keys = self.attention.keys
        self.transfers.emit(outer, [self.transfers.queries(self.queries)])

        def part(index: Index, _: list[ir.Value]) -> list[ir.Value]:
            self._group(outer.at_loop(keys, index.scaled(parts.size)), index)
            return []

        if plan.skips_parts:
            self._forget_parts()
            builder.counted_loop(self._visible_parts(outer, parts), [], part)
        else:
            builder.loop(parts.count, [], part)
        if plan.rest is not None:
            last = AttentionKernel(builder, self.attention, plan.rest, self.buffers, self.block, self.places)
            last._group(outer.at_loop(keys, Index(parts.count * parts.size)), Index(parts.count))
        self._fence()
        combination = PartCombination(builder, plan, self.places["maxima"], self.factors, self.results)
        self._loop(combination.walks(), combination.emit)
        self.expansions[self.attention.found.exponential] = FunctionBound(UNIT, TINY)
        self._fence()
        self.transfers.emit(outer, [self.transfers.results(self.results)], "dma_store")

    def _forget_parts(self) -> None:
        """As if no part had any keys: some are left out."""
        regions, lowest, zero = self.plan.regions, self.builder.splat(LOWEST), self.builder.splat(0.0)
        for name, row in (("maxima", lowest), ("factors", zero), ("results", zero)):
            self._store_everywhere(self.places[name], regions[name], row)
        self._fence()

    def _visible_parts(self, outer: Outer, parts: KeyParts) -> ir.Value:
        """How many parts there are up to the last key that any query of a panel sees, at least one."""
        builder, plan = self.builder, self.plan
        assert plan.reach is not None and plan.panels is not None
        first = builder.index_value(outer.at[self.attention.queries])
        last = builder.plus(first, plan.panels.size - 1 + plan.reach)
        count = builder.index_constant(parts.count)
        for part in range(1, parts.count):
            count = builder.plus(count, builder.is_negative(builder.plus(last, -part * parts.size)))
        return count

    def _group(self, outer: Outer, part: Index | None = None) -> None:
        """A group with a row of scores for each query; `part` is its number, where there are several."""
        plan, is_part = self.plan, part is not None
        self.part_starts = {} if part is None else self._part_starts(part)
        self.outer = outer
        starts = {name: rows.start(outer) for name, rows in self.kept.items()}
        self.image_starts = {name: start for name, start in starts.items() if start is not None}
        flows = GroupFlows(self.builder, self.attention, plan, self.buffers, outer, self.sink)
        transfers = self.transfers
        keys = None if "keys" in plan.found else flows.keys(self.keys)
        values = None if "values" in plan.found else flows.values(self.values)
        # parts of the keys share queries, and their results are not complete
        queries_found = is_part or "queries" in plan.found
        queries = None if queries_found else flows.queries(self.queries)
        results = None if is_part or "results" in self.kept else flows.results(self.results)
        early = [] if queries_found else [(transfers.queries(self.queries), queries)]
        early += [] if "keys" in plan.found else [(transfers.keys(self.keys), keys)]
        moved = transfers.turned_values(self.turned) if plan.is_turned else transfers.values(self.values)
        late = [] if "values" in plan.found else [(moved, values)]
        outside = [transfers.outside(access, self.outside[id(access)]) for access in self.attention.outside]
        self._fetch(outer, early if plan.is_tight else early + late, outside)
        self._make_limits()
        self._make_scores([flow for flow in (queries, keys) if flow is not None])
        self._fence()
        if plan.is_tight:
            self._fetch(outer, late)
        turned = [] if values is None else [values]
        if not plan.is_turned and not plan.turns_beside:
            self._turn_values(turned)
        self._softmax(turned if plan.turns_beside else [])
        self._fence()
        if plan.visible is not None and plan.visible.spans:
            self._make_spans(plan.visible, None if results is None else flows)
        else:
            self._make_results(results)
        if results is None and not is_part and "results" not in self.kept:
            self._fence()
            self.transfers.emit(outer, [self.transfers.results(self.results)], "dma_store")

    def _part_starts(self, part: Index) -> dict[str, ir.Value]:
        """Bytes in the pads to where what a part of the keys gives is kept."""
        plan, builder = self.plan, self.builder
        statistics = builder.index_value(part.scaled(plan.statistics_rows * ROW_BYTES))
        results = builder.index_value(part.scaled(plan.result_rows * ROW_BYTES))
        return {"maxima0": statistics, "factors1": statistics, "results": results, "stored": results}

    def _fence(self) -> None:
        """Nothing after this comes before anything ahead of it."""
        builder = self.builder
        zero = builder.index_constant(0)
        buffer = self.buffers[self.attention.query.buffer]
        tokens = [
            builder.transfer(
                "fetch",
                self.sink.pads[pad],
                zero,
                builder.address(buffer),
                builder.index_constant(DmaShape(pad, 1, 1, 1).encode()),
                [buffer],
                rows=1,
                cols=1,
            )
            for pad in range(PADS)
        ]
        builder.wait(tokens)

    # Transfers

    def _fetch(self, outer: Outer, moved: Sequence[tuple[Moved, Flow | None]], alone: Sequence[Moved] = ()) -> None:
        """Fetch what is `alone` or without a flow, and begin with flows, which go on beside a loop."""
        self.transfers.emit(outer, [*(operand for operand, flow in moved if flow is None), *alone])
        begin_flows(self.builder, [flow for _, flow in moved if flow is not None])
        self._fence()

    # Loops

    def _loop(
        self,
        walks: Sequence[Walk],
        body: Callable[[dict[str, ir.Value]], None],
        flows: Sequence[Flow] = (),
        iterations: int | None = None,
    ) -> None:
        """One loop for walks of the same length, or as many iterations of them, with transfers beside it."""
        builder = self.builder
        moves = [FlowLoop(builder, flow) for flow in flows]
        begins = [move.initial() for move in moves]

        def iteration(_: Index, carried: list[ir.Value]) -> list[ir.Value]:
            offsets: dict[str, ir.Value] = {}
            following: list[ir.Value] = []
            for walk in walks:
                own = carried[len(following) : len(following) + walk.num_values]
                offsets.update(walk.offsets(own))
                following += walk.next(own)
            for move, begin in zip(moves, begins, strict=True):
                following += move.iteration(carried[len(following) : len(following) + len(begin)])
            body(offsets)
            return following

        initial = [value for walk in walks for value in walk.initial()]
        for begin in begins:
            initial += begin
        done = builder.loop(iterations or walks[0].iterations, initial, iteration, overlap=True)
        first = len(initial) - sum(len(begin) for begin in begins)
        for flow, begin in zip(flows, begins, strict=True):
            first += len(begin)
            builder.wait(done[first - flow.num_tokens : first])

    def _parts(self, tiles: Tiles, offset: ir.Value, name: str) -> list[ir.Value]:
        return [self.builder.tile_at(tile, offset, name) for tile in tiles.pads]

    def _slices(
        self, tiles: Tiles, offset: ir.Value, name: str, firsts: Sequence[int], rows: int
    ) -> list[tuple[list[ir.Value], int]]:
        """Rows of each pad for parts that begin at `firsts`, `rows` in each, with the number of the first of them."""
        if len(firsts) * rows <= MAX_OFFSETS:
            together = self._parts(tiles, offset, ahead(name))
            return [(together, first) for first in firsts]
        starts = [self.builder.plus(offset, first * ROW_BYTES) for first in firsts]
        return [(self._parts(tiles, start, ahead(f"{name}{part}")), 0) for part, start in enumerate(starts)]

    def _turn_values(self, flows: Sequence[Flow]) -> None:
        """In a loop of its own."""
        plan = self.plan
        turning = ValueTurning(self.builder, plan, self.value_rows, self.turned, self.sink)
        walk = turning.walk(plan.value_pieces // plan.turned_together, self.image_starts)
        self._loop([walk], turning.emit, flows)

    def _make_scores(self, flows: Sequence[Flow]) -> None:
        """Scores after the maps: the lanes have more room beside the array than in the softmax."""
        plan, builder = self.plan, self.builder
        parts, tiles, blocks = plan.depth_slices, plan.key_tiles, plan.score_blocks
        piece, query, key = plan.piece_rows, self.query_rows, self.key_rows
        strides: dict[str, Sequence[int]] = {
            "queries": query.bytes_of(*query.heads, blocks * query.block, 0),
            "keys": key.bytes_of(*key.heads, 0, key.block),
        }
        scores = *plan.head_strides(plan.head_rows * tiles), blocks * piece * tiles, 1
        stored = {"scores": [rows * ROW_BYTES for rows in scores]}
        outside = {f"outside{at}": self._outside_strides(access) for at, access in enumerate(self.attention.outside)}
        # what comes late in an iteration has counters of its own
        begins = {"scores": plan.first_score * ROW_BYTES}
        begins |= {"queries": query.begin * ROW_BYTES, "keys": key.begin * ROW_BYTES}
        uses = [strides, stored, outside] if outside else [strides, stored]
        if plan.visible is not None:
            walks: list[Walk] = [self._point_walk(plan.visible, offsets, begins) for offsets in uses]
        else:
            extents = (*plan.head_extents, plan.queries.count // blocks, tiles)
            starts = self.image_starts
            walks = [Walk(builder, extents, offsets, begins=begins, starts=starts) for offsets in uses]
            if plan.reach is not None:
                walks.append(StairWalk(builder, plan, self._first_stair(plan.reach)))

        rows = self._rows_of(blocks)

        def multiply(offsets: dict[str, ir.Value]) -> None:
            firsts = [part * query.slice for part in range(parts)]
            slices = self._slices(self.queries, offsets["queries"], "queries", firsts, blocks * query.block)
            keys = self._parts(self.keys, offsets["keys"], ahead("keys"))
            sums: list[ir.Value] = []
            for part in range(parts):
                for lane in reversed(range(LANES)):
                    if lane >= plan.keys.size:
                        builder.push(builder.splat(0.0))
                        continue
                    row = Index(part * key.slice + lane // key.num_pads)
                    builder.push(builder.tile_load(keys[lane % key.num_pads], row, LANES))
                queries, first = slices[part]
                pads = query.num_pads
                terms = [
                    builder.gemm(builder.tile_load(queries[row % pads], Index(first + block + row // pads), LANES))
                    for block in range(0, blocks * query.block, query.block)
                    for row in range(plan.queries.size)
                ]
                sums = [builder.binary("add", *pair) for pair in zip(sums, terms, strict=True)] if part else terms
            for first in range(0, len(sums), NEAR_ROWS):
                operands: dict[int | str, Sequence[ir.Value]] = {
                    id(access): self._parts(self.outside[id(access)], offsets[name], ahead(f"{name}.{first}"))
                    for name, access in zip(outside, self.attention.outside, strict=True)
                }
                if STAIRS in offsets:
                    start = builder.plus(offsets[STAIRS], first * ROW_BYTES)
                    operands[STAIRS] = self._parts(self.places[STAIRS], start, ahead(f"{STAIRS}{first}"))
                maps = ScoreMaps(builder, self.attention, plan, operands, first)
                scores = self._parts(self.scores, offsets["scores"], ahead(f"scores{first // NEAR_ROWS}"))
                for total, (pad, at) in zip(sums[first : first + NEAR_ROWS], rows[first:], strict=False):
                    builder.tile_store(maps.evaluate(total, pad, at), scores[pad], Index(at * tiles), LANES)
                self.expansions.update(maps.expansions)

        self._loop(walks, multiply, flows)

    def _point_walk(
        self, visible: VisibleTiles, strides: Mapping[str, Sequence[int]], begins: Mapping[str, int]
    ) -> PointWalk:
        """Through the blocks and tiles that are seen; `strides` are those of heads, blocks and tiles.

        Scores are stored where limits are needed.
        """
        plan = self.plan
        places = {
            name: [begins.get(name, 0) + block * of_block + tile * of_tile for block, tile in visible.points]
            for name, (*_, of_block, of_tile) in strides.items()
        }
        # what a loop over heads moves by is that of the innermost one: nothing lies in an image
        of_heads = {name: (heads[-1] if heads else 0, 0) for name, (*heads, _, _) in strides.items()}
        if "scores" in strides:
            places[STAIRS], of_heads[STAIRS] = stair_places(plan, visible), (0, 0)
        return PointWalk(self.builder, plan.heads, len(visible.points), 1, of_heads, places)

    def _first_stair(self, reach: int) -> ir.Value:
        """The row of the stairs for the first query and the first key of a group: how many keys it sees, less one."""
        first = Index(reach)
        for loop, sign in ((self.attention.queries, 1), (self.attention.keys, -1)):
            first += self.outer.at.get(loop, Index()).scaled(sign)
        return self.builder.index_value(first)

    def _make_limits(self) -> None:
        """Of operands that tell which scores count."""
        builder, plan = self.builder, self.plan
        for stage, limit in score_limits(self.attention).items():
            access = stage.reads[limit.read]
            tiles, rows = self.outside[id(access)], plan.outside_rows(access)
            step = min(UNROLLED_ROWS, rows)

            def make(first: Index, count: int, limit: ScoreLimit = limit, tiles: Tiles = tiles) -> None:
                for at in range(count):
                    for tile in tiles.pads:
                        row = builder.tile_load(tile, first + at, LANES)
                        evaluator = Evaluator(builder, lambda _, row=row: Evaluated(row, False))
                        builder.tile_store(evaluator.row(evaluator.evaluate(limit.node)), tile, first + at, LANES)

            builder.repeat(
                rows // step, lambda index, make=make, step=step: make(index.scaled(step), step), overlap=True
            )
            make(Index(rows - rows % step), rows % step)
            self._fence()

    def _outside_strides(self, access: Access) -> tuple[int, ...]:
        """Bytes from one iteration of the loops over heads to the next, block to block and tile to tile."""
        plan = self.plan
        if is_uniform(access):
            return *plan.head_strides(0), 0, 0
        per_head = plan.outside_rows(access) // plan.heads * ROW_BYTES if plan.varies(access) else 0
        heads = plan.head_strides(per_head)
        if not access.stride(self.attention.queries):
            return *heads, 0, ROW_BYTES
        return *heads, plan.key_tiles * plan.piece_rows * ROW_BYTES, plan.piece_rows * ROW_BYTES

    def _softmax(self, flows: Sequence[Flow]) -> None:
        """Steps in phases, of which the second works on an earlier step; values are turned beside them."""
        plan, builder = self.plan, self.builder
        tiles = {"scores": self.scores, "sums": self.sums, "factors": self.factors}
        steps = {"sums": plan.step_sums, **self._softmax_steps()}
        if self.part_starts:
            tiles["maxima"], steps["maxima"] = self.places["maxima"], steps["factors"]
        in_turn = {"sums": steps.pop("sums")} if plan.is_tight else {}
        walks = [walk for phase in range(PHASES) for walk in self._softmax_walks(phase, steps)]
        walks += [
            Walk(
                builder,
                (plan.steps + EDGE, plan.sum_steps),
                {f"{name}{phase}": (0, count * ROW_BYTES)},
                first=-phase * LAG % plan.sum_steps,
            )
            for name, count in in_turn.items()
            for phase in range(PHASES)
        ]
        ones = builder.splat(1.0)
        turning = None
        if plan.turns_beside:
            turning = ValueTurning(builder, plan, self.value_rows, self.turned, self.sink)
            walks.append(turning.walk(plan.steps + EDGE, self.image_starts))

        def work(offsets: dict[str, ir.Value]) -> None:
            def parts(phase: int, name: str, use: str) -> list[ir.Value]:
                return self._parts(tiles[name], offsets[f"{name}{phase}"], ahead(f"{use}.{phase}"))

            def beside() -> None:
                if turning is not None:
                    turning.emit(offsets)

            SoftmaxStep(builder, plan, parts, ones).emit(beside)

        self._loop(walks, work, flows, plan.steps + EDGE)

    def _softmax_steps(self) -> dict[str, int]:
        """Rows of each pad from one step of the softmax to the next."""
        rows = self.plan.step_rows // PADS if self.plan.visible is None else self.plan.visible.step_rows
        return {"scores": rows * self.plan.key_tiles, "factors": rows}

    def _softmax_walks(self, phase: int, steps: Mapping[str, int]) -> list[Walk]:
        """Through the steps of a softmax, for what moves by as many rows in each of them."""
        plan, builder, late = self.plan, self.builder, phase * LAG
        flat = {name: count for name, count in steps.items() if plan.visible is None or name == "sums"}
        walks = [
            Walk(
                builder,
                (plan.steps + EDGE,),
                {f"{name}{phase}": (count * ROW_BYTES,) for name, count in flat.items()},
                begins={f"{name}{phase}": (EDGE - late) * count * ROW_BYTES for name, count in flat.items()},
                starts=self.part_starts,
            )
        ]
        if plan.visible is not None:
            heads = {"scores": plan.head_rows * plan.key_tiles, "factors": plan.head_rows}
            begins = {"scores": plan.first_score, "factors": plan.rows_before}
            extents = (plan.heads + 1, plan.visible.rows // plan.visible.step_rows)
            strides = {f"{name}{phase}": (count * ROW_BYTES, steps[name] * ROW_BYTES) for name, count in heads.items()}
            begun = {f"{name}{phase}": count * ROW_BYTES for name, count in begins.items()}
            walks.append(Walk(builder, extents, strides, first=-late, begins=begun))
        return walks

    def _make_results(self, flow: Flow | None) -> None:
        """The first tiles of keys make results, others are added to these; the last loop may send them as well."""
        plan, builder = self.plan, self.builder
        tiles, parts, count = plan.key_tiles, plan.width_tiles, plan.queries.count
        result = plan.piece_rows * ROW_BYTES
        tile = LANES // PADS * ROW_BYTES
        loops = plan.result_loops
        for loop in loops:
            block = loop.blocks * result
            moved = (*plan.head_strides(count * parts * result), 0, count * result, block)
            loaded: dict[str, Sequence[int]] = {
                "scores": (*plan.head_strides(count * tiles * result), loop.tiles * ROW_BYTES, 0, tiles * block),
                "turned": (*plan.head_strides(tiles * parts * tile), loop.tiles * tile, tiles * tile, 0),
            }
            begins = {
                "scores": (plan.first_score + loop.first) * ROW_BYTES,
                "turned": loop.first * tile,
            }
            extents = (*plan.head_extents, loop.rounds, parts, count // loop.blocks)
            is_last = loop is loops[-1]
            uses: list[dict[str, Sequence[int]]] = [loaded]
            kept = self.kept.get("results") if is_last else None
            if kept is not None:
                uses.append({KEPT: (*kept.head_bytes(plan), 0, kept.slice_bytes, kept.block_bytes(plan))})
                begins[KEPT] = kept.first_bytes
            else:
                uses.append({"stored": moved})
            if loop.first:
                self._fence()
                uses.append({"results": moved})
            if is_last and not self.part_starts:
                uses.append({"factors": (*plan.head_strides(count * result), 0, 0, block)})
                begins["factors"] = plan.rows_before * ROW_BYTES
            starts = {**self.part_starts, **self._kept_starts()}
            walks = [Walk(builder, extents, strides, begins=begins, starts=starts) for strides in uses]
            flows = [flow] if flow is not None and is_last else []
            self._loop(walks, lambda offsets, loop=loop: self._multiply_values(offsets, loop), flows)
            if flow is not None and is_last:
                FlowLoop(builder, flow).after(walks[0].iterations)

    def _kept_starts(self) -> dict[str, ir.Value]:
        """Bytes in an image to the results of this group of heads, where there are several."""
        return {KEPT: self.image_starts["results"]} if "results" in self.image_starts else {}

    def _make_spans(self, visible: VisibleTiles, flows: GroupFlows | None) -> None:
        """Loops that take some tiles of keys for the rows that see them, and send what they complete."""
        for span in visible.spans:
            if span.first:
                self._fence()
            kept = self.kept.get("results")
            products = SpanProducts(self.builder, self.plan, visible, span, self.places, kept, self._kept_starts())
            flow = None if flows is None else flows.span_results(self.results, span)
            walks = products.walks()
            self._loop(walks, products.emit, [] if flow is None else [flow])
            if flow is not None:
                FlowLoop(self.builder, flow).after(walks[0].iterations)

    def _sum_name(self, part: int, loop: KeyRange) -> str:
        """Of rows of results; rounds read and write them again after all blocks of a head have had their turn."""
        turns = self.plan.queries.count // loop.blocks * self.plan.width_tiles
        return ahead(f"results{part}") if loop.rounds == 1 or turns >= AHEAD else f"results{part}"

    def _multiply_values(self, offsets: dict[str, ir.Value], loop: KeyRange) -> None:
        """Sum the products of a block of exponentials with tiles of values, and what is there of earlier tiles."""
        plan, builder = self.plan, self.builder
        rows = self._rows_of(loop.blocks)
        piece = loop.blocks * plan.piece_rows
        slices = self._slices(self.scores, offsets["scores"], "exponentials", range(loop.tiles), piece)
        turned = self._parts(self.turned, offsets["turned"], ahead("turned"))
        sums: list[ir.Value] = []
        for part in range(loop.tiles):
            push_turned(builder, turned, part)
            if loop.first and not part:
                sums = self._move_results(offsets, loop, "load")
            terms: list[ir.Value] = []
            scores, first = slices[part]
            for row, (pad, at) in enumerate(rows):
                place = Index(at * plan.key_tiles + first)
                term = builder.gemm(builder.tile_load(scores[pad], place, LANES))
                terms.append(builder.binary("add", sums[row], term) if sums else term)
            sums = terms
        sums = self._normalised(sums, offsets)
        if KEPT in offsets:
            self.kept["results"].store(dict(enumerate(sums)), offsets[KEPT])
        else:
            self._move_results(offsets, loop, "store", sums)

    def _normalised(self, sums: Sequence[ir.Value], offsets: Mapping[str, ir.Value]) -> list[ir.Value]:
        """The last sums of a block times the reciprocals of the sums of its exponentials."""
        if "factors" not in offsets:
            return list(sums)
        builder, factors = self.builder, list[ir.Value]()
        for first in range(0, len(sums), NEAR_ROWS):
            parts = self._parts(self.factors, offsets["factors"], ahead(f"factors{first // NEAR_ROWS}"))
            factors += [
                builder.tile_load(parts[row % PADS], Index(row // PADS), LANES)
                for row in range(first, min(first + NEAR_ROWS, len(sums)))
            ]
        return [builder.binary("mul", *pair) for pair in zip(sums, factors, strict=True)]

    def _move_results(
        self, offsets: Mapping[str, ir.Value], loop: KeyRange, kind: str, sums: Sequence[ir.Value] = ()
    ) -> list[ir.Value]:
        """Load the sums of a block, or store them."""
        builder = self.builder
        loaded: list[ir.Value] = []
        rows = self._rows_of(loop.blocks)
        for first in range(0, len(rows), NEAR_ROWS):
            name = self._sum_name(first // NEAR_ROWS, loop)
            parts = self._parts(self.results, offsets["results" if kind == "load" else "stored"], name)
            for row, (pad, at) in enumerate(rows[first : first + NEAR_ROWS], first):
                if kind == "load":
                    loaded.append(builder.tile_load(parts[pad], Index(at), LANES))
                else:
                    builder.tile_store(sums[row], parts[pad], Index(at), LANES)
        return loaded

    def _rows_of(self, blocks: int) -> list[tuple[int, int]]:
        """Of each query of an iteration its pad and its row there."""
        piece = self.plan.piece_rows
        queries = range(self.plan.queries.size)
        return [(row % PADS, block * piece + row // PADS) for block in range(blocks) for row in queries]
