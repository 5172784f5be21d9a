"""Emits copies (`codegen.copy_plan`): each pad fetches rows and sends them, side by side with the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.copy_plan import CopyPlan
from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.placement import LANES
from atalla_mlir.kernels.affine_index import Index, signed_word
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.rings import Pads
from atalla_mlir.kernels.transfer_order import piece_order
from atalla_mlir.target.encoding import DmaShape

ELEMENT_BYTES = 2


@dataclass
class Copy:
    """Emits a plan; `buffers` are the kernel's DRAM arguments by buffer."""

    builder: Builder
    plan: CopyPlan
    buffers: dict[Buffer, ir.Value]
    block: ir.Block

    def emit(self) -> None:
        pads = Pads(self.builder, self.block)
        self.tiles = [pads.tile(self.plan.rows, pad, 1.0) for pad in range(self.plan.pads)]
        tokens = [self.builder.ready() for _ in self.tiles]
        self.builder.wait(self._nest(self.plan.outer, (Index(), Index()), tokens))

    def _nest(self, loops: Sequence[Loop], at: tuple[Index, Index], tokens: list[ir.Value]) -> list[ir.Value]:
        """All iterations of some loops; `at` are elements from the first ones read and written."""
        if not loops:
            return self._slices(at, tokens)
        loop, *inner = loops

        def body(index: Index, carried: list[ir.Value]) -> list[ir.Value]:
            return self._nest(inner, self._further(at, loop, index), carried)

        return self.builder.loop(loop.extent, tokens, body)

    def _further(self, at: tuple[Index, Index], loop: Loop, index: Index) -> tuple[Index, Index]:
        read, write = self.plan.read.stride(loop), self.plan.write.stride(loop)
        return at[0] + index.scaled(read), at[1] + index.scaled(write)

    def _slices(self, at: tuple[Index, Index], tokens: list[ir.Value]) -> list[ir.Value]:
        plan = self.plan

        def whole(index: Index, carried: list[ir.Value]) -> list[ir.Value]:
            return self._turns(self._further(at, plan.lane, index.scaled(LANES)), LANES, carried)

        tokens = self.builder.loop(plan.slices, tokens, whole)
        if not plan.rest:
            return tokens
        return self._turns(self._further(at, plan.lane, Index(plan.slices * LANES)), plan.rest, tokens)

    def _turns(self, at: tuple[Index, Index], cols: int, tokens: list[ir.Value]) -> list[ir.Value]:
        """All rows of a slice; the tokens of what pads send last."""
        builder, plan = self.builder, self.plan

        def turn(index: Index, carried: list[ir.Value]) -> list[ir.Value]:
            places = [self._addresses(at, index, pad) for pad in range(plan.pads)]
            order, sent = piece_order(plan.pads, plan.pads), list(carried)
            for pad in order:
                builder.wait([sent[pad]])
                sent[pad] = self._transfer("fetch", plan.read, pad, places[pad][0], cols)
            for pad in order:
                builder.wait([sent[pad]])
                sent[pad] = self._transfer("send", plan.write, pad, places[pad][1], cols)
            return sent

        return builder.loop(plan.turns, tokens, turn)

    def _addresses(self, at: tuple[Index, Index], turn: Index, pad: int) -> tuple[ir.Value, ir.Value]:
        """In DRAM, of the first rows that a pad reads and writes in a turn."""
        builder, plan = self.builder, self.plan
        last = plan.row.extent - plan.rows
        row = builder.index_value(turn.scaled(plan.pads * plan.rows) + pad * plan.rows)
        if plan.turns * plan.pads * plan.rows > plan.row.extent:
            row = builder.at_most(row, last)
        read, write = (
            builder.plus(
                builder.plus(
                    builder.address(self.buffers[access.buffer]),
                    builder.index_value((start + access.offset).scaled(ELEMENT_BYTES)),
                ),
                builder.times(row, access.stride(plan.row) * ELEMENT_BYTES),
            )
            for access, start in zip((plan.read, plan.write), at, strict=True)
        )
        return read, write

    def _transfer(self, kind: str, access: Access, pad: int, address: ir.Value, cols: int) -> ir.Value:
        builder, plan = self.builder, self.plan
        pitch = access.stride(plan.row) if plan.rows > 1 else cols
        shape = builder.index_constant(signed_word(DmaShape(pad, plan.rows, cols, pitch).encode()))
        nothing, buffer = builder.index_constant(0), self.buffers[access.buffer]
        return builder.transfer(kind, self.tiles[pad], nothing, address, shape, [buffer], rows=plan.rows, cols=cols)
