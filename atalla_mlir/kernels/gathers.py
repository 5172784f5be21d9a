"""Kernels that move elements from or to places that integers say: rows of an embedding, of a cache, of a table.

The scalar core reads the integers and computes the address; the elements go through a pad by DMA. Where neighbouring
elements of the result are neighbours in the table, whole rows move at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage
from atalla_mlir.codegen.placement import MAX_DMA_ROWS
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import LANES
from atalla_mlir.kernels.integer_builder import IntegerBuilder
from atalla_mlir.kernels.integers import Elements, Positions

# Rows under way at once: as many as there are pads, whose transfers do not wait for each other.
IN_FLIGHT = 4


@dataclass
class GatherKernel:
    """Emits one stage that copies gathered BF16 elements."""

    builder: IntegerBuilder
    stage: Stage
    buffers: dict[Buffer, ir.Value]
    block: ir.Block
    """The kernel's body; tiles are allocated at its begin."""

    def emit(self) -> None:
        if self.stage.body.op != "load" or self.stage.reduced:
            raise UnsupportedError("arithmetic on gathered elements")
        source = self.stage.reads[self.stage.body.read]
        moved = self._moved_together(source)
        loops = [loop for loop in self.stage.loops if loop is not moved]
        extent = moved.extent if moved is not None else 1
        with ir.InsertionPoint.at_block_begin(self.block):
            rows = min(MAX_DMA_ROWS, -(-extent // LANES))
            self.tiles = [self.builder.alloc_tile(rows, 0, 0) for _ in range(IN_FLIGHT)]
        self._nest(loops, {}, source, moved)

    def _moved_together(self, source: Access) -> Loop | None:
        """The loop along which elements lie side by side in the table and in the result."""
        index_loops = {
            loop
            for node, _ in (*source.indirect, *self.stage.write.indirect)
            for below in node.walk()
            if below.op == "load"
            for loop in self.stage.reads[below.read].strides
        }
        return next(
            (
                loop
                for loop in self.stage.loops
                if source.stride(loop) == 1 == self.stage.write.stride(loop) and loop not in index_loops
            ),
            None,
        )

    def _nest(self, loops: Sequence[Loop], at: Positions, source: Access, moved: Loop | None) -> None:
        if not loops:
            self._move([at], source, moved)
        elif len(loops) == 1:
            self._several(loops[0], at, source, moved)
        else:
            self.builder.repeat(loops[0].extent, lambda i: self._nest(loops[1:], {**at, loops[0]: i}, source, moved))

    def _several(self, loop: Loop, at: Positions, source: Access, moved: Loop | None) -> None:
        """All iterations of the innermost loop, `IN_FLIGHT` at a time."""
        whole, rest = divmod(loop.extent, IN_FLIGHT)

        def places(first: Index, count: int) -> list[Positions]:
            return [{**at, loop: first + step} for step in range(count)]

        self.builder.repeat(whole, lambda i: self._move(places(i.scaled(IN_FLIGHT), IN_FLIGHT), source, moved))
        if rest:
            self._move(places(Index(whole * IN_FLIGHT), rest), source, moved)

    def _move(self, places: Sequence[Positions], source: Access, moved: Loop | None) -> None:
        """One row or element for each place: all loads, then all stores."""
        elements = [Elements(self.builder, self.stage, self.buffers, place) for place in places]
        fixed = Access(source.buffer, source.offset, _without(source, moved), source.indirect)
        target = self.stage.write
        write = Access(target.buffer, target.offset, _without(target, moved), target.indirect)
        starts = [(element.element(fixed), element.element(write)) for element in elements]
        for first, rows, cols in _pieces(moved.extent if moved is not None else 1):
            for kind, access, side in (("dma_load", source, 0), ("dma_store", self.stage.write, 1)):
                tokens = [
                    self.builder.dma(
                        kind,
                        tile,
                        self.buffers[access.buffer],
                        Index(),
                        start[side] + first,
                        rows=rows,
                        cols=cols,
                        pitch=cols if rows == 1 else LANES,
                    )
                    for tile, start in zip(self.tiles, starts, strict=False)
                ]
                self.builder.wait(tokens)


def _without(access: Access, moved: Loop | None) -> dict[Loop, int]:
    return {loop: stride for loop, stride in access.strides.items() if loop is not moved}


def _pieces(extent: int) -> list[tuple[int, int, int]]:
    """(first element, rows, columns) of the transfers that move `extent` elements in a run."""
    pieces: list[tuple[int, int, int]] = []
    chunks, tail = divmod(extent, LANES)
    for start in range(0, chunks, MAX_DMA_ROWS):
        pieces.append((start * LANES, min(MAX_DMA_ROWS, chunks - start), LANES))
    return [*pieces, (chunks * LANES, 1, tail)] if tail else pieces
