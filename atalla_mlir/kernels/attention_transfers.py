"""Transfers of attention: operands of a group of heads to the pads, results back.

Neighbouring rows lie in different pads, so that the pads work side by side: every fourth row of a block in the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_pattern import Attention
from atalla_mlir.codegen.attention_plan import LANES, PADS, AttentionPlan, Blocks, is_uniform
from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.row_deal import IN_ORDER, RowDeal
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.transfers import TransferNest, emit_transfers


@dataclass(frozen=True)
class Tiles:
    """The same rows of all pads, from row `base` on."""

    pads: list[ir.Value]
    base: int


@dataclass(frozen=True)
class Outer:
    """Where a group of heads begins: an index for each loop over heads, and for queries or keys that come in turn."""

    at: dict[Loop, Index]

    def at_loop(self, loop: Loop, index: Index) -> Outer:
        """The same place at an index of one more loop."""
        return Outer({**self.at, loop: index})

    def element(self, access: Access, inside: Sequence[tuple[Loop, Index]] = ()) -> Index:
        """The element of `access` there; `inside` are positions of other loops, and within the group."""
        element = Index(access.offset)
        for loop, index in (*self.at.items(), *inside):
            element += index.scaled(access.stride(loop))
        return element


@dataclass(frozen=True)
class Slice:
    """Part of a block that fills a piece of each pad: `rows` rows of `cols` elements, the first at `element`."""

    element: int
    rows: int
    cols: int


@dataclass(frozen=True)
class Moved:
    """An operand or the result: blocks of the loops `blocks`, each in `slices`, whose rows are `pitch` elements apart.

    A block takes `piece` rows of each pad of `tiles` for a slice; all blocks of a head have one slice after the other.
    """

    access: Access
    tiles: Tiles
    blocks: Sequence[tuple[Loop, Blocks]]
    slices: Sequence[Slice]
    pitch: int
    piece: int
    is_shared: bool = False
    """Whether all heads of a group have the same."""
    deal: RowDeal = IN_ORDER


def slices_along(rows: int, width: int) -> list[Slice]:
    """Rows of `width` elements, cut into chunks of as many lanes as there are."""
    return [Slice(first, rows, min(LANES, width - first)) for first in range(0, width, LANES)]


@dataclass(frozen=True)
class GroupTransfers:
    """All transfers of a group of heads; `buffers` are the kernel's DRAM arguments by buffer."""

    builder: Builder
    attention: Attention
    plan: AttentionPlan
    buffers: dict[Buffer, ir.Value]

    def queries(self, tiles: Tiles) -> Moved:
        plan, loop, access = self.plan, self.attention.queries, self.attention.query
        slices, blocks = slices_along(plan.queries.size, plan.depth), [(loop, plan.moved_queries)]
        return Moved(access, tiles, blocks, slices, access.stride(loop), plan.piece_rows, deal=plan.deal)

    def results(self, tiles: Tiles) -> Moved:
        plan, loop, access = self.plan, self.attention.queries, self.attention.output
        slices, blocks = slices_along(plan.queries.size, plan.width), [(loop, plan.moved_queries)]
        return Moved(access, tiles, blocks, slices, access.stride(loop), plan.piece_rows, deal=plan.deal)

    def keys(self, tiles: Tiles) -> Moved:
        return self._by_key(self.attention.key, tiles, self.plan.depth)

    def values(self, tiles: Tiles) -> Moved:
        """Values as they lie, each a row of their width."""
        return self._by_key(self.attention.value, tiles, self.plan.width)

    def _by_key(self, access: Access, tiles: Tiles, width: int) -> Moved:
        plan, loop = self.plan, self.attention.keys
        slices, blocks = slices_along(plan.keys.size, width), [(loop, plan.moved_keys)]
        return Moved(access, tiles, blocks, slices, access.stride(loop), LANES // PADS, deal=plan.key_deal)

    def turned_values(self, tiles: Tiles) -> Moved:
        """Values with the keys along the lanes."""
        plan, access = self.plan, self.attention.value
        pitch = access.stride(self.attention.width)
        slices = [
            Slice(first * pitch, min(LANES, plan.width - first), plan.keys.size)
            for first in range(0, plan.width, LANES)
        ]
        return Moved(access, tiles, [(self.attention.keys, plan.keys)], slices, pitch, LANES // PADS)

    def outside(self, access: Access, tiles: Tiles) -> Moved:
        """What the scores meet: in blocks like theirs, or a row for all queries, or one element for all scores."""
        plan, is_shared = self.plan, not self.plan.varies(access)
        pitch = access.stride(self.attention.queries)
        if is_uniform(access):
            return Moved(access, tiles, [], [Slice(0, 1, 1)], 1, 1, is_shared)
        keys, cols = (self.attention.keys, plan.keys), plan.keys.size
        if not pitch:
            return Moved(access, tiles, [keys], [Slice(0, 1, cols)], cols, 1, is_shared)
        blocks = [(self.attention.queries, plan.queries), keys]
        return Moved(access, tiles, blocks, [Slice(0, plan.queries.size, cols)], pitch, plan.piece_rows, is_shared)

    def emit(self, outer: Outer, moved: Sequence[Moved], kind: str = "dma_load") -> None:
        """Emit transfers, those of one shape side by side, and wait for them."""
        emit_transfers(self.builder, [nest for each in moved for nest in self._nests(outer, each, kind)])

    def _nests(self, outer: Outer, moved: Moved, kind: str) -> list[TransferNest]:
        """Transfers for all heads of the group and all blocks, of every fourth row of a slice each."""
        nests: list[TransferNest] = []
        buffer, parts = self.buffers[moved.access.buffer], len(moved.slices)
        blocks = math.prod(each.count for _, each in moved.blocks)
        for part, piece in enumerate(moved.slices):
            for pad in range(min(PADS, piece.rows)):
                rows = -(-(piece.rows - pad) // PADS)

                def leaf(
                    head: Index, block: Index, element: Index, part: int = part, pad: int = pad, rows: int = rows
                ) -> ir.Value:
                    piece = moved.slices[part]
                    return self.builder.dma(
                        kind,
                        moved.tiles.pads[pad],
                        buffer,
                        ((head.scaled(parts) + part).scaled(blocks) + block).scaled(moved.piece),
                        element + (moved.deal.first(pad) * moved.pitch + piece.element),
                        rows=rows,
                        cols=piece.cols,
                        pitch=moved.deal.step * moved.pitch if rows > 1 else piece.cols,
                    )

                nests += self._blocks(outer, moved, leaf)
        return nests

    def _blocks(
        self, outer: Outer, moved: Moved, leaf: Callable[[Index, Index, Index], ir.Value]
    ) -> list[TransferNest]:
        """Transfers for all heads of the group and all blocks.

        `leaf` gets the numbers of head and block, and the first element. The last block of a loop is apart where it
        begins early.
        """
        heads = [] if moved.is_shared else list(self.plan.group)
        choices: list[list[tuple[int, Index | None]]] = [[]]
        for _, blocks in moved.blocks:
            whole = blocks.count - 1 if blocks.excess else blocks.count
            parts: list[tuple[int, Index | None]] = [(whole, None)] if whole else []
            if blocks.excess:
                parts.append((1, Index(blocks.count - 1)))
            choices = [[*choice, part] for choice in choices for part in parts]
        nests: list[TransferNest] = []
        for choice in choices:

            def emit(indices: Sequence[Index], choice: list[tuple[int, Index | None]] = choice) -> ir.Value:
                head, block = Index(), Index()
                inside: list[tuple[Loop, Index]] = []
                for (loop, count), index in zip(heads, indices, strict=False):
                    head = head.scaled(count) + index
                    inside.append((loop, index))
                for (loop, blocks), (_, fixed), index in zip(moved.blocks, choice, indices[len(heads) :], strict=True):
                    block = block.scaled(blocks.count) + (index if fixed is None else fixed)
                    start = index.scaled(blocks.size) if fixed is None else Index(blocks.start(blocks.count - 1))
                    inside.append((loop, start))
                return leaf(head, block, outer.element(moved.access, inside))

            extents = (*(count for _, count in heads), *(count for count, _ in choice))
            nests.append(TransferNest(extents, emit))
        return nests
