"""Attention as one kernel (`codegen.attention_plan`): the scores of a group of heads stay in the pads.

Queries are streamed through the array against keys as weights, the softmax works on rows of scores in place, and the
probabilities are streamed against values that were turned, so that their keys lie along the lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_pattern import Attention
from atalla_mlir.codegen.attention_plan import EDGE, LAG, LANES, PADS, PHASES, AttentionPlan
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage
from atalla_mlir.codegen.row_plan import SumOrder
from atalla_mlir.kernels.attention_moves import ELEMENT_BYTES, Fetches, Flow
from atalla_mlir.kernels.attention_softmax import ScoreMaps, SoftmaxStep
from atalla_mlir.kernels.attention_transfers import GroupTransfers, Moved, Outer, Tiles
from atalla_mlir.kernels.builder import Builder, Index
from atalla_mlir.kernels.functions.bound import FunctionBound
from atalla_mlir.kernels.rings import ROW_BYTES
from atalla_mlir.kernels.walks import Walk
from atalla_mlir.target.encoding import DmaShape

AHEAD = 3
"""Iterations that the scheduler may overlap."""
UNROLLED_ROWS = 8
"""Rows of each pad that are filled in an iteration."""
NEAR_ROWS = 32
"""Rows that are reached with one address: one for many of them would be in use for too long."""


class AttentionKernel:
    """Emits one attention. `buffers` are the kernel's DRAM arguments by buffer."""

    def __init__(
        self,
        builder: Builder,
        attention: Attention,
        plan: AttentionPlan,
        buffers: dict[Buffer, ir.Value],
        block: ir.Block,
    ) -> None:
        self.builder, self.attention, self.plan = builder, attention, plan
        self.buffers, self.block = buffers, block
        self.transfers = GroupTransfers(builder, attention, plan, buffers)
        self.used = 0
        self.expansions: dict[Stage, FunctionBound] = {}

    def sum_orders(self) -> dict[Stage, SumOrder]:
        """How each stage adds."""
        found, plan = self.attention.found, self.plan
        return {
            found.scores: SumOrder("slices", plan.depth_slices),
            found.total: SumOrder("any", 1, 3),
            found.output: SumOrder("slices", plan.key_tiles),
        }

    def emit(self) -> None:
        self._allocate()
        self._clear()
        self._outer(list(self.plan.outer), {})

    # Pads

    def _allocate(self) -> None:
        plan = self.plan
        tiles = plan.heads * plan.key_tiles
        self.queries = self._tiles(plan.blocks * plan.piece_rows * plan.depth_slices)
        self.keys = self._tiles(tiles * plan.key_rows)
        self.values = self._tiles(tiles * plan.value_rows)
        self.turned = self._tiles(tiles * plan.width_tiles * LANES // PADS)
        rows = plan.blocks * plan.stored_rows
        # the steps of the softmax go beyond both ends
        steps = plan.steps + 2 * EDGE
        self.scores = self._tiles(rows * plan.key_tiles + 2 * EDGE * plan.step_chunks)
        self.highest = self._tiles(steps * plan.step_rows // PADS)
        self.factors = self._tiles(steps * plan.step_rows // PADS)
        self.sums = self._tiles(steps * plan.step_sums)
        self.results = self._tiles((plan.steps + EDGE) * (plan.step_rows // PADS) * plan.width_tiles)
        self.outside = {id(access): self._tiles(plan.outside_rows(access)) for access in self.attention.outside}
        self.sink = self._tiles(1)

    def _tiles(self, rows: int) -> Tiles:
        """A tile of as many rows in each pad."""
        rows = max(1, rows)
        with ir.InsertionPoint.at_block_begin(self.block):
            tiles = Tiles([self.builder.placed_tile(rows, pad, self.used) for pad in range(PADS)], self.used)
        self.used += rows
        return tiles

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
            cleared.append((self.turned, plan.heads * plan.key_tiles * plan.width_tiles * LANES // PADS))
        zero = self.builder.splat(0.0)
        for tiles, rows in cleared:
            self._store_everywhere(tiles, rows, zero)

    def _store_everywhere(self, tiles: Tiles, rows: int, row: ir.Value) -> None:
        def store(first: Index, count: int) -> None:
            for at in range(count):
                for tile in tiles.pads:
                    self.builder.tile_store(row, tile, first + at, LANES)

        whole, rest = divmod(rows, UNROLLED_ROWS)
        self.builder.repeat(whole, lambda index: store(index.scaled(UNROLLED_ROWS), UNROLLED_ROWS))
        store(Index(whole * UNROLLED_ROWS), rest)

    def _make_unit_rows(self) -> None:
        """Rows with a one in lane k: differences of rows whose first lanes are ones."""
        self.units: list[ir.Value] = []
        builder, tile = self.builder, self.sink.pads[0]
        builder.tile_store(builder.splat(1.0), tile, Index(), LANES)
        before = None
        for lane in range(LANES):
            ones = builder.tile_load(tile, Index(), lane + 1)
            self.units.append(ones if before is None else builder.binary("sub", ones, before))
            before = ones

    # Groups of heads

    def _outer(self, loops: list[Loop], at: dict[Loop, Index]) -> None:
        if loops:
            self.builder.repeat(loops[0].extent, lambda i: self._outer(loops[1:], {**at, loops[0]: i}))
            return
        partial = [(loop, count) for loop, count in self.plan.group if count < loop.extent]
        if not partial:
            self._group(Outer(at))
            return
        ((loop, count),) = partial
        self.builder.repeat(loop.extent // count, lambda i: self._group(Outer({**at, loop: i.scaled(count)})))

    def _group(self, outer: Outer) -> None:
        fetches = self._fetches(outer)
        self._fetch(outer, {flow.name for flow in fetches.flows} if fetches else frozenset())
        if fetches is not None:
            fetches.before()
        self._fence()
        self._make_scores(fetches)
        self._fence()
        self._turn_values()
        self._softmax()
        self._fence()
        self._make_results()
        self._fence()
        self.transfers.emit(outer, [self.transfers.results(self.results)], "dma_store")

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

    def _fetches(self, outer: Outer) -> Fetches | None:
        """Transfers beside the loop over scores; None where operands come before it."""
        plan, attention = self.plan, self.attention
        is_regular = plan.depth % LANES == 0 and plan.queries.size % PADS == 0 and plan.keys.size == LANES
        if not is_regular or plan.heads == 1:
            return None
        queries, keys, piece = plan.queries.count, plan.key_tiles, LANES // PADS

        def flow(name: str, access: Access, tiles: Tiles, along: int, slices: int, rows: int) -> Flow:
            each = -(-slices // (queries if along else keys))
            return Flow(name, access, tiles.pads, along, slices, each, rows, (self.sink.base - tiles.base) * ROW_BYTES)

        flows = [
            flow("queries", attention.query, self.queries, 0, plan.depth_slices, plan.piece_rows),
            flow("keys", attention.key, self.keys, 1, plan.depth_slices, piece),
        ]
        if not plan.is_turned and plan.width % LANES == 0:
            flows.append(flow("values", attention.value, self.values, 1, plan.width_tiles, piece))
        buffers = {flow.name: self.buffers[flow.access.buffer] for flow in flows}
        base = {
            flow.name: self.builder.plus(
                self.builder.address(buffers[flow.name]),
                self.builder.index_value(outer.element(flow.access).scaled(ELEMENT_BYTES)),
            )
            for flow in flows
        }
        return Fetches(self.builder, attention, plan, flows, buffers, base)

    def _fetch(self, outer: Outer, others: Collection[str]) -> None:
        """Fetch operands, but for `others`, which come beside the scores."""
        transfers = self.transfers
        moved: list[Moved] = []
        if "queries" not in others:
            moved.append(transfers.queries(self.queries))
        if "keys" not in others:
            moved.append(transfers.keys(self.keys))
        if self.plan.is_turned:
            moved.append(transfers.turned_values(self.turned))
        elif "values" not in others:
            moved.append(transfers.values(self.values))
        moved += [transfers.outside(access, self.outside[id(access)]) for access in self.attention.outside]
        transfers.emit(outer, moved)

    # Loops

    def _loop(
        self, walks: Sequence[Walk], body: Callable[[dict[str, ir.Value]], None], fetches: Fetches | None = None
    ) -> None:
        """One loop for walks of the same length, with transfers beside it."""
        builder = self.builder
        moved = fetches.walk(fetches.ahead) if fetches else None
        num_tokens = fetches.num_tokens if fetches else 0

        def iteration(_: Index, carried: list[ir.Value]) -> list[ir.Value]:
            offsets: dict[str, ir.Value] = {}
            following: list[ir.Value] = []
            for walk in walks:
                own = carried[len(following) : len(following) + walk.num_values]
                offsets.update(walk.offsets(own))
                following += walk.next(own)
            if fetches is not None and moved is not None:
                # the transfers of this iteration were prepared in the one before
                rest = carried[len(following) :]
                own, prepared = rest[: moved.num_values], rest[moved.num_values : -num_tokens]
                later = moved.next(own)
                tokens = fetches.issue(prepared, rest[-num_tokens:])
                following += [*later, *fetches.prepare(moved, later), *tokens]
            body(offsets)
            return following

        initial = [value for walk in walks for value in walk.initial()]
        if fetches is not None and moved is not None:
            first = moved.initial()
            initial += [*first, *fetches.prepare(moved, first), *(builder.ready() for _ in range(num_tokens))]
        done = builder.loop(walks[0].iterations, initial, iteration, overlap=True)
        if num_tokens:
            builder.wait(done[-num_tokens:])

    def _parts(self, tiles: Tiles, offset: ir.Value, name: str) -> list[ir.Value]:
        return [self.builder.tile_at(tile, offset, name) for tile in tiles.pads]

    def _turn_values(self) -> None:
        """Through the array: unit rows met by the rows of a tile give its columns."""
        plan, builder = self.plan, self.builder
        if plan.is_turned:
            return
        self._make_unit_rows()
        source = plan.value_rows * ROW_BYTES
        piece = LANES // PADS * ROW_BYTES
        tiles, parts = plan.key_tiles, plan.width_tiles
        walk = Walk(
            builder,
            (plan.heads, tiles),
            {"values": (tiles * source, source), "turned": (tiles * parts * piece, parts * piece)},
        )

        def turn(offsets: dict[str, ir.Value]) -> None:
            values = self._parts(self.values, offsets["values"], ahead("values"))
            turned = self._parts(self.turned, offsets["turned"], ahead("turned"))
            for part in range(parts):
                for key in reversed(range(LANES)):
                    if key >= plan.keys.size:
                        builder.push(builder.splat(0.0))
                        continue
                    row = Index(part * (LANES // PADS) + key // PADS)
                    builder.push(builder.tile_load(values[key % PADS], row, LANES))
                for lane in range(LANES):
                    row = part * (LANES // PADS) + lane // PADS
                    builder.tile_store(builder.gemm(self.units[lane]), turned[lane % PADS], Index(row), LANES)

        self._loop([walk], turn)

    def _make_scores(self, fetches: Fetches | None) -> None:
        """Scores; after the maps, unless these have operands of their own, for which the softmax has more room."""
        plan, builder = self.plan, self.builder
        block = plan.depth_slices * plan.piece_rows * ROW_BYTES
        key, tiles, count = plan.key_rows * ROW_BYTES, plan.key_tiles, plan.queries.count
        rows = plan.stored_rows * ROW_BYTES
        strides: dict[str, Sequence[int]] = {
            "queries": (count * block, block, 0),
            "keys": (tiles * key, 0, key),
        }
        stored = {"scores": (count * rows * tiles, rows * tiles, ROW_BYTES)}
        # what comes late in an iteration has counters of its own
        begins = {"scores": EDGE * plan.step_chunks * ROW_BYTES}
        walks = [Walk(builder, (plan.heads, count, tiles), offsets, begins=begins) for offsets in (strides, stored)]

        def multiply(offsets: dict[str, ir.Value]) -> None:
            queries = self._parts(self.queries, offsets["queries"], ahead("queries"))
            keys = self._parts(self.keys, offsets["keys"], ahead("keys"))
            maps = ScoreMaps(builder, self.attention, plan, {})
            sums: list[ir.Value] = []
            for part in range(plan.depth_slices):
                for key in reversed(range(LANES)):
                    if key >= plan.keys.size:
                        builder.push(builder.splat(0.0))
                        continue
                    row = Index(part * (LANES // PADS) + key // PADS)
                    builder.push(builder.tile_load(keys[key % PADS], row, LANES))
                terms = [
                    builder.gemm(
                        builder.tile_load(queries[row % PADS], Index(part * plan.piece_rows + row // PADS), LANES)
                    )
                    for row in range(plan.queries.size)
                ]
                sums = [builder.binary("add", *pair) for pair in zip(sums, terms, strict=True)] if part else terms
            for first in range(0, len(sums), NEAR_ROWS):
                parts = self._parts(self.scores, offsets["scores"], ahead(f"scores{first // NEAR_ROWS}"))
                for row, total in enumerate(sums[first : first + NEAR_ROWS], first):
                    pad, at = row % PADS, row // PADS
                    score = total if self.attention.outside else maps.evaluate(total, pad, at, 0)
                    builder.tile_store(score, parts[pad], Index(at * tiles), LANES)
            self.expansions.update(maps.expansions)

        self._loop(walks, multiply, fetches)

    def _outside_strides(self, access: Access) -> tuple[int, int, int]:
        """Bytes from head to head, block to block and step to step."""
        plan = self.plan
        per_head = plan.outside_rows(access) // (plan.heads + 1) * ROW_BYTES if plan.varies(access) else 0
        if not access.stride(self.attention.queries):
            return per_head, 0, 0
        return per_head, plan.key_tiles * plan.stored_rows * ROW_BYTES, plan.step_rows // PADS * ROW_BYTES

    def _softmax(self) -> None:
        """Steps in phases, each of which works on an earlier step than the one before."""
        plan, builder = self.plan, self.builder
        bytes_of = {
            "scores": plan.step_chunks * ROW_BYTES,
            "rows": plan.step_rows // PADS * ROW_BYTES,
            "sums": plan.step_sums * ROW_BYTES,
        }
        behind = [(PHASES - 1 - phase) * LAG for phase in range(PHASES)]
        walks = [
            Walk(
                builder,
                (plan.steps + EDGE,),
                {f"{kind}{phase}": (size,) for kind, size in bytes_of.items()},
                begins={f"{kind}{phase}": steps * size for kind, size in bytes_of.items()},
            )
            for phase, steps in enumerate(behind)
        ]
        # the sums of results start from zero: some of them in each step
        cleared = plan.step_rows // PADS * plan.width_tiles
        walks.append(Walk(builder, (plan.steps + EDGE,), {"results": (cleared * ROW_BYTES,)}))
        outside = {f"outside{at}": self._outside_strides(access) for at, access in enumerate(self.attention.outside)}
        if outside:
            extents = (plan.heads + 1, plan.queries.count, plan.stored_rows // (plan.step_rows // PADS))
            walks.append(Walk(builder, extents, outside))
        ones, zero = builder.splat(1.0), builder.splat(0.0)

        def work(offsets: dict[str, ir.Value]) -> None:
            def parts(phase: int, tiles: Tiles, kind: str, use: str) -> list[ir.Value]:
                return self._parts(tiles, offsets[f"{kind}{phase}"], ahead(f"{use}{phase}"))

            for tile in self._parts(self.results, offsets["results"], ahead("cleared")):
                for row in range(cleared):
                    builder.tile_store(zero, tile, Index(row), LANES)
            operands = {
                id(access): self._parts(self.outside[id(access)], offsets[name], ahead(name))
                for name, access in zip(outside, self.attention.outside, strict=True)
            }
            maps = ScoreMaps(builder, self.attention, plan, operands) if outside else None
            SoftmaxStep(
                builder,
                plan,
                maps,
                mapped=parts(0, self.scores, "scores", "mapped"),
                scores=(parts(0, self.scores, "scores", "scores"), parts(1, self.scores, "scores", "scores")),
                highest=(parts(0, self.highest, "rows", "highest"), parts(1, self.highest, "rows", "highest")),
                exponentials=(
                    parts(1, self.scores, "scores", "exponentials"),
                    parts(3, self.scores, "scores", "exponentials"),
                ),
                sums=(parts(1, self.sums, "sums", "sums")[0], parts(2, self.sums, "sums", "sums")[0]),
                factors=(parts(2, self.factors, "rows", "factors"), parts(3, self.factors, "rows", "factors")),
                probabilities=parts(3, self.scores, "scores", "probabilities"),
                ones=ones,
            ).emit()
            self.expansions.update(maps.expansions if maps else {})

        self._loop(walks, work)

    def _make_results(self) -> None:
        plan, builder = self.plan, self.builder
        tiles, parts, count = plan.key_tiles, plan.width_tiles, plan.queries.count
        rows, result = plan.stored_rows * tiles * ROW_BYTES, plan.piece_rows * ROW_BYTES
        tile = LANES // PADS * ROW_BYTES
        pair = 2 if tiles > 1 else 1
        # turned values lie tile of keys by tile of keys, each with all of its width
        loaded = {
            "scores": (count * rows, pair * ROW_BYTES, rows, 0),
            "turned": (tiles * parts * tile, pair * parts * tile, 0, tile),
        }
        moved = (count * parts * result, 0, parts * result, result)
        uses = (loaded, {"results": moved}, {"stored": moved})
        begins = {"scores": EDGE * plan.step_chunks * ROW_BYTES, "turned": 0}
        extents = (plan.heads, tiles // pair, count, parts)
        walks = [Walk(builder, extents, strides, begins=begins) for strides in uses]
        self._loop(walks, lambda offsets: self._multiply_values(offsets, pair))
        if tiles % pair:
            self._fence()
            begins["scores"] += (tiles - 1) * ROW_BYTES
            begins["turned"] += (tiles - 1) * parts * tile
            walks = [
                Walk(
                    builder,
                    (plan.heads, count, parts),
                    {name: (own[0], *own[2:]) for name, own in strides.items()},
                    begins=begins,
                )
                for strides in uses
            ]
            self._loop(walks, lambda offsets: self._multiply_values(offsets, 1))

    def _sum_name(self, part: int) -> str:
        """Of rows of results, which are read and written again after all blocks of a head have had their turn."""
        turns = self.plan.queries.count * self.plan.width_tiles
        return ahead(f"results{part}") if turns >= AHEAD else f"results{part}"

    def _multiply_values(self, offsets: dict[str, ir.Value], slices: int) -> None:
        """Add the products of a block of probabilities with tiles of values to results."""
        plan, builder = self.plan, self.builder
        scores = self._parts(self.scores, offsets["scores"], ahead("probabilities"))
        turned = self._parts(self.turned, offsets["turned"], ahead("turned"))
        sums: list[ir.Value] = []
        for part in range(slices):
            for lane in reversed(range(LANES)):
                row = part * plan.width_tiles * (LANES // PADS) + lane // PADS
                builder.push(builder.tile_load(turned[lane % PADS], Index(row), LANES))
            if not part:
                sums = self._move_results(offsets, "load")
            for row in range(plan.queries.size):
                place = Index(row // PADS * plan.key_tiles + part)
                term = builder.gemm(builder.tile_load(scores[row % PADS], place, LANES))
                sums[row] = builder.binary("add", sums[row], term)
        self._move_results(offsets, "store", sums)

    def _move_results(
        self, offsets: Mapping[str, ir.Value], kind: str, sums: Sequence[ir.Value] = ()
    ) -> list[ir.Value]:
        """Load the sums of a block, or store them."""
        plan, builder = self.plan, self.builder
        loaded: list[ir.Value] = []
        for first in range(0, plan.queries.size, NEAR_ROWS):
            name = self._sum_name(first // NEAR_ROWS)
            parts = self._parts(self.results, offsets["results" if kind == "load" else "stored"], name)
            for row in range(first, min(first + NEAR_ROWS, plan.queries.size)):
                if kind == "load":
                    loaded.append(builder.tile_load(parts[row % PADS], Index(row // PADS), LANES))
                else:
                    builder.tile_store(sums[row], parts[row % PADS], Index(row // PADS), LANES)
        return loaded


def ahead(name: str) -> str:
    """The name of rows that iterations may use in any order."""
    return f"{name}^{AHEAD}"
