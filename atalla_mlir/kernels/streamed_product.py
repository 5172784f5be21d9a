"""Products one slice deep: rows stream through the array, which keeps 32 columns as weights (`codegen.stream_plan`).

One loop over groups of rows for each 32 columns. Nothing in it waits for a transfer by its register: a pad takes one
after the other, so when a later one has begun, an earlier one is complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage
from atalla_mlir.codegen.machine_ir import AHEAD_MARK
from atalla_mlir.codegen.phase_plan import ring_rows
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.row_plan import SumOrder
from atalla_mlir.codegen.stream_plan import AHEAD, RESULT_SLOTS, STAGES, Deal, StreamPlan
from atalla_mlir.codegen.tile_schedule import outside_reads
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.expression import Evaluated, Evaluator
from atalla_mlir.kernels.functions.bound import FunctionBound
from atalla_mlir.kernels.odometer import Level, Odometer, Reading
from atalla_mlir.kernels.rings import FIRST_STEPS, ROW_BYTES
from atalla_mlir.kernels.tile_addresses import ELEMENT_BYTES
from atalla_mlir.target.encoding import DmaShape

ROUNDINGS = 2
"""Of a term: that of the array's sum, and the little that its own additions lose."""
Starts = Mapping[int, ir.Value]
"""DRAM addresses of the first element of a panel, by the identity of an access."""


def _name(use: str) -> str:
    """Name of rows for one use of them; uses are kept apart by iterations alone."""
    return f"{use}{AHEAD_MARK}{STAGES}"


@dataclass(frozen=True)
class _Fetches:
    """Which group is fetched next, where it lies in the pads, and how many come after it; below 0: none comes."""

    at: Reading
    slot: ir.Value
    rest: ir.Value

    def pack(self) -> list[ir.Value]:
        return [*self.at.pack(), self.slot, self.rest]


@dataclass(frozen=True)
class _State:
    """What an iteration leaves to the next one; `waiting` is below 0 while nothing is there to be sent."""

    fetches: _Fetches
    read: ir.Value
    send: Reading
    waiting: ir.Value
    written: ir.Value
    sent: ir.Value
    tokens: list[ir.Value]

    def pack(self) -> list[ir.Value]:
        return [*self.fetches.pack(), self.read, *self.send.pack(), self.waiting, self.written, self.sent, *self.tokens]


