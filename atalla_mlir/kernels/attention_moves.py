"""Transfers of attention that run beside its loops: operands come in before they are needed, results go out when done.

Each iteration of a loop moves pieces: rows of one slice of a block, every fourth of them in the same pad. What it moves
is a function of its number: no tables, no branches. A transfer that is switched off moves one element of its buffer to
or from a row that nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_plan import AHEAD, LANES, PADS
from atalla_mlir.codegen.row_deal import IN_ORDER, RowDeal
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.rings import ROW_BYTES
from atalla_mlir.kernels.transfer_order import start_order
from atalla_mlir.kernels.walks import Walk
from atalla_mlir.target.encoding import DmaShape

ELEMENT_BYTES = 2
LEAD = AHEAD + 1
"""Iterations by which operands come before their use: one more than may be in progress at once."""
LAG = AHEAD
"""Iterations by which results go out after the last of them is there: as many as may be in progress at once."""
PAD_SHIFT = 30
SINK = DmaShape(0, 1, 1, 1).encode()


def ahead(name: str) -> str:
    """The name of rows that iterations may use in any order."""
    return f"{name}^{AHEAD}"


@dataclass(frozen=True)
class Level:
    """A loop around the pieces; `stride` and `place` are bytes in DRAM and in the pads from one iteration to the next.

    The last iteration begins `early` bytes of DRAM before its turn.
    """

    extent: int
    stride: int
    place: int
    early: int = 0


@dataclass(frozen=True, eq=False)
class Flow:
    """Pieces of an operand (`fetch`) or of the results (`send`), `each` of them in an iteration of a loop.

    A piece has `rows` rows in each pad, which are `pitch` elements apart.
    """

    name: str
    kind: str
    buffer: ir.Value
    base: ir.Value
    """DRAM address of the group."""
    tiles: Sequence[ir.Value]
    sink: int
    """Bytes from the tiles to a row that nobody reads."""
    levels: tuple[Level, ...]
    rows: int
    pitch: int
    first: int
    """Iterations by which the flow is ahead of the loop; negative where it comes later."""
    each: int = 1
    begin: int = 0
    """Bytes from the tiles to the first piece."""
    deal: RowDeal = IN_ORDER

    @property
    def word(self) -> int:
        """The metadata of a piece, for pad 0."""
        return DmaShape(0, self.rows, LANES, self.deal.step * self.pitch if self.rows > 1 else LANES).encode()

    @property
    def size(self) -> int:
        """Bytes of all pieces in a pad."""
        return sum((level.extent - 1) * level.place for level in self.levels) + self.rows * ROW_BYTES

    @property
    def num_tokens(self) -> int:
        return self.each * PADS


class FlowLoop:
    """What a loop does for a flow: it carries the place of the next pieces, what is prepared of them, and tokens."""

    def __init__(self, builder: Builder, flow: Flow) -> None:
        self.builder, self.flow = builder, flow

    def before(self) -> None:
        """The pieces that come before the loop."""
        _run(self.builder, [self], self.flow.first, 0)

    def after(self, iterations: int) -> None:
        """The pieces that are left after a loop of `iterations`."""
        _run(self.builder, [self], -self.flow.first, iterations + self.flow.first)

    def alone(self, first: int) -> tuple[list[ir.Value], Callable[[list[ir.Value]], list[ir.Value]]]:
        """What a loop without other work carries into iteration `first`, tokens last, and an iteration of it."""
        walk, builder = self._walk(first), self.builder

        def move(carried: list[ir.Value]) -> list[ir.Value]:
            own, tokens = carried[: walk.num_values], carried[walk.num_values :]
            prepared, own = self._prepare(walk, own)
            return [*own, *self._issue(prepared, tokens)]

        return [*walk.initial(), *(builder.ready() for _ in range(self.flow.num_tokens))], move

    def initial(self) -> list[ir.Value]:
        """What the loop carries into its first iteration: tokens come last."""
        walk = self._walk(max(0, self.flow.first) if self.flow.kind == "fetch" else self.flow.first)
        prepared, own = self._prepare(walk, walk.initial())
        return [*own, *prepared, *(self.builder.ready() for _ in range(self.flow.num_tokens))]

    def iteration(self, carried: Sequence[ir.Value]) -> list[ir.Value]:
        """Move what was prepared in the iteration before and prepare what the next one moves."""
        walk, num_tokens = self._walk(0), self.flow.num_tokens
        own, prepared = list(carried[: walk.num_values]), carried[walk.num_values : -num_tokens]
        tokens = self._issue(prepared, carried[-num_tokens:])
        following, own = self._prepare(walk, own)
        return [*own, *following, *tokens]

    def _walk(self, first: int) -> Walk:
        levels = self.flow.levels
        keeps_levels = any(level.early for level in levels)
        strides = {"stride": [level.stride for level in levels], "place": [level.place for level in levels]}
        extents = [level.extent for level in levels]
        return Walk(self.builder, extents, strides, keeps_levels=keeps_levels, first=first * self.flow.each)

    def _prepare(self, walk: Walk, carried: list[ir.Value]) -> tuple[list[ir.Value], list[ir.Value]]:
        """Of each piece of an iteration the place in the pads, the address, the metadata; what is carried further."""
        builder, flow = self.builder, self.flow
        prepared: list[ir.Value] = []
        for _ in range(flow.each):
            offsets = walk.offsets(carried)
            is_on = self._is_on(offsets["place"])
            start = offsets["stride"]
            for number, level in enumerate(flow.levels):
                if level.early:
                    is_last = builder.equal_bits(walk.counter(carried, number), level.extent - 1)
                    start = builder.plus(start, builder.both(is_last, -level.early))
            place = builder.plus(offsets["place"], flow.begin - flow.sink)
            prepared += [
                builder.plus(builder.both(is_on, place), flow.sink),
                builder.plus(builder.both(is_on, start), flow.base),
                builder.differ(builder.both(is_on, flow.word ^ SINK), SINK),
            ]
            carried = walk.next(carried)
        return prepared, carried

    def _is_on(self, place: ir.Value) -> ir.Value:
        """-1 where a piece exists, else 0."""
        builder, flow = self.builder, self.flow
        if flow.kind == "fetch":
            return builder.is_negative(builder.plus(place, -flow.size))
        return builder.differ(builder.is_negative(place), -1)

    def _issue(self, prepared: Sequence[ir.Value], before: Sequence[ir.Value]) -> list[ir.Value]:
        """The transfers of an iteration; their tokens. `before` are those of the iteration before: until a transfer is
        complete its address register must not be taken for anything else."""
        builder, flow, tokens = self.builder, self.flow, list[ir.Value]()
        for piece in range(flow.each):
            place, start, word = prepared[3 * piece : 3 * piece + 3]
            for pad in start_order(PADS):
                builder.wait([before[len(tokens)]], orders=False)
                tokens.append(
                    builder.transfer(
                        flow.kind,
                        builder.tile_at(flow.tiles[pad], builder.index_constant(0), f"{flow.name}.moved"),
                        place,
                        builder.plus(start, flow.deal.first(pad) * flow.pitch * ELEMENT_BYTES),
                        builder.plus(word, pad << PAD_SHIFT),
                        [flow.buffer],
                        rows=flow.rows,
                        cols=LANES,
                    )
                )
        return tokens


def begin_flows(builder: Builder, flows: Sequence[Flow]) -> None:
    """The pieces that come before loops: those of flows with as many of them side by side, which fills the channel."""
    counts = dict.fromkeys(flow.first for flow in flows)
    for count in counts:
        _run(builder, [FlowLoop(builder, flow) for flow in flows if flow.first == count], count, 0)


def _run(builder: Builder, moves: Sequence[FlowLoop], iterations: int, first: int) -> None:
    """A loop that does nothing but move pieces, from those of iteration `first` on."""
    begins = [move.alone(first) for move in moves]

    def iteration(_: object, carried: list[ir.Value]) -> list[ir.Value]:
        following: list[ir.Value] = []
        for initial, move in begins:
            following += move(carried[len(following) : len(following) + len(initial)])
        return following

    done = builder.loop(iterations, [value for initial, _ in begins for value in initial], iteration)
    end = 0
    for (initial, _), move in zip(begins, moves, strict=True):
        end += len(initial)
        builder.wait(done[end - move.flow.num_tokens : end])
