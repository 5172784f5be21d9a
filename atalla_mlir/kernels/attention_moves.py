"""Transfers of attention that run beside its loops: what later heads need comes in while a head's scores are computed.

The iterations of the loop over scores (head, block of queries, tile of keys) each fetch some of what an iteration of
the next head needs. What an iteration fetches is a function of its numbers: no tables, no branches. A transfer that is
switched off moves one element to a row that nobody reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_pattern import Attention
from atalla_mlir.codegen.attention_plan import LANES, PADS, AttentionPlan, Blocks
from atalla_mlir.codegen.iteration import Access, Loop
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.rings import ROW_BYTES
from atalla_mlir.kernels.walks import Walk
from atalla_mlir.target.encoding import DmaShape

ELEMENT_BYTES = 2
LEAD = 5
"""Iterations by which what a head needs is there before its first one: more than may be in progress at once."""
PAD_SHIFT = 30
SINK = DmaShape(0, 1, 1, 1).encode()


@dataclass(frozen=True)
class Flow:
    """An operand that moves piece by piece: `slices` of each block along `along` (0: queries, 1: keys).

    Iterations with another number in the other loop move other slices, `each` at a time.
    """

    name: str
    access: Access
    tiles: Sequence[ir.Value]
    along: int
    slices: int
    each: int
    rows: int
    """Rows of a piece in its pad; a slice has one in each."""
    sink: int
    """Bytes from the tiles to a row that nobody reads."""


class Fetches:
    """The transfers of one iteration, and those before the loop; `base` are addresses of the group by flow."""

    def __init__(
        self,
        builder: Builder,
        attention: Attention,
        plan: AttentionPlan,
        flows: Sequence[Flow],
        buffers: Mapping[str, ir.Value],
        base: Mapping[str, ir.Value],
    ) -> None:
        self.builder, self.attention, self.plan = builder, attention, plan
        self.flows, self.buffers, self.base = flows, buffers, base
        self.blocks: list[Blocks] = [plan.queries, plan.keys]
        self.loops: list[Loop] = [attention.queries, attention.keys]

    @property
    def per_head(self) -> int:
        """Iterations for each head."""
        return self.plan.queries.count * self.plan.key_tiles

    @property
    def ahead(self) -> int:
        """Iterations whose transfers come before the loop."""
        return min(self.per_head + LEAD, self.total)

    @property
    def total(self) -> int:
        return self.plan.heads * self.per_head

    @property
    def num_tokens(self) -> int:
        return sum(flow.each for flow in self.flows) * PADS

    def walk(self, first: int) -> Walk:
        """What is moved by iteration `first` and those after it."""
        group = self.plan.group
        extents = (*(count for _, count in group), *(blocks.count for blocks in self.blocks))
        strides: dict[str, Sequence[int]] = {}
        for flow in self.flows:
            heads = [flow.access.stride(loop) * ELEMENT_BYTES for loop, _ in group]
            blocks = [0, 0]
            here, other = self.blocks[flow.along], 1 - flow.along
            blocks[flow.along] = flow.access.stride(self.loops[flow.along]) * ELEMENT_BYTES * here.size
            blocks[other] = flow.each * LANES * ELEMENT_BYTES
            strides[f"{flow.name}.source"] = (*heads, *blocks)
            piece = flow.rows * ROW_BYTES
            places = [0, 0]
            places[flow.along], places[other] = flow.slices * piece, flow.each * piece
            head = here.count * flow.slices * piece
            targets: list[int] = []
            for _, count in reversed(group):
                targets.insert(0, head)
                head *= count
            strides[f"{flow.name}.target"] = (*targets, *places)
        strides["number"] = self._counting(extents)
        return Walk(self.builder, extents, strides, keeps_levels=True, first=first)

    @staticmethod
    def _counting(extents: Sequence[int]) -> list[int]:
        """Strides of the number of an iteration."""
        strides: list[int] = []
        size = 1
        for extent in reversed(extents):
            strides.insert(0, size)
            size *= extent
        return strides

    @property
    def num_prepared(self) -> int:
        """Values that say what an iteration moves."""
        return 3 * sum(flow.each for flow in self.flows)

    def before(self) -> None:
        """The transfers of the first head, and some more."""
        builder, walk = self.builder, self.walk(0)

        def move(_: object, carried: list[ir.Value]) -> list[ir.Value]:
            own = carried[: walk.num_values]
            return [*walk.next(own), *self.issue(self.prepare(walk, own), carried[walk.num_values :])]

        tokens = [builder.ready() for _ in range(self.num_tokens)]
        done = builder.loop(self.ahead, [*walk.initial(), *tokens], move)
        builder.wait(done[walk.num_values :])

    def prepare(self, walk: Walk, carried: Sequence[ir.Value]) -> list[ir.Value]:
        """What the iteration that gets `carried` moves: of each slice the place in the pads, the address, the shape."""
        builder, offsets = self.builder, walk.offsets(carried)
        beyond = builder.is_negative(builder.plus(builder.differ(offsets["number"], -1), self.total))
        places = [walk.counter(carried, len(self.plan.group) + at) for at in range(2)]
        prepared: list[ir.Value] = []
        for flow in self.flows:
            source = builder.plus(self.base[flow.name], offsets[f"{flow.name}.source"])
            early = self._last_block(flow, places[flow.along])
            source = source if early is None else builder.plus(source, early)
            for at in range(flow.each):
                off = self._is_off(flow, at, places[1 - flow.along], beyond)
                here = builder.plus(offsets[f"{flow.name}.target"], at * flow.rows * ROW_BYTES)
                start = builder.plus(source, at * LANES * ELEMENT_BYTES)
                prepared += [
                    builder.select_bits(off, builder.index_constant(flow.sink), here),
                    builder.select_bits(off, self.base[flow.name], start),
                    builder.differ(builder.both(off, self._shape(flow) ^ SINK), self._shape(flow)),
                ]
        return prepared

    def _shape(self, flow: Flow) -> int:
        pitch, rows = flow.access.stride(self.loops[flow.along]), self.blocks[flow.along].size // PADS
        return DmaShape(0, rows, LANES, PADS * pitch if rows > 1 else LANES).encode()

    def _last_block(self, flow: Flow, place: ir.Value) -> ir.Value | None:
        """Bytes by which the last block begins early, as a negative number in that block."""
        blocks = self.blocks[flow.along]
        if not blocks.excess:
            return None
        early = -blocks.excess * flow.access.stride(self.loops[flow.along]) * ELEMENT_BYTES
        return self.builder.both(self.builder.equal_bits(place, blocks.count - 1), early)

    def _is_off(self, flow: Flow, at: int, place: ir.Value, beyond: ir.Value) -> ir.Value:
        """-1 where slice `at` of the iteration does not exist, else 0; `beyond` is -1 after the last iteration."""
        builder, others = self.builder, self.blocks[1 - flow.along].count
        if others * flow.each <= flow.slices:
            return beyond
        # slice number place * each + at, which must be below `slices`
        left = (flow.slices - 1 - at) // flow.each
        late = builder.is_negative(builder.plus(builder.differ(place, -1), left + 1))
        return builder.differ(late, builder.both(beyond, builder.differ(late, -1)))

    def issue(self, prepared: Sequence[ir.Value], before: Sequence[ir.Value]) -> list[ir.Value]:
        """The transfers of an iteration; their tokens. `before` are those of the iteration before: until a transfer is
        complete its address register must not be taken for anything else."""
        builder, tokens = self.builder, list[ir.Value]()
        slices = [flow for flow in self.flows for _ in range(flow.each)]
        for number, flow in enumerate(slices):
            begin, start, word = prepared[3 * number : 3 * number + 3]
            pitch = flow.access.stride(self.loops[flow.along]) * ELEMENT_BYTES
            for pad in range(PADS):
                builder.wait([before[len(tokens)]], orders=False)
                tokens.append(
                    builder.transfer(
                        "fetch",
                        builder.tile_at(flow.tiles[pad], builder.index_constant(0), f"{flow.name}.fetched"),
                        begin,
                        builder.plus(start, pad * pitch),
                        builder.plus(word, pad << PAD_SHIFT),
                        [self.buffers[flow.name]],
                        rows=self._usual_rows(flow),
                        cols=LANES,
                    )
                )
        return tokens

    def _usual_rows(self, flow: Flow) -> int:
        """Rows that a transfer moves on average, which is what the scheduler is to count on."""
        rows, slots = self.blocks[flow.along].size // PADS, flow.each * self.blocks[1 - flow.along].count
        return max(1, rows * flow.slices // slots)
