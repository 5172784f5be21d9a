"""Code that moves boxes of DRAM buffers into tiles or back, in transfers of up to 32 rows.

Transfers of several tiles that have the same loops share them: the pads then work side by side, while transfers on one
pad follow each other. Waiting for the last transfer on a pad waits for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.placement import LANES, MAX_DMA_ROWS, AccessGroup, Box, TileLayout
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder

Leaf = Callable[[Sequence[Index]], ir.Value]


@dataclass(frozen=True)
class TransferNest:
    """Transfers at all indices of `extents`; `leaf` emits the one at given indices and returns its token."""

    extents: tuple[int, ...]
    leaf: Leaf


def emit_transfers(builder: Builder, nests: Sequence[TransferNest]) -> None:
    """Emit all transfers and wait for them."""
    builder.wait(start_transfers(builder, nests))


def start_transfers(builder: Builder, nests: Sequence[TransferNest]) -> list[ir.Value]:
    """Emit all transfers, those with equal loops side by side; the tokens to wait for, always as many and in order."""
    by_extents: dict[tuple[int, ...], list[Leaf]] = {}
    for nest in nests:
        extents = tuple(extent for extent in nest.extents if extent != 1)
        by_extents.setdefault(extents, []).append(_at_unit_indices(nest))
    tokens: list[ir.Value] = []
    for extents, leaves in by_extents.items():
        tokens.extend(_emit_nest(builder, extents, leaves))
    return tokens


def _at_unit_indices(nest: TransferNest) -> Leaf:
    """The leaf as a function of the indices of the loops that run more than once."""

    def leaf(indices: Sequence[Index]) -> ir.Value:
        given = iter(indices)
        return nest.leaf([Index() if extent == 1 else next(given) for extent in nest.extents])

    return leaf


def _emit_nest(builder: Builder, extents: tuple[int, ...], leaves: Sequence[Leaf]) -> list[ir.Value]:
    def level(at: list[Index], tokens: list[ir.Value]) -> list[ir.Value]:
        if len(at) == len(extents):
            return [leaf(at) for leaf in leaves]
        return builder.loop(extents[len(at)], tokens, lambda i, carried: level([*at, i], carried))

    return level([], [builder.ready() for _ in leaves] if extents else [])


@dataclass
class TileTransfer:
    """Moves `box` between `buffer` and `tile`. `outer` is the part of each position from the loops outside."""

    builder: Builder
    group: AccessGroup
    box: Box
    layout: TileLayout
    outer: Sequence[Index]
    offset: int
    tile: ir.Value
    buffer: ir.Value

    def nests(self, kind: str) -> list[TransferNest]:
        """All transfers of the box; `kind` is `dma_load` or `dma_store`."""
        lane, dma = self.group.lane_dim, self.layout.dma_dim
        others = [dim for dim in range(len(self.box.extent)) if dim not in (dma, lane)]
        found: list[TransferNest] = []
        for lane_dims, lane_extents, lane_start, cols in self._lane_parts():
            for start, blocks, rows in self._row_parts(lane_extents, cols):
                dims = [*others, *([] if dma == lane else lane_dims), *([dma] if dma >= 0 else [])]
                extents = [self.box.extent[dim] for dim in others]
                extents += [] if dma == lane else lane_extents
                extents += [blocks] if dma >= 0 else []
                fixed = {lane: Index(lane_start)} if lane >= 0 else {}
                found.append(TransferNest(tuple(extents), self._leaf(kind, dims, fixed, start, rows, cols)))
        return found

    def _lane_parts(self) -> list[tuple[list[int], list[int], int, int]]:
        """(lane dims, extents in chunks, first chunk, columns): the full chunks, then the tail."""
        lane = self.group.lane_dim
        if lane < 0:
            return [([], [], 0, 1)]
        full, tail = divmod(self.box.extent[lane], LANES)
        parts = [([lane], [full], 0, LANES)] if full else []
        return [*parts, ([lane], [1], full, tail)] if tail else parts

    def _row_parts(self, lane_extents: list[int], cols: int) -> list[tuple[int, int, int]]:
        """(first row, blocks, rows a block) along the dimension that a transfer walks."""
        dma = self.layout.dma_dim
        if dma < 0:
            return [(0, 1, 1)]
        count = lane_extents[0] if dma == self.group.lane_dim else self.box.extent[dma]
        whole, rest = divmod(count, MAX_DMA_ROWS)
        parts = [(0, whole, MAX_DMA_ROWS)] if whole else []
        return [*parts, (whole * MAX_DMA_ROWS, 1, rest)] if rest else parts

    def _leaf(self, kind: str, dims: list[int], fixed: dict[int, Index], start: int, rows: int, cols: int) -> Leaf:
        dma = self.layout.dma_dim

        def leaf(indices: Sequence[Index]) -> ir.Value:
            at = dict(fixed)
            for dim, index in zip(dims, indices, strict=True):
                step = index.scaled(MAX_DMA_ROWS) + start if dim == dma else index
                at[dim] = at.get(dim, Index()) + step
            return self._transfer(kind, at, rows, cols)

        return leaf

    def _transfer(self, kind: str, at: dict[int, Index], rows: int, cols: int) -> ir.Value:
        """`at` counts along the lanes in chunks, elsewhere in positions relative to the box."""
        row, element = Index(), Index(self.offset)
        for dim, stride in enumerate(self.group.strides):
            relative = at.get(dim, Index())
            row = row + relative.scaled(self.layout.strides[dim])
            unit = LANES if dim == self.group.lane_dim else 1
            position = relative.scaled(unit) + self.box.low[dim] + self.outer[dim]
            element = element + position.scaled(stride)
        dim = self.layout.dma_dim
        pitch = cols
        if dim >= 0 and rows > 1:
            pitch = LANES if dim == self.group.lane_dim else self.group.strides[dim]
        return self.builder.dma(kind, self.tile, self.buffer, row, element, rows=rows, cols=cols, pitch=pitch)


@dataclass
class TransposedLoad:
    """Fills a tile whose lanes run along a dimension that is not contiguous in DRAM.

    A raw tile with that dimension as rows is loaded and turned in the transpose unit, 32x32 elements at a time.
    """

    builder: Builder
    group: AccessGroup
    box: Box
    layout: TileLayout
    outer: Sequence[Index]
    offset: int
    tile: ir.Value
    raw: ir.Value
    buffer: ir.Value

    def emit(self) -> None:
        lane = self.group.lane_dim
        contiguous = next(
            (
                dim
                for dim, stride in enumerate(self.group.strides)
                if stride == 1 and dim != lane and self.box.extent[dim] > 1
            ),
            -1,
        )
        width = min(LANES, self.group.lane_stride)
        others = [dim for dim in range(len(self.box.extent)) if dim not in (lane, contiguous)]
        self._others(others, {}, contiguous, width)

    def _others(self, dims: list[int], at: dict[int, Index], contiguous: int, width: int) -> None:
        if dims:
            self.builder.repeat(
                self.box.extent[dims[0]], lambda i: self._others(dims[1:], {**at, dims[0]: i}, contiguous, width)
            )
            return
        extent = self.box.extent[contiguous] if contiguous >= 0 else 1
        whole, rest = divmod(extent, width)
        self.builder.repeat(whole, lambda b: self._chunks({**at, contiguous: b.scaled(width)}, contiguous, width))
        if rest:
            self._chunks({**at, contiguous: Index(whole * width)}, contiguous, rest)

    def _chunks(self, at: dict[int, Index], contiguous: int, width: int) -> None:
        lane = self.group.lane_dim
        full, tail = divmod(self.box.extent[lane], LANES)
        self.builder.repeat(full, lambda j: self._turn({**at, lane: j}, contiguous, width, LANES))
        if tail:
            self._turn({**at, lane: Index(full)}, contiguous, width, tail)

    def _turn(self, at: dict[int, Index], contiguous: int, width: int, depth: int) -> None:
        """Transpose `depth` rows of `width` elements into `width` rows of the tile."""
        element, row = Index(self.offset), Index()
        for dim, stride in enumerate(self.group.strides):
            relative = at.get(dim, Index())
            unit = LANES if dim == self.group.lane_dim else 1
            element = element + (relative.scaled(unit) + self.box.low[dim] + self.outer[dim]).scaled(stride)
            row = row + relative.scaled(self.layout.strides[dim])
        token = self.builder.dma(
            "dma_load",
            self.raw,
            self.buffer,
            Index(),
            element,
            rows=depth,
            cols=width,
            pitch=self.group.lane_stride if depth > 1 else width,
        )
        self.builder.wait([token])
        for at_row in range(depth):
            self.builder.transpose_push(self.builder.tile_load(self.raw, Index(at_row), width))
        step = self.layout.strides[contiguous] if contiguous >= 0 else 0
        for at_col in range(LANES):
            column = self.builder.transpose_pop()
            if at_col < width:
                self.builder.tile_store(column, self.tile, row + at_col * step, depth)
