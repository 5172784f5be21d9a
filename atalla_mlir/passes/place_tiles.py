"""`atalla-place-tiles`: bring the rows that kernels work on into the pads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from atalla_mlir._mlir import affine_forms, i64_attr, integer_value, ir, operations
from atalla_mlir.codegen.placement import (
    LANES,
    AccessGroup,
    LoopRegion,
    Placement,
    Position,
    TileAccess,
    TileLayout,
    choose_layout,
    choose_placements,
)
from atalla_mlir.errors import LimitError
from atalla_mlir.kernels.builder import Builder, Index
from atalla_mlir.kernels.transfers import TileTransfer, TransposedLoad
from atalla_mlir.passes.base import Pass, PassFailure
from atalla_mlir.target.machine import machine

# Rows per pad that the register allocator may spill to.
SPILL_ROWS = 256


@dataclass(frozen=True)
class PlaceTilesPass(Pass):
    """Replace loads and stores of DRAM rows by tiles in pads, filled and emptied by DMA

    Data is transferred at the outermost loop at which all tiles of the kernel fit. Rows whose lanes are not contiguous
    in DRAM pass through the transpose unit on the way.
    """

    machine: str = "ax01"
    """Parameter set that gives the number and size of the pads."""

    name: ClassVar[str] = "atalla-place-tiles"

    def run(self, op: ir.Operation) -> None:
        sizes = machine(self.machine)
        for kernel in operations(op, "atalla.kernel"):
            try:
                with kernel.location:
                    _KernelPlacer(kernel, sizes.pads, sizes.pad_rows - SPILL_ROWS).run()
            except LimitError as error:
                raise PassFailure(kernel, str(error)) from error


@dataclass
class _Access:
    op: ir.Operation
    access: TileAccess
    forms: list[tuple[int, list[tuple[ir.Value, int]]]]
    """Per dimension the constant and the (loop variable, coefficient) terms."""


@dataclass
class _Group:
    group: AccessGroup
    buffer: ir.Value
    offset: int
    accesses: dict[TileAccess, _Access] = field(default_factory=dict)


class _KernelPlacer:
    def __init__(self, kernel: ir.Operation, pads: int, pad_rows: int) -> None:
        self.kernel = kernel
        self.block = kernel.regions[0].blocks[0]
        self.pads, self.pad_rows = pads, pad_rows
        self.builder = Builder()
        self.body = LoopRegion(1, None)
        self.regions: dict[ir.Operation, LoopRegion] = {kernel: self.body}
        self.loops: dict[LoopRegion, ir.Operation] = {}
        self.variables: dict[ir.Value, LoopRegion] = {}
        self.groups: dict[object, _Group] = {}

    def run(self) -> None:
        self._collect(self.block, self.body)
        temporaries = operations(self.kernel, "atalla.alloc_tile")
        raw = [LANES] if any(self._is_transposed(item.group) for item in self.groups.values()) else []
        sizes = [integer_value(op.attributes["rows"]) for op in temporaries] + raw
        placements, homes = choose_placements(
            [item.group for item in self.groups.values()], self.body, sizes, pads=self.pads, pad_rows=self.pad_rows
        )
        for op, (pad, base) in zip(temporaries, homes, strict=False):
            op.attributes["pad"], op.attributes["base"] = i64_attr(pad), i64_attr(base)
        self.raw: ir.Value | None = None
        if raw:
            with ir.InsertionPoint.at_block_begin(self.block):
                self.raw = self.builder.alloc_tile(LANES, *homes[-1])
        by_group = {item.group: item for item in self.groups.values()}
        for place in placements:
            self._place(place, by_group[place.group])

    def _collect(self, block: ir.Block, region: LoopRegion) -> None:
        for view in block.operations:
            op = view.operation
            if op.name == "scf.for":
                inner = LoopRegion(_trip_count(op), region)
                self.regions[op], self.loops[inner] = inner, op
                body = op.regions[0].blocks[0]
                self.variables[body.arguments[0]] = inner
                self._collect(body, inner)
            elif op.name in ("atalla.load", "atalla.store"):
                self._add(op, region)

    def _add(self, op: ir.Operation, region: LoopRegion) -> None:
        is_write = op.name == "atalla.store"
        operands = list(op.operands)[1:] if is_write else list(op.operands)
        buffer, variables = operands[0], operands[1:]
        strides = tuple(ir.DenseI64ArrayAttr(op.attributes["strides"]))
        offset, lane_dim, lane_stride, cols = (
            integer_value(op.attributes[key]) for key in ("offset", "lane_dim", "lane_stride", "cols")
        )
        mapped = affine_forms(ir.AffineMapAttr(op.attributes["map"]).value) or ()
        forms = [
            (form.offset, [(variables[dim], form.coefficients[dim]) for dim in form.dims]) for form in mapped
        ]
        positions = tuple(
            Position(constant, tuple((self.variables[variable], c) for variable, c in terms)) for constant, terms in forms
        )
        access = TileAccess(region, positions, cols)
        key = (buffer, offset, strides, lane_dim, lane_stride, is_write)
        if key not in self.groups:
            group = AccessGroup(key, strides, lane_dim, lane_stride, is_write)
            self.groups[key] = _Group(group, buffer, offset)
        item = self.groups[key]
        item.group.accesses.append(access)
        item.accesses[access] = _Access(op, access, forms)

    @staticmethod
    def _is_transposed(group: AccessGroup) -> bool:
        return not group.is_write and group.lane_dim >= 0 and group.lane_stride != 1

    # Emission

    def _place(self, place: Placement, item: _Group) -> None:
        layout = choose_layout(place.group, place.box)
        with ir.InsertionPoint.at_block_begin(self.block):
            tile = self.builder.alloc_tile(place.rows, place.pad, place.base)
        self._transfer(place, item, layout, tile)
        inner = self._inner_variables(place)
        for access in place.accesses:
            self._rewrite(item.accesses[access], place, layout, tile, inner)

    def _region_block(self, region: LoopRegion) -> ir.Block:
        return self.block if region is self.body else self.loops[region].regions[0].blocks[0]

    def _transfer(self, place: Placement, item: _Group, layout: TileLayout, tile: ir.Value) -> None:
        block = self._region_block(place.region)
        arguments = {region: variable for variable, region in self.variables.items()}
        outer = [Index(0, tuple((arguments[loop], c) for loop, c in terms)) for terms in place.box.outer]
        common = (self.builder, place.group, place.box, layout, outer, item.offset, tile)
        if place.group.is_write:
            with ir.InsertionPoint(block.operations[len(block.operations) - 1]):
                TileTransfer(*common, item.buffer).emit("dma_store")
            return
        with ir.InsertionPoint(self._first_use(place, block, item)):
            if self._is_transposed(place.group) and self.raw is not None:
                TransposedLoad(*common, self.raw, item.buffer).emit()
            else:
                TileTransfer(*common, item.buffer).emit("dma_load")

    def _first_use(self, place: Placement, block: ir.Block, item: _Group) -> ir.Operation:
        """The operation of the region's block that holds the first access."""
        path = {id(region) for access in place.accesses for region in access.region.ancestors()}
        owned = {item.accesses[access].op for access in place.accesses}
        for view in block.operations:
            op = view.operation
            if op in owned or (op in self.regions and id(self.regions[op]) in path):
                return op
        return block.operations[len(block.operations) - 1].operation

    def _inner_variables(self, place: Placement) -> set[LoopRegion]:
        return {
            region
            for access in place.accesses
            for region in access.region.ancestors()[: access.region.ancestors().index(place.region)]
        }

    def _rewrite(
        self, found: _Access, place: Placement, layout: TileLayout, tile: ir.Value, inner: set[LoopRegion]
    ) -> None:
        row = Index()
        for dim, (constant, terms) in enumerate(found.forms):
            unit = LANES if dim == place.group.lane_dim else 1
            index = _local(constant - place.box.low[dim], terms, self.variables, inner, unit)
            row = row + index.scaled(layout.strides[dim])
        op = found.op
        with ir.InsertionPoint(op), op.location:
            if place.group.is_write:
                self.builder.tile_store(op.operands[0], tile, row, found.access.cols)
            else:
                op.results[0].replace_all_uses_with(self.builder.tile_load(tile, row, found.access.cols))
        op.erase()


def _local(
    constant: int,
    terms: Sequence[tuple[ir.Value, int]],
    variables: dict[ir.Value, LoopRegion],
    inner: set[LoopRegion],
    unit: int,
) -> Index:
    """The part of a position inside the tile, in units of rows (chunks of 32 along the lanes)."""
    kept = tuple((variable, c // unit) for variable, c in terms if variables[variable] in inner)
    return Index(constant // unit, kept)


def _trip_count(loop: ir.Operation) -> int:
    low, high, step = (integer_value(value.owner.operation.attributes["value"]) for value in list(loop.operands)[:3])
    return max(0, -(-(high - low) // step))
