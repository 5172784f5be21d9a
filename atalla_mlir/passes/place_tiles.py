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
from atalla_mlir.kernels.transfers import TileTransfer, TransferNest, TransposedLoad, emit_transfers
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
        self._stripe()
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
        self.by_group = {item.group: item for item in self.groups.values()}
        by_region: dict[LoopRegion, list[Placement]] = {}
        for place in placements:
            by_region.setdefault(place.region, []).append(place)
        for region, members in by_region.items():
            self._place_region(region, members)

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
        forms = [(form.offset, [(variables[dim], form.coefficients[dim]) for dim in form.dims]) for form in mapped]
        positions = tuple(
            Position(constant, tuple((self.variables[variable], c) for variable, c in terms))
            for constant, terms in forms
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

    def _stripe(self) -> None:
        """Spread groups whose accesses walk a dimension side by side over two pads, which then serve them in turn."""
        self.groups = {
            (key, part): striped for key, item in self.groups.items() for part, striped in enumerate(_striped(item))
        }

    # Emission

    def _place_region(self, region: LoopRegion, places: Sequence[Placement]) -> None:
        """Tiles and transfers of everything that is placed at one region, then the accesses themselves."""
        block = self._region_block(region)
        loads = [place for place in places if not place.group.is_write]
        stores = [place for place in places if place.group.is_write]
        tiles = {id(place): self._tile(place) for place in places}
        if loads:
            with ir.InsertionPoint(self._first_use_of_all(loads, block)):
                self._emit_loads(loads, tiles)
        if stores:
            with ir.InsertionPoint(block.operations[len(block.operations) - 1]):
                emit_transfers(
                    self.builder, [nest for place in stores for nest in self._transfer(place, tiles).nests("dma_store")]
                )
        for place in places:
            inner = self._inner_variables(place)
            layout = choose_layout(place.group, place.box)
            for access in place.accesses:
                found = self.by_group[place.group].accesses[access]
                self._rewrite(found, place, layout, tiles[id(place)], inner)

    def _emit_loads(self, loads: Sequence[Placement], tiles: dict[int, ir.Value]) -> None:
        nests: list[TransferNest] = []
        for place in loads:
            if self._is_transposed(place.group) and self.raw is not None:
                transfer = self._transfer(place, tiles)
                TransposedLoad(
                    self.builder,
                    place.group,
                    place.box,
                    transfer.layout,
                    transfer.outer,
                    transfer.offset,
                    transfer.tile,
                    self.raw,
                    transfer.buffer,
                ).emit()
            else:
                nests.extend(self._transfer(place, tiles).nests("dma_load"))
        emit_transfers(self.builder, nests)

    def _tile(self, place: Placement) -> ir.Value:
        with ir.InsertionPoint.at_block_begin(self.block):
            return self.builder.alloc_tile(place.rows, place.pad, place.base)

    def _region_block(self, region: LoopRegion) -> ir.Block:
        return self.block if region is self.body else self.loops[region].regions[0].blocks[0]

    def _transfer(self, place: Placement, tiles: dict[int, ir.Value]) -> TileTransfer:
        arguments = {region: variable for variable, region in self.variables.items()}
        outer = [Index(0, tuple((arguments[loop], c) for loop, c in terms)) for terms in place.box.outer]
        item = self.by_group[place.group]
        layout = choose_layout(place.group, place.box)
        return TileTransfer(
            self.builder, place.group, place.box, layout, outer, item.offset, tiles[id(place)], item.buffer
        )

    def _first_use_of_all(self, loads: Sequence[Placement], block: ir.Block) -> ir.Operation:
        uses = [self._first_use(place, block, self.by_group[place.group]) for place in loads]
        return next(view.operation for view in block.operations if view.operation in uses)

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


STRIPES = 2
# Fewer accesses than this are not worth two tiles.
MIN_STRIPED_ACCESSES = 4


def _striped(item: _Group) -> list[_Group]:
    """The group as one per residue of the dimension that its accesses walk side by side, or itself alone."""
    group = item.group
    if len(group.accesses) < MIN_STRIPED_ACCESSES or _KernelPlacer._is_transposed(group):
        return [item]
    best, most = -1, 1
    for dim in range(len(group.strides)):
        if dim != group.lane_dim:
            spread = _spread(item, dim)
            if spread > most:
                best, most = dim, spread
    if best < 0:
        return [item]
    parts: list[_Group] = []
    for residue in range(STRIPES):
        strides = tuple(s * STRIPES if dim == best else s for dim, s in enumerate(group.strides))
        part = AccessGroup((group.key, residue), strides, group.lane_dim, group.lane_stride, group.is_write)
        new = _Group(part, item.buffer, item.offset + residue * group.strides[best])
        for access, found in item.accesses.items():
            if found.forms[best][0] % STRIPES == residue:
                _add_striped(new, access, found, best, residue)
        parts.append(new)
    return parts


def _spread(item: _Group, dim: int) -> int:
    """Distinct constants along `dim` if they fall evenly into the stripes whatever the loops do, else 0."""
    constants: set[int] = set()
    for found in item.accesses.values():
        constant, terms = found.forms[dim]
        if any(coefficient % STRIPES for _, coefficient in terms):
            return 0
        constants.add(constant)
    counts = [sum(constant % STRIPES == residue for constant in constants) for residue in range(STRIPES)]
    return len(constants) if min(counts) > 0 else 0


def _add_striped(new: _Group, access: TileAccess, found: _Access, dim: int, residue: int) -> None:
    position = access.positions[dim]
    moved = Position(
        (position.constant - residue) // STRIPES, tuple((loop, c // STRIPES) for loop, c in position.terms)
    )
    positions = (*access.positions[:dim], moved, *access.positions[dim + 1 :])
    constant, terms = found.forms[dim]
    forms = list(found.forms)
    forms[dim] = ((constant - residue) // STRIPES, [(variable, c // STRIPES) for variable, c in terms])
    striped = TileAccess(access.region, positions, access.cols)
    new.group.accesses.append(striped)
    new.accesses[striped] = _Access(found.op, striped, forms)


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
