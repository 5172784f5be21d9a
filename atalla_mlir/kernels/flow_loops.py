"""Loops whose iterations overlap, with flows of transfers beside them, over rows that lie in all pads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.flow_plan import STAGES
from atalla_mlir.codegen.machine_ir import AHEAD_MARK
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.attention_moves import Flow, FlowLoop
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.walks import Walk
from atalla_mlir.target.encoding import DmaShape


@dataclass(frozen=True)
class Area:
    """Rows of every pad from row `base` on."""

    tiles: Sequence[ir.Value]
    base: int

    def parts(self, builder: Builder, offset: ir.Value, name: str) -> list[ir.Value]:
        """Rows from a byte offset on, in each pad."""
        return [builder.tile_at(tile, offset, name) for tile in self.tiles]


def ahead(use: str) -> str:
    """Name of rows that iterations may use in any order."""
    return f"{use}{AHEAD_MARK}{STAGES}"


def fence(builder: Builder, sink: Area, buffer: ir.Value) -> None:
    """Nothing after this comes before anything ahead of it."""
    zero = builder.index_constant(0)
    tokens = [
        builder.transfer(
            "fetch",
            tile,
            zero,
            builder.address(buffer),
            builder.index_constant(DmaShape(pad, 1, 1, 1).encode()),
            [buffer],
            rows=1,
            cols=1,
        )
        for pad, tile in enumerate(sink.tiles)
    ]
    builder.wait(tokens)


def run_beside(
    builder: Builder,
    walks: Sequence[Walk],
    flows: Sequence[Flow],
    carried: Sequence[ir.Value],
    body: Callable[[dict[str, ir.Value], Sequence[ir.Value]], Sequence[ir.Value]],
) -> list[ir.Value]:
    """One loop for walks of the same length, with transfers beside it; what `body` carries from the last iteration."""
    moves = [FlowLoop(builder, flow) for flow in flows]
    begins = [move.initial() for move in moves]
    own = len(carried)

    def iteration(_: Index, values: list[ir.Value]) -> list[ir.Value]:
        offsets: dict[str, ir.Value] = {}
        following: list[ir.Value] = []
        rest = iter(values[own:])

        def take(count: int) -> list[ir.Value]:
            return [next(rest) for _ in range(count)]

        for walk in walks:
            state = take(walk.num_values)
            offsets.update(walk.offsets(state))
            following += walk.next(state)
        for move, begin in zip(moves, begins, strict=True):
            following += move.iteration(take(len(begin)))
        return [*body(offsets, values[:own]), *following]

    initial = [*carried, *(value for walk in walks for value in walk.initial())]
    first = len(initial)
    for begin in begins:
        initial += begin
    done = builder.loop(walks[0].iterations, initial, iteration, overlap=True)
    for flow, begin in zip(flows, begins, strict=True):
        first += len(begin)
        builder.wait(done[first - flow.num_tokens : first])
    return done[:own]