@dataclass
class StreamedProduct:
    """Emits one product with its epilogue. `buffers` are the kernel's DRAM arguments by buffer."""

    builder: Builder
    product: Stage
    epilogue: Sequence[Stage]
    plan: StreamPlan
    buffers: dict[Buffer, ir.Value]
    block: ir.Block
    expansions: dict[Stage, FunctionBound] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plan = self.plan
        self.stored = [stage.write for stage in (self.product, *self.epilogue) if stage.write.buffer in self.buffers]
        self.column_reads = {(read.buffer, read.offset): read for read in outside_reads(self.product, self.epilogue)}
        self.fetches = self._odometer([plan.streamed])
        self.sends = self._odometer(self.stored)
        self.slot_bytes = plan.operands.rows_per_pad * ROW_BYTES
        self.result_bytes = ring_rows(plan.results.rows_per_pad) * ROW_BYTES
        self.num_fetches = plan.operands.pieces * len(plan.runs)

    def sum_order(self) -> SumOrder:
        """The array adds everything, term by term where they lie in order."""
        return SumOrder("slices", 1) if len(self.plan.runs) == 1 else SumOrder("any", 1, ROUNDINGS)

    def emit(self) -> None:
        self._allocate()
        self._outside([*self.plan.outside], {})

    def _odometer(self, accesses: Sequence[Access]) -> Odometer:
        """For each access the bytes to the line, then for each those to the group in it."""
        plan = self.plan

        def along(loop: Loop | None, times: int, *, is_group: bool) -> tuple[int, ...]:
            steps = [ELEMENT_BYTES * times * (access.stride(loop) if loop is not None else 0) for access in accesses]
            none = [0] * len(steps)
            return (*none, *steps) if is_group else (*steps, *none)

        levels = [Level(plan.groups, along(plan.loop, plan.group, is_group=True))]
        for loop, extent in reversed(list(zip(plan.lines, plan.line_extents, strict=True))):
            levels.append(Level(extent, along(loop, 1, is_group=False)))
        return Odometer(self.builder, levels, (-1,) * (2 * len(accesses)))

    # Pads

    def _allocate(self) -> None:
        plan, cols = self.plan, self.plan.cols
        base = 0

        def tiles(rows: int) -> list[ir.Value]:
            nonlocal base
            base += rows
            return [self.builder.placed_tile(rows, pad, base - rows) for pad in range(plan.pads)]

        with ir.InsertionPoint.at_block_begin(self.block):
            self.rows = tiles(plan.operand_rows)
            self.results = [tiles(RESULT_SLOTS * ring_rows(plan.results.rows_per_pad)) for _ in self.stored]
            self.weights = tiles(cols.num_blocks * cols.rows_per_pad)
            self.columns = {key: tiles(cols.num_blocks)[0] for key in self.column_reads}

    # Parts of the product

    def _outside(self, loops: list[Loop], at: dict[Loop, Index]) -> None:
        if loops:
            self.builder.repeat(loops[0].extent, lambda i: self._outside(loops[1:], {**at, loops[0]: i}))
            return
        self._load_weights(at)
        self.builder.repeat(self.plan.panels, lambda panel: self._panel(at, panel))

    def _begin(self, access: Access, at: Mapping[Loop, Index]) -> Index:
        """The first element of an access in this part of the product."""
        position = Index(access.offset)
        for loop, index in at.items():
            position = position + index.scaled(access.stride(loop))
        return position

    def _load_weights(self, at: Mapping[Loop, Index]) -> None:
        """All columns and what the epilogue reads, 32 columns a block; the last block ends with the columns."""
        builder, cols = self.builder, self.plan.cols
        aligned = cols.num_blocks - (1 if cols.excess else 0)
        idle = [builder.ready() for _ in range(cols.num_pieces + len(self.column_reads))]
        tokens = builder.loop(aligned, idle, lambda block, _: self._load_block(at, block, block.scaled(cols.width)))
        if cols.excess:
            tokens = self._load_block(at, Index(aligned), Index(cols.extent - cols.width))
        builder.wait(tokens)

    def _load_block(self, at: Mapping[Loop, Index], block: Index, column: Index) -> list[ir.Value]:
        """The weights of a block of columns, dealt out over the pads, and its part of each row that results share."""
        plan, cols, pushed = self.plan, self.plan.cols, self.plan.pushed
        begin = self._begin(pushed, at) + column.scaled(cols.strides(pushed)[1])
        tokens = [
            self.builder.dma(
                "dma_load",
                self.weights[piece],
                self.buffers[pushed.buffer],
                block.scaled(cols.rows_per_pad),
                begin + cols.piece_offset(piece, pushed),
                rows=cols.rows_of_piece(piece),
                cols=plan.lanes,
                pitch=cols.pitch(pushed),
            )
            for piece in range(cols.num_pieces)
        ]
        for key, access in self.column_reads.items():
            first = self._begin(access, at) + column
            tile, buffer = self.columns[key], self.buffers[access.buffer]
            tokens.append(
                self.builder.dma("dma_load", tile, buffer, block, first, rows=1, cols=cols.width, pitch=cols.width)
            )
        return tokens

    def _panel(self, at: Mapping[Loop, Index], panel: Index) -> None:
        """Fetch the first groups, then take the rows of the panel through the weights of each 32 columns."""
        builder, plan = self.builder, self.plan
        starts = {id(access): self._start(access, at, panel) for access in (plan.streamed, *self.stored)}
        fetches = self._fetch_first(starts)

        def block(number: Index, carried: list[ir.Value]) -> list[ir.Value]:
            return self._block(number, starts, self._unpack_fetches(carried)).pack()

        builder.loop(plan.cols.num_blocks, fetches, block)

    def _start(self, access: Access, at: Mapping[Loop, Index], panel: Index) -> ir.Value:
        """Address of the first element of a panel; the last panel ends with the loop that panels are cut from."""
        builder, plan = self.builder, self.plan
        begin = builder.index_value(self._begin(access, at).scaled(ELEMENT_BYTES))
        address = builder.plus(builder.address(self.buffers[access.buffer]), begin)
        if plan.split is None or plan.panels == 1:
            return address
        first = builder.at_most(builder.index_value(panel.scaled(plan.panel)), plan.split.extent - plan.panel)
        return builder.plus(address, builder.times(first, access.stride(plan.split) * ELEMENT_BYTES))

    # Rows that come in

    def _unpack_fetches(self, values: Sequence[ir.Value]) -> _Fetches:
        size = self.fetches.size
        return _Fetches(self.fetches.unpack(values[:size]), values[size], values[size + 1])

    def _fetch_first(self, starts: Starts) -> list[ir.Value]:
        """Fetch the groups of the first iterations of a panel; what is fetched after them."""
        builder, plan = self.builder, self.plan
        first = min(AHEAD, plan.iterations)
        zero = builder.index_constant(0)
        state = _Fetches(self.fetches.first(), zero, builder.index_constant(plan.iterations - 1))
        idle, count = [builder.ready() for _ in range(self.num_fetches)], self.num_fetches

        def fetch(_: Index, carried: list[ir.Value]) -> list[ir.Value]:
            builder.wait(carried[:count])
            tokens, after = self._fetch(starts, self._unpack_fetches(carried[count:]), FIRST_STEPS)
            return [*tokens, *after.pack()]

        carried = builder.loop(first, [*idle, *state.pack()], fetch)
        builder.wait(carried[:count])
        return carried[count:]

    def _fetch(self, starts: Starts, state: _Fetches, name: str) -> tuple[list[ir.Value], _Fetches]:
        """Fetch a group; when all are there, one element or a group that nobody reads."""
        builder, plan = self.builder, self.plan
        deal = plan.operands
        is_idle = builder.is_negative(state.rest) if plan.ends else None
        source = self._element(plan.streamed, starts, state.at, 0)
        tiles = [builder.tile_at(tile, state.slot, name) for tile in self.rows[: min(plan.pads, deal.pieces)]]
        tokens: list[ir.Value] = []
        shapes: dict[object, ir.Value] = {}
        for run in reversed(plan.runs):
            for piece in range(deal.pieces):
                pad = piece % plan.pads
                offset = piece * self._row_bytes(plan.streamed) + ELEMENT_BYTES * (run.element - run.first)
                key = (run, pad, deal.rows_of_piece(piece))
                if key not in shapes:
                    shapes[key] = self._unless(is_idle, pad, self._shape(deal, plan.streamed, piece, run.cols))
                tokens.append(
                    builder.transfer(
                        "fetch",
                        tiles[pad],
                        builder.index_constant(deal.target(piece) * ROW_BYTES),
                        builder.plus(source, offset),
                        shapes[key],
                        [self.buffers[plan.streamed.buffer]],
                        rows=deal.rows_of_piece(piece),
                        cols=run.cols,
                    )
                )
        moves = builder.index_constant(-1) if is_idle is None else builder.differ(is_idle, -1)
        at = self.fetches.after(state.at, moves)
        slot = builder.plus(state.slot, builder.both(moves, self.slot_bytes))
        return tokens, _Fetches(at, slot, state.rest if is_idle is None else builder.plus(state.rest, moves))

    def _unless(self, is_idle: ir.Value | None, pad: int, shape: ir.Value) -> ir.Value:
        """The metadata of a transfer, or of one element where it is switched off."""
        if is_idle is None:
            return shape
        return self.builder.select_bits(is_idle, self._word(DmaShape(pad, 1, 1, 1)), shape)

    def _row_bytes(self, access: Access) -> int:
        """From one row of a group to the next."""
        loop = self.plan.loop
        return ELEMENT_BYTES * (access.stride(loop) if loop is not None else 0)

    def _shape(self, deal: Deal, access: Access, piece: int, cols: int) -> ir.Value:
        rows = deal.rows_of_piece(piece)
        pitch = self._row_bytes(access) // ELEMENT_BYTES * deal.pieces if rows > 1 else cols
        return self._word(DmaShape(piece % deal.pads, rows, cols, pitch))

    def _word(self, shape: DmaShape) -> ir.Value:
        word = shape.encode()
        return self.builder.index_constant(word - (word >> 31 << 32))

    def _element(self, access: Access, starts: Starts, at: Reading, number: int) -> ir.Value:
        """Address of the first row of a group: the last one of a line ends with it."""
        builder, plan = self.builder, self.plan
        count = (len(at.offsets)) // 2
        line, group = at.offsets[number], at.offsets[count + number]
        if plan.width % plan.group:
            group = builder.at_most(group, (plan.width - plan.group) * self._row_bytes(access))
        return builder.plus(builder.plus(starts[id(access)], line), group)

    # 32 columns

    def _block(self, number: Index, starts: Starts, fetches: _Fetches) -> _Fetches:
        """All rows of a panel with block `number` of the columns."""
        builder, plan, cols = self.builder, self.plan, self.plan.cols
        offset = builder.index_value(number.scaled(cols.rows_per_pad * ROW_BYTES))
        weights = [builder.tile_at(tile, offset, "weights") for tile in self.weights]
        for col in reversed(range(LANES)):
            if col < cols.width:
                pad, row = cols.place(col)
                builder.push(builder.tile_load(weights[pad], Index(row), plan.lanes))
            else:
                builder.push(builder.splat(0.0))
        self.shared = {key: builder.tile_load(tile, number, cols.width) for key, tile in self.columns.items()}
        column = builder.index_value(number.scaled(cols.width * ELEMENT_BYTES))
        if cols.excess:
            column = builder.at_most(column, (cols.extent - cols.width) * ELEMENT_BYTES)
        sends = {id(access): builder.plus(starts[id(access)], column) for access in self.stored}
        state = self._first_state(fetches)

        def iteration(_: Index, carried: list[ir.Value]) -> list[ir.Value]:
            return self._iteration(starts, sends, self._unpack(carried)).pack()

        state = self._unpack(builder.loop(plan.iterations, state.pack(), iteration, overlap=True))
        self._send_rest(sends, state)
        return state.fetches

    def _first_state(self, fetches: _Fetches) -> _State:
        builder = self.builder
        zero = builder.index_constant(0)
        behind = builder.index_constant(-STAGES * self.result_bytes & self._result_mask)
        tokens = [builder.ready() for _ in range(self.num_fetches + self.plan.results.pieces * len(self.stored))]
        waiting = builder.index_constant(-STAGES)
        return _State(fetches, zero, self.sends.first(), waiting, zero, behind, tokens)

    def _unpack(self, values: Sequence[ir.Value]) -> _State:
        rest = iter(values)

        def take(count: int) -> list[ir.Value]:
            return [next(rest) for _ in range(count)]

        fetches = self._unpack_fetches(take(self.fetches.size + 2))
        (read,) = take(1)
        send = self.sends.unpack(take(self.sends.size))
        waiting, written, sent = take(3)
        return _State(fetches, read, send, waiting, written, sent, list(rest))

    @property
    def _result_mask(self) -> int:
        return RESULT_SLOTS * self.result_bytes - 1

    def _iteration(self, starts: Starts, sends: Starts, state: _State) -> _State:
        builder = self.builder
        # until a transfer is complete its address register must not be taken for anything else
        builder.wait(state.tokens[: self.num_fetches], orders=False)
        fetched, fetches = self._fetch(starts, state.fetches, _name("fetch"))
        self._compute(state.read, state.written)
        is_waiting = builder.is_negative(state.waiting)
        earlier = state.tokens[self.num_fetches :]
        tokens = self._send(sends, state.send, state.sent, earlier, is_waiting, _name("send"))
        return _State(
            fetches,
            builder.plus(state.read, self.slot_bytes),
            self.sends.after(state.send, builder.differ(is_waiting, -1)),
            builder.plus(state.waiting, builder.both(is_waiting, 1)),
            builder.both(builder.plus(state.written, self.result_bytes), self._result_mask),
            builder.both(builder.plus(state.sent, self.result_bytes), self._result_mask),
            [*fetched, *tokens],
        )

    def _compute(self, read: ir.Value, written: ir.Value) -> None:
        """Send a group of rows through the array and the epilogue."""
        builder, plan = self.builder, self.plan
        rows = [builder.tile_at(tile, read, _name("read")) for tile in self.rows]
        results = [[builder.tile_at(tile, written, _name("write")) for tile in tiles] for tiles in self.results]
        for row in range(plan.group):
            pad, at = plan.operands.place(row)
            values = {self.product.write.buffer: builder.gemm(builder.tile_load(rows[pad], Index(at), plan.lanes))}
            for stage in self.epilogue:
                values[stage.write.buffer] = self._evaluate(stage, values)
            for access, tiles in zip(self.stored, results, strict=True):
                pad, at = plan.results.place(row)
                builder.tile_store(values[access.buffer], tiles[pad], Index(at), LANES)

    def _evaluate(self, stage: Stage, values: Mapping[Buffer, ir.Value]) -> ir.Value:
        def load(read: int) -> Evaluated:
            access = stage.reads[read]
            found = values.get(access.buffer)
            return Evaluated(self.shared[access.buffer, access.offset] if found is None else found, False)

        evaluator = Evaluator(self.builder, load, broadcasts=True)
        found = evaluator.evaluate(stage.body)
        for bound in evaluator.expansions:
            self.expansions[stage] = bound
        return evaluator.row(found)

    # Results

    def _send(
        self,
        starts: Starts,
        at: Reading,
        sent: ir.Value,
        earlier: Sequence[ir.Value],
        is_waiting: ir.Value | None,
        name: str,
    ) -> list[ir.Value]:
        """Send the group that lies `sent` bytes from the begin of the rings; `earlier` are the last tokens."""
        builder, plan = self.builder, self.plan
        tokens: list[ir.Value] = []
        for number, (access, tiles) in enumerate(zip(self.stored, self.results, strict=True)):
            target = self._element(access, starts, at, number)
            for piece in range(plan.results.pieces):
                builder.wait([earlier[len(tokens)]], orders=False)
                shape = self._shape(plan.results, access, piece, plan.cols.width)
                tokens.append(
                    builder.transfer(
                        "send",
                        builder.tile_at(tiles[piece], sent, name),
                        builder.index_constant(0),
                        builder.plus(target, piece * self._row_bytes(access)),
                        self._unless(is_waiting, piece, shape),
                        [self.buffers[access.buffer]],
                        rows=plan.results.rows_of_piece(piece),
                        cols=plan.cols.width,
                    )
                )
        return tokens

    def _send_rest(self, starts: Starts, state: _State) -> None:
        """Send the results of the last iterations, and wait for all that is on its way."""
        builder, count = self.builder, self.num_fetches
        size = self.sends.size

        def send(_: Index, carried: list[ir.Value]) -> list[ir.Value]:
            at, sent, earlier = self.sends.unpack(carried[:size]), carried[size], carried[size + 1 :]
            tokens = self._send(starts, at, sent, earlier, None, FIRST_STEPS)
            following = builder.both(builder.plus(sent, self.result_bytes), self._result_mask)
            return [*self.sends.after(at, builder.index_constant(-1)).pack(), following, *tokens]

        builder.wait(state.tokens[:count])
        carried = builder.loop(STAGES, [*state.send.pack(), state.sent, *state.tokens[count:]], send)
        builder.wait(carried[size + 1 :])
