"""Operations of `atalla` on tiles and transfers to `ax01` instructions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from atalla_mlir._mlir import integer_value, ir, string_attr, string_value
from atalla_mlir.codegen.machine_ir import ANY_OBJECT, DMA_SHAPE
from atalla_mlir.kernels.affine_index import constant_index
from atalla_mlir.kernels.arenas import Tile
from atalla_mlir.kernels.attributes import BARE
from atalla_mlir.kernels.integer_instructions import Handler
from atalla_mlir.kernels.pointers import Pointer
from atalla_mlir.target.encoding import DmaShape
from atalla_mlir.target.registers import RegisterFile

if TYPE_CHECKING:
    from atalla_mlir.kernels.instructions import KernelLowering


def _tile_load(lowering: KernelLowering, op: ir.Operation) -> None:
    pointer, near = lowering.pointers.tile_address(op, "map", 0)
    tile = lowering.arenas.tiles[op.operands[0]]
    lowering.values[op.results[0]] = lowering.b.vreg_ld(
        lowering.pointers.register(pointer),
        _row_offset(lowering, near),
        integer_value(op.attributes["cols"]) - 1,
        tile.pad,
        memory=string_attr(_memory(lowering, op, op.operands[0], "map", 1, 1, write=False)),
    )


def _tile_store(lowering: KernelLowering, op: ir.Operation) -> None:
    pointer, near = lowering.pointers.tile_address(op, "map", 1)
    tile = lowering.arenas.tiles[op.operands[1]]
    lowering.b.vreg_st(
        lowering.values[op.operands[0]],
        lowering.pointers.register(pointer),
        _row_offset(lowering, near),
        integer_value(op.attributes["cols"]) - 1,
        tile.pad,
        memory=string_attr(_memory(lowering, op, op.operands[1], "map", 1, 2, write=True)),
    )


def _row_offset(lowering: KernelLowering, rows: int) -> ir.Value:
    """Loops of products address many rows with few pointers: x0 would be read in every other packet."""
    if rows or not lowering.multiplies:
        return lowering.constants.integer(rows)
    zero = lowering.constants.zero()
    return lowering.constants.zero() if zero == lowering.constants.x0 else zero


def _dma_load(lowering: KernelLowering, op: ir.Operation) -> None:
    _dma(lowering, op, is_load=True)


def _dma_store(lowering: KernelLowering, op: ir.Operation) -> None:
    _dma(lowering, op, is_load=False)


def _dma(lowering: KernelLowering, op: ir.Operation, *, is_load: bool) -> None:
    rows, cols, pitch = (integer_value(op.attributes[key]) for key in ("rows", "cols", "pitch"))
    pad_pointer, near = lowering.pointers.tile_address(op, "tile_map", 0)
    dram_pointer, distance, others = lowering.pointers.dram_address(op)
    shape = DmaShape(lowering.arenas.tiles[op.operands[0]].pad, rows, cols, pitch)
    # a register of its own: it is busy until the transfer ends
    pad_base, pad_offset = lowering.pointers.register(pad_pointer), near * lowering.machine.row_bytes
    pad_address = lowering.constants.plus(pad_base, pad_offset) if pad_offset else lowering.b.addi_s(pad_base, 0)
    dram_address = lowering.constants.plus(lowering.pointers.register(dram_pointer), distance)
    dram_address = lowering.pointers.with_others(dram_address, others)
    metadata = lowering.constants.integer(shape.encode())
    tile_memory = _memory(lowering, op, op.operands[0], "tile_map", rows, 2, write=is_load)
    dram_memory = f"{'read' if is_load else 'write'} dram:b{lowering.buffers[op.operands[1]]}[?:?]"
    transfer = lowering.b.scpad_ld if is_load else lowering.b.scpad_st
    token = transfer(pad_address, dram_address, metadata, memory=string_attr(f"{tile_memory}, {dram_memory}"))
    lowering.values[op.results[0]] = token
    waited = _memory(lowering, op, op.operands[0], "tile_map", rows, 2, write=True).replace("write", "wait", 1)
    if any(use.owner.name == "atalla.tile_at" for use in op.operands[0].uses):
        waited = f"wait pad{shape.pad}:{ANY_OBJECT}[?:?]"  # parts have names of their own
    lowering.token_memory[op.results[0]] = waited


def _memory(
    lowering: KernelLowering, op: ir.Operation, tile: ir.Value, key: str, rows: int, variables: int, *, write: bool
) -> str:
    """What a tile access touches, for the scheduler: exact rows where no loop moves them."""
    info = lowering.arenas.tiles[tile]
    constant, terms = lowering.pointers.form(op, key, variables)
    bounds = "?:?" if terms else f"{constant}:{constant + rows}"
    return f"{'write' if write else 'read'} pad{info.pad}:{info.name}[{bounds}]"


def _ready(lowering: KernelLowering, op: ir.Operation) -> None:
    lowering.values[op.results[0]] = lowering.constants.x0


def _buffer_address(lowering: KernelLowering, op: ir.Operation) -> None:
    lowering.values[op.results[0]] = lowering.values[op.operands[0]]


_TRANSFERS = frozenset({"atalla.fetch", "atalla.send"})


def _tile_at(lowering: KernelLowering, op: ir.Operation) -> None:
    tile = op.operands[0]
    info = lowering.arenas.tiles[tile]
    base = lowering.pointers.register(Pointer(tile, 0, frozenset()))
    part = string_value(op.attributes["part"])
    name = ANY_OBJECT if part == ANY_OBJECT else f"{info.name}.{part}"
    lowering.arenas.tiles[op.results[0]] = Tile(info.pad, info.base, info.rows, name)
    users = [use.owner.operation.name for use in op.results[0].uses]
    if constant_index(op.operands[1]) == 0 and len(users) == 1 and users[0] in _TRANSFERS:
        lowering.values[op.results[0]] = base  # the transfer makes an address of its own of it
    else:
        # loads and stores find a copy, which is in use for less long
        lowering.values[op.results[0]] = lowering.b.add_s(base, lowering.index(op.operands[1]))


def _fetch(lowering: KernelLowering, op: ir.Operation) -> None:
    _transfer(lowering, op, is_load=True)


def _send(lowering: KernelLowering, op: ir.Operation) -> None:
    _transfer(lowering, op, is_load=False)


def _transfer(lowering: KernelLowering, op: ir.Operation, *, is_load: bool) -> None:
    tile, offset, address, metadata = list(op.operands)[:4]
    info = lowering.arenas.tiles[tile]
    base = lowering.pointers.register(Pointer(tile, 0, frozenset()))
    pad_address = base if constant_index(offset) == 0 else lowering.b.add_s(base, lowering.index(offset))
    tile_access, dram_access = ("write", "read") if is_load else ("read", "write")
    touched = [f"{tile_access} pad{info.pad}:{info.name}[?:?]"]
    touched += [f"{dram_access} dram:b{lowering.buffers[buffer]}[?:?]" for buffer in list(op.operands)[4:]]
    issue = lowering.b.scpad_ld if is_load else lowering.b.scpad_st
    memory = string_attr(", ".join(touched))
    token = issue(pad_address, lowering.index(address), lowering.index(metadata), memory=memory)
    rows, cols = (integer_value(op.attributes[key]) for key in ("rows", "cols"))
    token.owner.operation.attributes[DMA_SHAPE] = lowering.b.integer(DmaShape(info.pad, rows, cols, cols).encode())
    lowering.values[op.results[0]] = token
    # the rows may be parts of a tile with names of their own
    lowering.token_memory[op.results[0]] = f"wait pad{info.pad}:{ANY_OBJECT}[?:?]"


def _wait(lowering: KernelLowering, op: ir.Operation) -> None:
    """Reading the address register waits for the transfer; the rows count as written from here on."""
    anything = ", ".join(f"wait pad{pad}:{ANY_OBJECT}[?:?]" for pad in lowering.arenas.bases)
    for token in op.operands:
        if lowering.values[token] == lowering.constants.x0:
            continue
        memory = None if BARE in op.attributes else string_attr(lowering.token_memory[token] or anything)
        lowering.b.addi_s(lowering.values[token], 0, into=lowering.b.pinned(RegisterFile.SCALAR, 0), memory=memory)


def _no_code(lowering: KernelLowering, op: ir.Operation) -> None:
    """Tiles are places, not instructions."""


HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        "alloc_tile": _no_code,
        "tile_load": _tile_load,
        "tile_store": _tile_store,
        "dma_load": _dma_load,
        "dma_store": _dma_store,
        "ready": _ready,
        "buffer_address": _buffer_address,
        "tile_at": _tile_at,
        "fetch": _fetch,
        "send": _send,
        "wait": _wait,
    }
)
"""Name of an operation -> what lowers it."""
