"""Code that moves a box of a DRAM buffer into a tile or back, in transfers of up to 32 rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.placement import LANES, AccessGroup, Box, TileLayout
from atalla_mlir.kernels.builder import Builder, Index

MAX_DMA_ROWS = 32


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

    def emit(self, kind: str) -> None:
        """Emit all transfers; `kind` is `dma_load` or `dma_store`."""
        others = [dim for dim in range(len(self.box.extent)) if dim not in (self.layout.dma_dim, self.group.lane_dim)]
        self._others(kind, others, {})

    def _others(self, kind: str, dims: list[int], at: dict[int, Index]) -> None:
        if dims:
            self._loop(self.box.extent[dims[0]], lambda i: self._others(kind, dims[1:], {**at, dims[0]: i}))
        elif self.group.lane_dim < 0:
            self._rows(kind, at, 1)
        else:
            self._lanes(kind, at)

    def _lanes(self, kind: str, at: dict[int, Index]) -> None:
        lane = self.group.lane_dim
        full, tail = divmod(self.box.extent[lane], LANES)
        if self.layout.dma_dim == lane:
            self._row_blocks(kind, at, full, LANES)
        else:
            self._loop(full, lambda j: self._rows(kind, {**at, lane: j}, LANES))
        if tail:
            where = {**at, lane: Index(full)}
            if self.layout.dma_dim == lane:
                self._transfer(kind, where, 1, tail)
            else:
                self._rows(kind, where, tail)

    def _rows(self, kind: str, at: dict[int, Index], cols: int) -> None:
        dim = self.layout.dma_dim
        if dim < 0:
            self._transfer(kind, at, 1, cols)
        else:
            self._row_blocks(kind, at, self.box.extent[dim], cols)

    def _row_blocks(self, kind: str, at: dict[int, Index], count: int, cols: int) -> None:
        dim = self.layout.dma_dim
        whole, rest = divmod(count, MAX_DMA_ROWS)
        self._loop(whole, lambda b: self._transfer(kind, {**at, dim: b.scaled(MAX_DMA_ROWS)}, MAX_DMA_ROWS, cols))
        if rest:
            self._transfer(kind, {**at, dim: Index(whole * MAX_DMA_ROWS)}, rest, cols)

    def _transfer(self, kind: str, at: dict[int, Index], rows: int, cols: int) -> None:
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
        token = self.builder.dma(kind, self.tile, self.buffer, row, element, rows=rows, cols=cols, pitch=pitch)
        self.builder.wait([token])

    def _loop(self, extent: int, body: Callable[[Index], None]) -> None:
        def step(index: Index, _: list[ir.Value]) -> list[ir.Value]:
            body(index)
            return []

        self.builder.loop(extent, [], step)


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
            self._loop(self.box.extent[dims[0]], lambda i: self._others(dims[1:], {**at, dims[0]: i}, contiguous, width))
            return
        extent = self.box.extent[contiguous] if contiguous >= 0 else 1
        whole, rest = divmod(extent, width)
        self._loop(whole, lambda b: self._chunks({**at, contiguous: b.scaled(width)}, contiguous, width))
        if rest:
            self._chunks({**at, contiguous: Index(whole * width)}, contiguous, rest)

    def _chunks(self, at: dict[int, Index], contiguous: int, width: int) -> None:
        lane = self.group.lane_dim
        full, tail = divmod(self.box.extent[lane], LANES)
        self._loop(full, lambda j: self._turn({**at, lane: j}, contiguous, width, LANES))
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

    def _loop(self, extent: int, body: Callable[[Index], None]) -> None:
        def step(index: Index, _: list[ir.Value]) -> list[ir.Value]:
            body(index)
            return []

        self.builder.loop(extent, [], step)

