"""`atalla-place-tiles`: bring the rows that kernels work on into the pads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from atalla_mlir._mlir import affine_forms, create_op, functions, i64_attr, integer_value, ir, operations
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
from atalla_mlir.kernels.affine_index import Index, constant_index
from atalla_mlir.kernels.attributes import IMAGE, OVERLAP, PLACED, TURNS
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.image_attributes import FREE_ROWS
from atalla_mlir.kernels.transfers import TileTransfer, TransferNest, TransposedLoad, emit_transfers, start_transfers
from atalla_mlir.passes.access_groups import FoundAccess, FoundGroup, cut_pieces, is_transposed, striped
from atalla_mlir.passes.base import Pass, PassFailure
from atalla_mlir.target.machine import Machine, machine

# Iterations of a loop that counts them where it runs; nothing that is placed here lies in one.
UNKNOWN_TRIPS = 2
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
        for kernel in functions(op, "atalla.kernel"):
            try:
                with kernel.location:
                    _KernelPlacer(kernel, sizes.pads, _own_rows(kernel, sizes)).run()
            except LimitError as error:
                raise PassFailure(kernel, str(error)) from error


def _own_rows(kernel: ir.Operation, sizes: Machine) -> int:
    """Rows of each pad for tiles: fewer where images stay in the pads."""
    if FREE_ROWS in kernel.attributes:
        return integer_value(kernel.attributes[FREE_ROWS])
    return sizes.pad_rows - SPILL_ROWS


@dataclass
class _StreamState:
    """What a streaming loop carries: the index of the next iteration, a pair of tiles per placement, and tokens of the
    loads for this iteration, of the stores from the tiles in turn, and of the stores from their twins."""

    loads: list[Placement]
    stores: list[Placement]

    def pack(
        self,
        following: ir.Value,
        tiles: dict[int, tuple[ir.Value, ir.Value]],
        loaded: Sequence[ir.Value],
        stored: Sequence[ir.Value],
        older: Sequence[ir.Value],
    ) -> list[ir.Value]:
        self.sizes = (len(loaded), len(stored), len(older))
        pairs = [tile for place in (*self.loads, *self.stores) for tile in tiles[id(place)]]
        return [following, *pairs, *loaded, *stored, *older]

    def unpack(
        self, values: Sequence[ir.Value]
    ) -> tuple[ir.Value, dict[int, tuple[ir.Value, ir.Value]], list[ir.Value], list[ir.Value], list[ir.Value]]:
        rest = iter(values)
        following = next(rest)
        tiles = {id(place): (next(rest), next(rest)) for place in (*self.loads, *self.stores)}
        loaded, stored, older = ([next(rest) for _ in range(size)] for size in self.sizes)
        return following, tiles, loaded, stored, older


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
        self.groups: dict[object, FoundGroup] = {}
        self.renamed: dict[ir.Value, ir.Value] = {}
        """Loop variables that were replaced, with what replaced them."""

    def run(self) -> None:
        self._collect(self.block, self.body)
        self._cut()
        self._stripe()
        allocated = operations(self.kernel, "atalla.alloc_tile")
        temporaries = [op for op in allocated if PLACED not in op.attributes]
        taken = [0] * self.pads
        for op in allocated:
            if PLACED in op.attributes and IMAGE not in op.attributes:
                pad, base, rows = (integer_value(op.attributes[key]) for key in ("pad", "base", "rows"))
                taken[pad] = max(taken[pad], base + rows)
        raw = [LANES] if any(is_transposed(item.group) for item in self.groups.values()) else []
        sizes = [integer_value(op.attributes["rows"]) for op in temporaries] + raw
        placements, homes = choose_placements(
            [item.group for item in self.groups.values()], self.body, sizes, taken, pad_rows=self.pad_rows
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
                inner = LoopRegion(_trip_count(op), region, len(op.results) > 0, OVERLAP in op.attributes)
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
            self.groups[key] = FoundGroup(group, buffer, offset)
        item = self.groups[key]
        item.group.accesses.append(access)
        item.accesses[access] = FoundAccess(op, access, forms)

    def _cut(self) -> None:
        """Give what overlapping loops move in one transfer a tile of its own, so that pads work side by side."""
        self.groups = {
            (key, part): piece for key, item in self.groups.items() for part, piece in enumerate(cut_pieces(item))
        }

    def _stripe(self) -> None:
        """Spread groups whose accesses walk a dimension side by side over two pads, which then serve them in turn."""
        self.groups = {
            (key, part): stripe for key, item in self.groups.items() for part, stripe in enumerate(striped(item))
        }

    # Emission

    def _place_region(self, region: LoopRegion, places: Sequence[Placement]) -> None:
        """Tiles and transfers of everything that is placed at one region, then the accesses themselves."""
        streamed = [place for place in places if place.is_streamed]
        if streamed:
            self._stream(region, streamed)
        fixed = [place for place in places if not place.is_streamed]
        block = self._region_block(region)
        loads = [place for place in fixed if not place.group.is_write]
        stores = [place for place in fixed if place.group.is_write]
        tiles = {id(place): self._tile(place, 0) for place in fixed}
        if loads:
            with ir.InsertionPoint(self._first_use_of_all(loads, block)):
                self._emit_loads(loads, tiles)
        if stores:
            with ir.InsertionPoint(block.operations[len(block.operations) - 1]):
                emit_transfers(
                    self.builder, [nest for place in stores for nest in self._transfer(place, tiles).nests("dma_store")]
                )
        for place in fixed:
            self._rewrite_accesses(place, tiles[id(place)])

    def _rewrite_accesses(self, place: Placement, tile: ir.Value) -> None:
        inner = self._inner_variables(place)
        layout = choose_layout(place.group, place.box)
        for access in place.accesses:
            self._rewrite(self.by_group[place.group].accesses[access], place, layout, tile, inner)

    # Streaming: two tiles for each placement, transfers under the computation of other iterations

    def _stream(self, region: LoopRegion, places: Sequence[Placement]) -> None:
        """Make the loop of `region` fetch what its next iteration reads and store what its last one wrote."""
        loads = [place for place in places if not place.group.is_write]
        stores = [place for place in places if place.group.is_write]
        old = self.loops[region]
        pairs = {id(place): (self._tile(place, 0), self._tile(place, 1)) for place in places}
        state = _StreamState(loads, stores)
        with ir.InsertionPoint(old):
            first = {id(place): pairs[id(place)][0] for place in loads}
            tokens = start_transfers(self.builder, self._nests(loads, first, "dma_load", {region: None}))
            first_stores = {id(place): pairs[id(place)][0] for place in stores}
            idle = [self.builder.ready() for _ in self._nests(stores, first_stores, "dma_store", {region: None})]
            initial = state.pack(self.builder.index_constant(1), pairs, tokens, idle, idle)
            new = self._replace_loop(region, old, initial)
        block = new.regions[0].blocks[0]
        following, tiles, loaded, stored, older = state.unpack(list(block.arguments)[1:])
        current = {key: pair[0] for key, pair in tiles.items()}
        other = {key: pair[1] for key, pair in tiles.items()}
        with ir.InsertionPoint.at_block_begin(block):
            self.builder.wait([*loaded, *stored])
            fetched = start_transfers(self.builder, self._nests(loads, other, "dma_load", {region: following}))
            after = self.builder.next_index(following, region.extent - 1)
        terminator = block.operations[len(block.operations) - 1].operation
        with ir.InsertionPoint(terminator):
            sent = start_transfers(self.builder, self._nests(stores, current, "dma_store", {}))
            swapped = {key: (pair[1], pair[0]) for key, pair in tiles.items()}
            create_op("scf.yield", [], state.pack(after, swapped, fetched, older, sent))
        terminator.erase()
        for place in places:
            self._rewrite_accesses(place, current[id(place)])
        _, _, last_loaded, last_stored, last_older = state.unpack(list(new.results))
        with ir.InsertionPoint.after(new):
            self.builder.wait([*last_loaded, *last_stored, *last_older])

    def _replace_loop(self, region: LoopRegion, old: ir.Operation, initial: Sequence[ir.Value]) -> ir.Operation:
        """The loop `old`, which carries nothing, as one that carries values from `initial` on, without its yield."""
        new = create_op("scf.for", [value.type for value in initial], [*list(old.operands)[:3], *initial], regions=1)
        types = [self.builder.index_type, *(value.type for value in initial)]
        block = ir.Block.create_at_start(new.regions[0], types, [old.location] * len(types))
        old_block = old.regions[0].blocks[0]
        for view in list(old_block.operations):
            block.append(view.operation)
        counter = old_block.arguments[0]
        counter.replace_all_uses_with(block.arguments[0])
        self.renamed[counter] = block.arguments[0]
        del self.variables[counter]
        self.variables[block.arguments[0]] = region
        self.loops[region] = new
        self.regions[new] = self.regions.pop(old)
        old.erase()
        return new

    def _nests(
        self,
        places: Sequence[Placement],
        tiles: dict[int, ir.Value],
        kind: str,
        iteration: dict[LoopRegion, ir.Value | None],
    ) -> list[TransferNest]:
        return [nest for place in places for nest in self._transfer(place, tiles, iteration).nests(kind)]

    def _emit_loads(self, loads: Sequence[Placement], tiles: dict[int, ir.Value]) -> None:
        nests: list[TransferNest] = []
        for place in loads:
            if is_transposed(place.group) and self.raw is not None:
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

    def _tile(self, place: Placement, copy: int) -> ir.Value:
        with ir.InsertionPoint.at_block_begin(self.block):
            tile = self.builder.alloc_tile(place.rows, place.pad, place.base + copy * place.rows)
        if place.group.home is not None:
            tile.owner.operation.attributes[TURNS] = i64_attr(2)
        return tile

    def _region_block(self, region: LoopRegion) -> ir.Block:
        return self.block if region is self.body else self.loops[region].regions[0].blocks[0]

    def _transfer(
        self,
        place: Placement,
        tiles: dict[int, ir.Value],
        iteration: dict[LoopRegion, ir.Value | None] | None = None,
    ) -> TileTransfer:
        """`iteration` replaces the variables of loops: by another index, or (None) by their first iteration."""
        arguments: dict[LoopRegion, ir.Value | None] = {region: variable for variable, region in self.variables.items()}
        arguments.update(iteration or {})
        outer = [
            Index(0, tuple((variable, c) for loop, c in terms if (variable := arguments[loop]) is not None))
            for terms in place.box.outer
        ]
        item = self.by_group[place.group]
        layout = choose_layout(place.group, place.box)
        return TileTransfer(
            self.builder, place.group, place.box, layout, outer, item.offset, tiles[id(place)], item.buffer
        )

    def _first_use_of_all(self, loads: Sequence[Placement], block: ir.Block) -> ir.Operation:
        uses = [self._first_use(place, block, self.by_group[place.group]) for place in loads]
        return next(view.operation for view in block.operations if view.operation in uses)

    def _first_use(self, place: Placement, block: ir.Block, item: FoundGroup) -> ir.Operation:
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
        self, found: FoundAccess, place: Placement, layout: TileLayout, tile: ir.Value, inner: set[LoopRegion]
    ) -> None:
        row = Index()
        for dim, (constant, terms) in enumerate(found.forms):
            unit = LANES if dim == place.group.lane_dim else 1
            current = [(self.renamed.get(variable, variable), c) for variable, c in terms]
            index = _local(constant - place.box.low[dim], current, self.variables, inner, unit)
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
    low, high, step = (constant_index(value) for value in list(loop.operands)[:3])
    if low is None or high is None or step is None:
        return UNKNOWN_TRIPS
    return max(0, -(-(high - low) // step))
