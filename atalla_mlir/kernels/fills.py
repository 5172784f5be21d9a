"""Emits what writes one number to many places of a buffer (`codegen.fill_plan`): rows of it, and transfers of those."""

from __future__ import annotations

from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.fill_plan import FillPlan, Moves
from atalla_mlir.codegen.iteration import Buffer
from atalla_mlir.kernels.affine_index import Index, signed_word
from atalla_mlir.kernels.builder import LANES, Builder
from atalla_mlir.kernels.rings import Pads
from atalla_mlir.target.encoding import DmaShape

ELEMENT_BYTES = 2


@dataclass
class Fill:
    """Emits a plan; `buffers` are the kernel's DRAM arguments by buffer."""

    builder: Builder
    plan: FillPlan
    buffers: dict[Buffer, ir.Value]
    block: ir.Block

    def emit(self) -> None:
        builder, plan = self.builder, self.plan
        pads = Pads(builder, self.block)
        self.tiles = [pads.tile(plan.rows, pad, 1.0) for pad in range(plan.pads)]
        row = builder.splat(plan.value)

        def fill(at: Index) -> None:
            for tile in self.tiles:
                builder.tile_store(row, tile, at, LANES)

        builder.repeat(plan.rows, fill)
        tokens = [builder.ready() for _ in self.tiles]
        for move in plan.moves:
            tokens = self._move(move, tokens)
        builder.wait(tokens)

    def _move(self, move: Moves, tokens: list[ir.Value]) -> list[ir.Value]:
        """The transfers of a strip, a turn of all pads in each iteration; the last tokens of all pads."""
        builder = self.builder
        buffer = self.buffers[self.plan.buffer]
        base = builder.plus(builder.address(buffer), ELEMENT_BYTES * move.first)
        step = ELEMENT_BYTES * move.step

        def turn(_: object, carried: list[ir.Value]) -> list[ir.Value]:
            at, *earlier = carried
            for pad in range(move.pads):
                start = builder.plus(base, self._place(move, at, pad))
                for offset in move.offsets:
                    builder.wait([earlier[pad]], orders=False)
                    earlier[pad] = self._send(move, pad, builder.plus(start, ELEMENT_BYTES * offset), buffer)
            return [builder.plus(at, move.pads * step), *earlier]

        return builder.loop(move.turns, [builder.index_constant(0), *tokens], turn)[1:]

    def _place(self, move: Moves, at: ir.Value, pad: int) -> ir.Value:
        """Bytes from the first transfer of the strip to that of a pad; the last ones end with the strip."""
        step, last = ELEMENT_BYTES * move.step, ELEMENT_BYTES * move.last
        if move.turns == 1:
            return self.builder.index_constant(min(pad * step, last))
        place = self.builder.plus(at, pad * step)
        return self.builder.at_most(place, last) if move.turns * move.pads * step > last + step else place

    def _send(self, move: Moves, pad: int, start: ir.Value, buffer: ir.Value) -> ir.Value:
        builder = self.builder
        word = DmaShape(pad, move.rows, move.cols, max(move.cols, move.pitch)).encode()
        shape = builder.index_constant(signed_word(word))
        nothing = builder.index_constant(0)
        return builder.transfer(
            "send", self.tiles[pad], nothing, start, shape, [buffer], rows=move.rows, cols=move.cols
        )
