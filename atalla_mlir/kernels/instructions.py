"""`atalla` kernels to `ax01` instructions: rows become vector registers, tiles become addresses.

Addresses are strength-reduced: every access that depends on the same loop variables in the same way shares one
pointer register, which each loop carries and increments; what is constant goes into the row offset of the access.
The kernel asks the firmware for one arena per pad on entry and gives it back at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import ml_dtypes
import numpy as np

from atalla_mlir._mlir import affine_forms, i64_array_attr, integer_value, ir, operations, string_attr, string_value
from atalla_mlir.codegen.machine_ir import ANY_OBJECT, DMA_SHAPE, SPARE_MARK, TURNS_MARK
from atalla_mlir.dialects.ax01_builder import Builder, Loop
from atalla_mlir.dialects.module_attributes import PAD_ROWS
from atalla_mlir.errors import InternalError, LimitError
from atalla_mlir.kernels.attributes import BARE, FIRST_LANE, IN_TURN, OVERLAP, SPARE, TURNS
from atalla_mlir.kernels.integer_instructions import COUNTER_OPERANDS, WORD_ACCESSES, WORD_BYTES
from atalla_mlir.kernels.integer_instructions import HANDLERS as INTEGER_HANDLERS
from atalla_mlir.target.encoding import IMM12, IMM25U, DmaShape
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import ALL_ONES_MASK, ARGUMENT_BASE, FIRMWARE_TABLE, LINK, RESULT, RegisterFile

ALLOCATE, FREE, PANIC = "spad_alloc", "spad_free", "panic"
PAGES_EXHAUSTED = 1
"""Low byte of the code that a kernel passes to `panic` when a pad has no free run; the pad is in the next byte."""
MAX_ARGUMENTS = FIRMWARE_TABLE + 252 - ARGUMENT_BASE
SPILL_PAGES = 2
# Row offsets up to here are constants in registers that all accesses share; the rest goes into the pointers. Kernels
# whose pointers would take too many registers, as each loop around another keeps its own, share larger ones.
SHARED_OFFSETS = 64
LARGEST_SHARED_OFFSETS = 4096
MAX_POINTERS = 160
NUM_ZEROS = 4
BROADCAST = 0x40
_REDUCTIONS = {"add": "rsum_vi", "max": "rmax_vi", "min": "rmin_vi"}
_COMPARISONS = {"gt": "mgt", "lt": "mlt", "eq": "meq", "ne": "mneq"}
_INDEX_ARITHMETIC = {
    "arith.addi": "add_s",
    "arith.subi": "sub_s",
    "arith.muli": "mul_s",
    "arith.andi": "and_s",
    "arith.xori": "xor_s",
    "arith.ori": "or_s",
    "arith.shrui": "srl_s",
    "arith.shrsi": "sra_s",
}
_INDEX_LIMITS = ("arith.minsi", "arith.maxsi")
_SCALAR, _VECTOR, _MASK = RegisterFile.SCALAR, RegisterFile.VECTOR, RegisterFile.MASK


@dataclass(frozen=True)
class Pointer:
    """A byte address: of `root` (a tile or a DRAM buffer) plus `offset` plus sum(coefficient * variable), in bytes.

    `turn`: of a tile that exists twice, the half whose turn it is; rows and transfers have a pointer each, as their
    turns end at different times.
    """

    root: ir.Value
    offset: int
    terms: frozenset[tuple[ir.Value, int]]
    turn: str = ""

    def without(self, variable: ir.Value) -> Pointer:
        return Pointer(self.root, self.offset, frozenset(term for term in self.terms if term[0] != variable))

    def step(self, variable: ir.Value) -> int:
        return next((coefficient for term, coefficient in self.terms if term == variable), 0)


@dataclass
class _Tile:
    pad: int
    base: int
    rows: int
    name: str
    turns: int = 1
    """How many times it exists; iterations of a loop use them in turn."""


class KernelLowering:
    """Lowers one `atalla.kernel` to an `ax01.func` at the builder's insertion point."""

    def __init__(self, kernel: ir.Operation, builder: Builder, machine: Machine) -> None:
        self.kernel = kernel
        self.b = builder
        self.machine = machine
        self.values: dict[ir.Value, ir.Value] = {}
        self.tiles: dict[ir.Value, _Tile] = {}
        self.buffers: dict[ir.Value, int] = {}
        self.arenas: dict[int, ir.Value] = {}
        self.pages: dict[int, int] = {}
        self.constants: dict[int, ir.Value] = {}
        self.lane_masks: dict[int, ir.Value] = {}
        self.zeros: list[ir.Value] = []
        self.rows_made = 0
        self.multiplies = any(True for _ in operations(kernel, "atalla.gemm"))
        self.zero_rows: list[ir.Value] = []
        self.one_row: ir.Value | None = None
        self.pointers: list[dict[Pointer, ir.Value]] = [{}]
        self.shared_offsets = SHARED_OFFSETS
        self.turn_sums: dict[Pointer, ir.Value] = {}
        self.token_memory: dict[ir.Value, str] = {}
        """What a token's transfer touches; empty for tokens that loops carry, which stand for anything."""
        self.token_type = ir.Type.parse("!atalla.token")
        self.handlers: dict[str, Callable[[ir.Operation], None]] = {
            name.removeprefix("_lower_"): getattr(self, name) for name in dir(self) if name.startswith("_lower_")
        }
        self.handlers.update({name: partial(lower, self) for name, lower in INTEGER_HANDLERS.items()})

    def lower(self) -> None:
        block = self.kernel.regions[0].blocks[0]
        name = string_value(self.kernel.attributes["kernel"])
        if len(block.arguments) > MAX_ARGUMENTS:
            raise LimitError(
                f"kernel {name} has {len(block.arguments)} buffers, at most {MAX_ARGUMENTS} fit in registers"
            )
        with self.b.function(name) as function:
            self._fixed_registers(block)
            self.top = self.link.owner.operation
            self._collect_tiles()
            self._choose_shared_offsets(block)
            self._allocate_pads()
            self._block(block)
            self._free_pads()
            pages = [self.pages.get(pad, 0) for pad in range(self.machine.pads)]
            function.attributes[PAD_ROWS] = i64_array_attr([count * self.machine.page_rows for count in pages])
            self.b.jalr(self.link, 0, into=self.b.pinned(_SCALAR, 0))
            self._panics()

    # Entry and exit

    def _fixed_registers(self, block: ir.Block) -> None:
        self.x0 = self.b.get_register(_SCALAR, 0)
        self.v0 = self.b.get_register(_VECTOR, 0)
        self.m0 = self.b.get_register(_MASK, 0)
        self.m1 = self.b.get_register(_MASK, ALL_ONES_MASK)
        self.constants[0] = self.x0
        self.link = self._taken(LINK)
        for argument in block.arguments:
            self.values[argument] = self._taken(ARGUMENT_BASE + argument.arg_number)
            self.buffers[argument] = argument.arg_number

    def _taken(self, number: int) -> ir.Value:
        """The present content of a scalar register, in a virtual one."""
        return self.b.copy(self.b.get_register(_SCALAR, number), self.b.types[_SCALAR])

    def _collect_tiles(self) -> None:
        for at, op in enumerate(operations(self.kernel, "atalla.alloc_tile")):
            pad, base, rows = (integer_value(op.attributes[key]) for key in ("pad", "base", "rows"))
            turns = integer_value(op.attributes[TURNS]) if TURNS in op.attributes else 1
            marks = (f"{TURNS_MARK}{turns}" if turns > 1 else "") + (SPARE_MARK if SPARE in op.attributes else "")
            self.tiles[op.results[0]] = _Tile(pad, base, rows, f"t{at}{marks}", turns)
        for tile in self.tiles.values():
            needed = -(-(tile.base + tile.turns * tile.rows) // self.machine.page_rows)
            self.pages[tile.pad] = max(self.pages.get(tile.pad, 0), needed)

    def _argument(self, position: int, value: int | ir.Value) -> None:
        into = self.b.pinned(_SCALAR, ARGUMENT_BASE + position)
        if isinstance(value, int):
            self.b.addi_s(self.x0, value, into=into)
        else:
            self.b.copy(value, into)

    def _allocate_pads(self) -> None:
        spill_pad = min(self.pages, key=lambda pad: self.pages[pad], default=0)
        for pad in sorted({*self.pages, spill_pad}):
            pages = self.pages.get(pad, 0) + (SPILL_PAGES if pad == spill_pad else 0)
            for position, value in enumerate((pad, pages, 0)):
                self._argument(position, value)
            self.b.call(ALLOCATE)
            self.arenas[pad] = self.b.beq_s(self._taken(RESULT), self.integer(-1), f"exhausted{pad}", 0)
            if pad == spill_pad:
                self._spill_area(pad)
            self.pages[pad] = pages

    def _spill_area(self, pad: int) -> None:
        offset = self.pages.get(pad, 0) * self.machine.page_bytes
        base = self._plus(self.arenas[pad], offset) if offset else self.b.addi_s(self.arenas[pad], 0)
        op = base.owner.operation
        op.attributes["atalla.spill_rows"] = self.b.integer(SPILL_PAGES * self.machine.page_rows)
        op.attributes["atalla.spill_pad"] = self.b.integer(pad)

    def _free_pads(self) -> None:
        for pad, base in self.arenas.items():
            for position, value in enumerate((pad, base, self.pages[pad])):
                self._argument(position, value)
            self.b.call(FREE)

    def _panics(self) -> None:
        """Where the branches after `spad_alloc` go when there are no pages; `panic` does not return."""
        for pad in self.arenas:
            self.b.label(f"exhausted{pad}")
            self._argument(0, PAGES_EXHAUSTED | pad << 8)
            self.b.call(PANIC)
            self.b.jalr(self.x0, 0, into=self.b.pinned(_SCALAR, 0))

    # Constants, made once at the top of the function

    def _at_top(self, make: Callable[[], ir.Value]) -> ir.Value:
        outer, self.b.ip = self.b.ip, ir.InsertionPoint(self.top)
        try:
            return make()
        finally:
            self.b.ip = outer

    def integer(self, value: int) -> ir.Value:
        if value not in self.constants:
            self.constants[value] = self._at_top(lambda: self._load_immediate(value))
        return self.constants[value]

    def _load_immediate(self, value: int) -> ir.Value:
        """`addi.s`, or `lui.s` and, unless the low seven bits are 0, `addi.s`."""
        if IMM12.fits(value):
            return self.b.addi_s(self.x0, value)
        low = value & 0x7F
        upper = self.b.lui_s((value >> 7) & IMM25U.maximum)
        return self.b.addi_s(upper, low) if low else upper

    def float_bits(self, value: float) -> int:
        bits = int(np.asarray(value, np.float32).astype(ml_dtypes.bfloat16).view(np.uint16))
        return bits << 16

    def lane_mask(self, bits: int) -> ir.Value:
        if bits == 0xFFFFFFFF:
            return self.m0
        if bits not in self.lane_masks:
            source = self.integer(bits)
            self.lane_masks[bits] = self._at_top(lambda: self.b.mv_stm(source))
        return self.lane_masks[bits]

    def low_lanes(self, count: int) -> ir.Value:
        return self.lane_mask((1 << count) - 1)

    # Blocks and loops

    def _block(self, block: ir.Block) -> None:
        for view in block.operations:
            op = view.operation
            self.b.loc = op.location
            name = op.name
            if name == "scf.for":
                self._loop(op)
            elif name.startswith("atalla.") and name[7:] in self.handlers:
                self.handlers[name[7:]](op)
            elif name in _INDEX_ARITHMETIC:
                self._index_arithmetic(op)
            elif name in _INDEX_LIMITS:
                self._index_limit(op)
            elif name not in ("arith.constant", "scf.yield", "atalla.end"):
                raise InternalError(f"operation {name} in a kernel has no lowering")

    def _loop(self, op: ir.Operation) -> None:
        body = op.regions[0].blocks[0]
        variable = body.arguments[0]
        low, high, step = (_constant(bound) for bound in list(op.operands)[:3])
        if low != 0 or step != 1:
            raise InternalError(f"a loop from {low} by {step}; loops of kernels count from 0 by 1")
        pointers = self._pointers_in(body)
        for pointer in pointers:
            if (
                not pointer.step(variable)
                and not pointer.turn
                and (pointer.root in self.tiles or pointer.root in self.buffers)
            ):
                self._pointer(pointer)
        needed = [pointer for pointer in pointers if pointer.step(variable) or pointer.turn]
        inits = [self._initial(value) for value in list(op.operands)[3:]]
        starts = [self._pointer(pointer.without(variable)) for pointer in needed]
        self.turn_sums.update({p: self._turn_sum(p, start) for p, start in zip(needed, starts, strict=True) if p.turn})
        trip_count = self._index(op.operands[1]) if high is None else self.integer(high)
        carried_rows = [self._virtual(value) for value in inits]
        for argument, value in zip(list(body.arguments)[1:], list(op.operands)[3:], strict=True):
            self._carry(argument, value)
        counter = [self.b.addi_s(self.x0, 0)] if _is_computed_with(variable) else []
        with self.b.loop(trip_count, [*carried_rows, *starts, *counter]) as loop:
            self._loop_body(loop, body, needed, len(inits))
        yielded = body.operations[len(body.operations) - 1].operands
        for result, value, last in zip(op.results, loop.results[: len(inits)], yielded, strict=True):
            self.values[result] = value
            self._carry(result, last)

    def _initial(self, value: ir.Value) -> ir.Value:
        """What a loop carries first: constants of index type and tiles need a register of their own."""
        if value in self.tiles and value not in self.values:
            return self._pointer(Pointer(value, 0, frozenset()))
        if value not in self.values and value.owner.operation.name == "arith.constant":
            return self.b.addi_s(self.integer(integer_value(value.owner.operation.attributes["value"])), 0)
        return self.values[value]

    def _carry(self, carried: ir.Value, source: ir.Value) -> None:
        """What is known about `source` without its value holds for a value that a loop carries from it."""
        if source in self.tiles:
            tile = self.tiles[source]
            self.tiles[carried] = _Tile(tile.pad, tile.base, tile.rows, f"c{len(self.tiles)}")
        elif carried.type == self.token_type:
            self.token_memory[carried] = ""

    def _virtual(self, value: ir.Value) -> ir.Value:
        """Loops carry virtual registers only: copy the zero row."""
        if value == self.v0:
            return self.b.copy(value, self.b.types[_VECTOR])
        return self.b.copy(value, self.b.types[_SCALAR]) if value == self.x0 else value

    def _loop_body(self, loop: Loop, body: ir.Block, needed: Sequence[Pointer], num_rows: int) -> None:
        variable = body.arguments[0]
        for argument, value in zip(list(body.arguments)[1:], loop.carried[:num_rows], strict=True):
            self.values[argument] = value
        counter = list(loop.carried[num_rows + len(needed) :])
        if counter:
            self.values[variable] = counter[0]
        current = dict(zip(needed, loop.carried[num_rows : num_rows + len(needed)], strict=True))
        self.pointers.append(current)
        self._block(body)
        self.pointers.pop()
        yielded = [self._virtual(self._initial(value)) for value in body.operations[len(body.operations) - 1].operands]
        moved = [self._advanced(pointer, current[pointer], variable) for pointer in needed]
        loop.next = [*yielded, *moved, *(self.b.addi_s(value, 1) for value in counter)]

    def _turn_sum(self, pointer: Pointer, start: ir.Value) -> ir.Value:
        """The sum of the addresses of both halves of a tile: minus one of them it is the other."""
        return self.b.add_s(start, self._plus(start, self.tiles[pointer.root].rows * self.machine.row_bytes))

    def _advanced(self, pointer: Pointer, current: ir.Value, variable: ir.Value) -> ir.Value:
        if pointer.turn:
            return self.b.sub_s(self.turn_sums[pointer], current)
        return self._plus(current, pointer.step(variable))

    # Addresses

    def _pointers_in(self, block: ir.Block) -> list[Pointer]:
        """Pointers that the code of `block` uses, in terms of the loops outside it."""
        found: dict[Pointer, None] = {}
        for view in block.operations:
            op = view.operation
            if op.name == "scf.for":
                inner = op.regions[0].blocks[0]
                for pointer in self._pointers_in(inner):
                    found[pointer.without(inner.arguments[0])] = None
            elif op.name in ("atalla.tile_load", "atalla.tile_store"):
                found[self._tile_address(op, "map", 1 if op.name.endswith("store") else 0)[0]] = None
            elif op.name in ("atalla.tile_at", "atalla.fetch", "atalla.send") and op.operands[0] in self.tiles:
                found[Pointer(op.operands[0], 0, frozenset())] = None
            elif op.name in ("atalla.dma_load", "atalla.dma_store"):
                found[self._tile_address(op, "tile_map", 0)[0]] = None
                found[self._dram_address(op)[0]] = None
            elif op.name in WORD_ACCESSES:
                buffer = WORD_ACCESSES[op.name]
                found[self._affine(op, op.operands[buffer], "map", buffer + 1, WORD_BYTES)[0]] = None
            elif op.name in COUNTER_OPERANDS:
                found[self._affine(op, self.x0, "map", COUNTER_OPERANDS[op.name], 1)[0]] = None
        return [pointer for pointer in found if pointer.root != self.x0 or pointer.terms]

    def _choose_shared_offsets(self, block: ir.Block) -> None:
        while self._num_pointers(block) > MAX_POINTERS and self.shared_offsets < LARGEST_SHARED_OFFSETS:
            self.shared_offsets *= 2

    def _num_pointers(self, block: ir.Block) -> int:
        """How many pointers are alive at a time: those of a loop and of the loops around it."""
        bodies = [op.operation.regions[0].blocks[0] for op in block.operations if op.operation.name == "scf.for"]
        return max((self._num_pointers(body) + self._num_moving(body) for body in bodies), default=0)

    def _num_moving(self, body: ir.Block) -> int:
        return sum(1 for pointer in self._pointers_in(body) if pointer.step(body.arguments[0]))

    def _form(
        self, op: ir.Operation, key: str, variables: Sequence[ir.Value]
    ) -> tuple[int, list[tuple[ir.Value, int]]]:
        forms = affine_forms(ir.AffineMapAttr(op.attributes[key]).value)
        if not forms:
            raise InternalError(f"{op.name}: map '{key}' is not affine in the loops")
        form = forms[0]
        return form.offset, [(variables[dim], form.coefficients[dim]) for dim in form.dims]

    def _tile_address(self, op: ir.Operation, key: str, tile_operand: int) -> tuple[Pointer, int]:
        """The pointer of a tile access and the rows to add to it, below `shared_offsets`."""
        first = 2 if key == "tile_map" else tile_operand + 1
        constant, terms = self._form(op, key, list(op.operands)[first:])
        tile = op.operands[tile_operand]
        far, near = divmod(constant, self.shared_offsets)
        row_bytes = self.machine.row_bytes
        moving = frozenset((variable, coefficient * row_bytes) for variable, coefficient in terms)
        turn = op.name.removeprefix("atalla.") if tile in self.tiles and self.tiles[tile].turns > 1 else ""
        return Pointer(tile, far * self.shared_offsets * row_bytes, moving, turn), near

    def _dram_address(self, op: ir.Operation) -> tuple[Pointer, int, list[tuple[ir.Value, int]]]:
        """The pointer of a transfer, the bytes to add to it, and (index, bytes) terms that no loop increments."""
        pointer, distance, others = self._affine(op, op.operands[1], "dram_map", 2, 2)
        if OVERLAP in op.parent.attributes:
            # a pointer of its own, so that its steps need not wait for other transfers
            return Pointer(pointer.root, distance, pointer.terms), 0, others
        return pointer, distance, others

    def _affine(
        self, op: ir.Operation, root: ir.Value, key: str, first: int, unit: int
    ) -> tuple[Pointer, int, list[tuple[ir.Value, int]]]:
        """`unit` times a map of the operands from `first` on: as a pointer into `root`, a constant, and the terms that
        no loop increments."""
        constant, terms = self._form(op, key, list(op.operands)[first:])
        moving = frozenset((variable, factor * unit) for variable, factor in terms if _is_loop_variable(variable))
        other = [(variable, factor * unit) for variable, factor in terms if not _is_loop_variable(variable)]
        return Pointer(root, 0, moving), constant * unit, other

    def affine_value(self, op: ir.Operation, first: int) -> ir.Value:
        """The value of `map` at the operands of `op` from `first` on."""
        pointer, constant, others = self._affine(op, self.x0, "map", first, 1)
        base = self._pointer(pointer) if pointer.terms else self.x0
        return self._with_others(self._plus(base, constant), others)

    def word_address(self, op: ir.Operation, buffer: int) -> tuple[ir.Value, int]:
        """The address of element `map` of the buffer that is operand `buffer`, and the bytes to add to it."""
        pointer, constant, others = self._affine(op, op.operands[buffer], "map", buffer + 1, WORD_BYTES)
        address = self._with_others(self._pointer(pointer), others)
        return (address, constant) if IMM12.fits(constant) else (self._plus(address, constant), 0)

    def _with_others(self, address: ir.Value, others: Sequence[tuple[ir.Value, int]]) -> ir.Value:
        for index, step in others:
            offset = self.values[index] if step == 1 else self.b.mul_s(self.values[index], self.integer(step))
            address = self.b.add_s(address, offset)
        return address

    def _pointer(self, pointer: Pointer) -> ir.Value:
        for scope in reversed(self.pointers):
            if pointer in scope:
                return scope[pointer]
        if pointer.terms:
            raise InternalError("a pointer that moves with a loop that does not carry it")
        value = self._root(pointer)
        self.pointers[-1][pointer] = value
        return value

    def _root(self, pointer: Pointer) -> ir.Value:
        if pointer.root in self.tiles and pointer.root in self.values:
            return self._plus(self.values[pointer.root], pointer.offset)
        if pointer.root == self.x0:
            return self.b.copy(self.x0, self.b.types[_SCALAR])
        if pointer.root in self.buffers:
            return self._plus(self.values[pointer.root], pointer.offset)
        tile = self.tiles[pointer.root]
        return self._plus(self.arenas[tile.pad], tile.base * self.machine.row_bytes + pointer.offset)

    def _plus(self, base: ir.Value, distance: int) -> ir.Value:
        if distance == 0:
            return base
        if IMM12.fits(distance):
            return self.b.addi_s(base, distance)
        return self.b.add_s(base, self.integer(distance))

    # Memory

    def _memory(self, op: ir.Operation, tile: ir.Value, key: str, rows: int, variables: int, *, write: bool) -> str:
        """What a tile access touches, for the scheduler: exact rows where no loop moves them."""
        info = self.tiles[tile]
        constant, terms = self._form(op, key, list(op.operands)[variables:])
        bounds = "?:?" if terms else f"{constant}:{constant + rows}"
        return f"{'write' if write else 'read'} pad{info.pad}:{info.name}[{bounds}]"

    def _lower_alloc_tile(self, op: ir.Operation) -> None:
        pass

    def _lower_tile_load(self, op: ir.Operation) -> None:
        pointer, near = self._tile_address(op, "map", 0)
        tile = self.tiles[op.operands[0]]
        self.values[op.results[0]] = self.b.vreg_ld(
            self._pointer(pointer),
            self._row_offset(near),
            integer_value(op.attributes["cols"]) - 1,
            tile.pad,
            memory=string_attr(self._memory(op, op.operands[0], "map", 1, 1, write=False)),
        )

    def _lower_tile_store(self, op: ir.Operation) -> None:
        pointer, near = self._tile_address(op, "map", 1)
        tile = self.tiles[op.operands[1]]
        self.b.vreg_st(
            self.values[op.operands[0]],
            self._pointer(pointer),
            self._row_offset(near),
            integer_value(op.attributes["cols"]) - 1,
            tile.pad,
            memory=string_attr(self._memory(op, op.operands[1], "map", 1, 2, write=True)),
        )

    def _row_offset(self, rows: int) -> ir.Value:
        """Loops of products address many rows with few pointers: x0 would be read in every other packet."""
        if rows or not self.multiplies:
            return self.integer(rows)
        zero = self._zero()
        return self._zero() if zero == self.x0 else zero

    def _lower_dma_load(self, op: ir.Operation) -> None:
        self._dma(op, is_load=True)

    def _lower_dma_store(self, op: ir.Operation) -> None:
        self._dma(op, is_load=False)

    def _dma(self, op: ir.Operation, *, is_load: bool) -> None:
        rows, cols, pitch = (integer_value(op.attributes[key]) for key in ("rows", "cols", "pitch"))
        pad_pointer, near = self._tile_address(op, "tile_map", 0)
        dram_pointer, distance, others = self._dram_address(op)
        shape = DmaShape(self.tiles[op.operands[0]].pad, rows, cols, pitch)
        # a register of its own: it is busy until the transfer ends
        pad_base, pad_offset = self._pointer(pad_pointer), near * self.machine.row_bytes
        pad_address = self._plus(pad_base, pad_offset) if pad_offset else self.b.addi_s(pad_base, 0)
        dram_address = self._plus(self._pointer(dram_pointer), distance)
        dram_address = self._with_others(dram_address, others)
        metadata = self.integer(shape.encode())
        tile_memory = self._memory(op, op.operands[0], "tile_map", rows, 2, write=is_load)
        dram_memory = f"{'read' if is_load else 'write'} dram:b{self.buffers[op.operands[1]]}[?:?]"
        transfer = self.b.scpad_ld if is_load else self.b.scpad_st
        token = transfer(pad_address, dram_address, metadata, memory=string_attr(f"{tile_memory}, {dram_memory}"))
        self.values[op.results[0]] = token
        waited = self._memory(op, op.operands[0], "tile_map", rows, 2, write=True).replace("write", "wait", 1)
        if any(use.owner.name == "atalla.tile_at" for use in op.operands[0].uses):
            waited = f"wait pad{self.tiles[op.operands[0]].pad}:{ANY_OBJECT}[?:?]"  # parts have names of their own
        self.token_memory[op.results[0]] = waited

    def _lower_ready(self, op: ir.Operation) -> None:
        self.values[op.results[0]] = self.x0

    def _index(self, value: ir.Value) -> ir.Value:
        """The register of an index; constants are made once."""
        if value in self.values:
            return self.values[value]
        bits = integer_value(value.owner.operation.attributes["value"]) & 0xFFFFFFFF
        return self.integer(bits - (1 << 32) if bits >> 31 else bits)

    def _index_arithmetic(self, op: ir.Operation) -> None:
        """One scalar instruction; a small constant is its immediate."""
        left, right = op.operands
        constant = _constant(right)
        if op.name == "arith.addi" and constant is not None and IMM12.fits(constant):
            self.values[op.results[0]] = self.b.addi_s(self._index(left), constant)
            return
        self.values[op.results[0]] = self.b.build(_INDEX_ARITHMETIC[op.name], self._index(left), self._index(right))

    def _lower_equal_bits(self, op: ir.Operation) -> None:
        """0 - (difference == 0): unsigned below 1, negated."""
        left, right = op.operands
        is_zero = _constant(right) == 0
        difference = self._index(left) if is_zero else self.b.sub_s(self._index(left), self._index(right))
        self.values[op.results[0]] = self.b.sub_s(self.x0, self.b.sltu_s(difference, self.integer(1)))

    def _lower_buffer_address(self, op: ir.Operation) -> None:
        self.values[op.results[0]] = self.values[op.operands[0]]

    def _lower_tile_at(self, op: ir.Operation) -> None:
        tile = op.operands[0]
        info = self.tiles[tile]
        base = self._pointer(Pointer(tile, 0, frozenset()))
        part = string_value(op.attributes["part"])
        name = ANY_OBJECT if part == ANY_OBJECT else f"{info.name}.{part}"
        self.tiles[op.results[0]] = _Tile(info.pad, info.base, info.rows, name)
        self.values[op.results[0]] = self.b.add_s(base, self._index(op.operands[1]))

    def _lower_fetch(self, op: ir.Operation) -> None:
        self._transfer(op, is_load=True)

    def _lower_send(self, op: ir.Operation) -> None:
        self._transfer(op, is_load=False)

    def _transfer(self, op: ir.Operation, *, is_load: bool) -> None:
        tile, offset, address, metadata = list(op.operands)[:4]
        info = self.tiles[tile]
        base = self._pointer(Pointer(tile, 0, frozenset()))
        pad_address = base if _constant(offset) == 0 else self.b.add_s(base, self._index(offset))
        tile_access, dram_access = ("write", "read") if is_load else ("read", "write")
        touched = [f"{tile_access} pad{info.pad}:{info.name}[?:?]"]
        touched += [f"{dram_access} dram:b{self.buffers[buffer]}[?:?]" for buffer in list(op.operands)[4:]]
        issue = self.b.scpad_ld if is_load else self.b.scpad_st
        token = issue(pad_address, self._index(address), self._index(metadata), memory=string_attr(", ".join(touched)))
        rows, cols = (integer_value(op.attributes[key]) for key in ("rows", "cols"))
        token.owner.operation.attributes[DMA_SHAPE] = self.b.integer(DmaShape(info.pad, rows, cols, cols).encode())
        self.values[op.results[0]] = token
        # the rows may be parts of a tile with names of their own
        self.token_memory[op.results[0]] = f"wait pad{info.pad}:{ANY_OBJECT}[?:?]"

    def _lower_next_index(self, op: ir.Operation) -> None:
        last = self.integer(integer_value(op.attributes["last"]))
        following = self.b.addi_s(self.values[op.operands[0]], 1)
        beyond = self.b.slt_s(last, following)
        self.values[op.results[0]] = self.b.sub_s(following, beyond)

    def _index_limit(self, op: ir.Operation) -> None:
        """The lesser or the greater of an index and a constant: their difference where it is negative, or is not."""
        index, limit = op.operands
        bound = _constant(limit)
        if bound is None:
            raise InternalError(f"{op.name} with a limit that is not a constant")
        over = self._plus(self._index(index), -bound)
        kept = self.b.srai_s(over, 31)
        if op.name == "arith.maxsi":
            kept = self.b.xori_s(kept, -1)
        self.values[op.results[0]] = self._plus(self.b.and_s(over, kept), bound)

    def _lower_wait(self, op: ir.Operation) -> None:
        """Reading the address register waits for the transfer; the rows count as written from here on."""
        anything = ", ".join(f"wait pad{pad}:{ANY_OBJECT}[?:?]" for pad in self.arenas)
        for token in op.operands:
            if self.values[token] == self.x0:
                continue
            memory = None if BARE in op.attributes else string_attr(self.token_memory[token] or anything)
            self.b.addi_s(self.values[token], 0, into=self.b.pinned(_SCALAR, 0), memory=memory)

    # Values

    def _lower_constant(self, op: ir.Operation) -> None:
        value = ir.FloatAttr(op.attributes["value"]).value
        self.values[op.results[0]] = self.integer(self.float_bits(value))

    def _lower_broadcast(self, op: ir.Operation) -> None:
        scalar = self.values[op.operands[0]]
        row = self.v0 if scalar == self.x0 else self.b.add_vs(self.v0, scalar, self.m0)
        self.values[op.results[0]] = row

    def _lower_zero(self, op: ir.Operation) -> None:
        """In turn on the multiplier and on the adder, each of which takes two cycles."""
        self.rows_made += 1
        row, scalar = self._zero_row(), self._zero()
        made = self.b.add_vs(row, scalar, self.m0) if self.rows_made % 2 else self.b.mul_vs(row, scalar, self.m1)
        self.values[op.results[0]] = made

    def _lower_copy(self, op: ir.Operation) -> None:
        """In turn on the multiplier and on the adder; both are exact, of -0 too."""
        self.rows_made += 1
        row = self.values[op.operands[0]]
        if self.rows_made % 2:
            self.values[op.results[0]] = self.b.sub_vs(row, self._zero(), self.m0)
        else:
            self.values[op.results[0]] = self.b.mul_vs(row, self.integer(self.float_bits(1.0)), self.m1)

    def _ones(self) -> ir.Value:
        """A row of ones: copies by it leave the scalar ports to loads and stores."""
        if self.one_row is None:
            one = self.integer(self.float_bits(1.0))
            self.one_row = self._at_top(lambda: self.b.add_vs(self.v0, one, self.m0))
        return self.one_row

    def _zero(self) -> ir.Value:
        """A scalar register that holds 0, in turn one of several: a packet reads each bank once (5.3)."""
        if not self.zeros:
            self.zeros = [self.x0, *(self._at_top(lambda: self.b.lui_s(0)) for _ in range(NUM_ZEROS - 1))]
        self.zeros.append(self.zeros.pop(0))
        return self.zeros[0]

    def _zero_row(self) -> ir.Value:
        if not self.zero_rows:
            self.zero_rows = [self.v0, self._at_top(lambda: self.b.mul_vs(self.v0, self.x0, self.m1))]
        self.zero_rows.append(self.zero_rows.pop(0))
        return self.zero_rows[0]

    def _lower_extract(self, op: ir.Operation) -> None:
        lane = integer_value(op.attributes["lane"])
        self.values[op.results[0]] = self.b.vmov_vts(self.values[op.operands[0]], lane)

    def _is_scalar(self, value: ir.Value) -> bool:
        return value == self.x0 or value.type == self.b.types[_SCALAR]

    def _arithmetic(self, op: ir.Operation, name: str, mask: ir.Value) -> None:
        left, right = (self.values[value] for value in op.operands)
        if left == right and name == "mul":
            # one bank cannot serve two reads at once; the adder has room beside a square
            right = self.b.sub_vv(left, self._zero_row(), self.m0)
        lanes = integer_value(op.attributes["lanes"])
        suffix = "vs" if self._is_scalar(right) else "vv"
        whole = lanes == self.machine.vector_lanes
        self.values[op.results[0]] = self.b.build(
            f"{name}_{suffix}", left, right, mask if whole else self.low_lanes(lanes), old=None if whole else left
        )

    def _lower_add(self, op: ir.Operation) -> None:
        self._arithmetic(op, "add", self.m0)

    def _lower_sub(self, op: ir.Operation) -> None:
        self._arithmetic(op, "sub", self.m0)

    def _lower_mul(self, op: ir.Operation) -> None:
        self._arithmetic(op, "mul", self.m1)

    def _masked(self, op: ir.Operation, name: str) -> None:
        mask, left, right = (self.values[value] for value in op.operands)
        suffix = "vs" if self._is_scalar(right) else "vv"
        self.values[op.results[0]] = self.b.build(f"{name}_{suffix}", left, right, mask, old=left)

    def _lower_masked_add(self, op: ir.Operation) -> None:
        self._masked(op, "add")

    def _lower_masked_mul(self, op: ir.Operation) -> None:
        self._masked(op, "mul")

    def _lower_masked_rsub(self, op: ir.Operation) -> None:
        mask, left, right = (self.values[value] for value in op.operands)
        self.values[op.results[0]] = self.b.sub_vv(right, left, mask, old=left)

    def _lower_exp(self, op: ir.Operation) -> None:
        self.values[op.results[0]] = self.b.expi_vi(self.values[op.operands[0]], 0, self.m1)

    def _lower_compare(self, op: ir.Operation) -> None:
        left, right = (self.values[value] for value in op.operands)
        if right == self.x0:
            right = self._zero()
        name = _COMPARISONS[string_value(op.attributes["predicate"])]
        suffix = "mvs" if self._is_scalar(right) else "mvv"
        self.values[op.results[0]] = self.b.build(f"{name}_{suffix}", left, right, self.m0)

    def _lower_select(self, op: ir.Operation) -> None:
        """A masked copy over the false value: by 1.0 on the multiplier, which leaves the ALU to the comparison."""
        mask, on_true, on_false = (self.values[value] for value in op.operands)
        if IN_TURN in op.attributes:
            row = self._merged(mask, on_true, on_false)
        elif on_true == self.x0:
            row = self.b.mul_vs(self._zero_row(), self._zero(), mask, old=on_false)
        elif self._is_scalar(on_true):
            if OVERLAP in op.parent.attributes:
                row = self.b.mul_vs(self._ones(), on_true, mask, old=on_false)
            else:
                row = self.b.add_vs(self.v0, on_true, mask, old=on_false)
        elif OVERLAP in op.parent.attributes:
            row = self.b.mul_vv(on_true, self._ones(), mask, old=on_false)
        else:
            row = self.b.mul_vs(on_true, self.integer(self.float_bits(1.0)), mask, old=on_false)
        self.values[op.results[0]] = row

    def _merged(self, mask: ir.Value, row: ir.Value, others: ir.Value) -> ir.Value:
        """As copies of whole rows (`_lower_copy`), over what the other lanes hold."""
        self.rows_made += 1
        if self.rows_made % 2:
            return self.b.sub_vs(row, self._zero(), mask, old=others)
        return self.b.mul_vv(row, self._ones(), mask, old=others)

    def _lower_lanes_of(self, op: ir.Operation) -> None:
        self.values[op.results[0]] = self.b.mv_stm(self._index(op.operands[0]))

    def _lower_lane_mask(self, op: ir.Operation) -> None:
        first, last = (integer_value(op.attributes[key]) for key in ("first", "last"))
        self.values[op.results[0]] = self.lane_mask(((1 << (last + 1)) - 1) & ~((1 << first) - 1))

    def _lower_reduce(self, op: ir.Operation) -> None:
        name = _REDUCTIONS[string_value(op.attributes["kind"])]
        lanes = integer_value(op.attributes["lanes"])
        first = integer_value(op.attributes[FIRST_LANE]) if FIRST_LANE in op.attributes else 0
        mask = self.lane_mask(((1 << lanes) - 1) << first)
        self.values[op.results[0]] = self.b.build(name, self.values[op.operands[0]], BROADCAST, mask)

    def _scalar(self, op: ir.Operation, name: str) -> None:
        self.values[op.results[0]] = self.b.build(name, *(self.values[value] for value in op.operands))

    def _lower_scalar_add(self, op: ir.Operation) -> None:
        self._scalar(op, "add_bf")

    def _lower_scalar_sub(self, op: ir.Operation) -> None:
        self._scalar(op, "sub_bf")

    def _lower_scalar_mul(self, op: ir.Operation) -> None:
        self._scalar(op, "mul_bf")

    def _lower_reciprocal(self, op: ir.Operation) -> None:
        self._scalar(op, "rcp_bf")

    def _lower_sqrt(self, op: ir.Operation) -> None:
        self._scalar(op, "sqrt_bf")

    def _lower_push(self, op: ir.Operation) -> None:
        self.b.lw_vi(self.values[op.operands[0]], 0, self.m1)

    def _lower_gemm(self, op: ir.Operation) -> None:
        self.values[op.results[0]] = self.b.gemm_vv(self.values[op.operands[0]])

    def _lower_transpose_push(self, op: ir.Operation) -> None:
        self.b.tpus_vi(self.values[op.operands[0]])

    def _lower_transpose_pop(self, op: ir.Operation) -> None:
        self.values[op.results[0]] = self.b.tpop_vi()


def _constant(value: ir.Value) -> int | None:
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.operation.name != "arith.constant":
        return None
    return integer_value(owner.operation.attributes["value"])


def _is_computed_with(variable: ir.Value) -> bool:
    """Whether anything but addresses that the loop increments needs the number of its iteration."""
    return any(use.owner.operation.name in _INDEX_ARITHMETIC for use in variable.uses)


def _is_loop_variable(value: ir.Value) -> bool:
    """Whether `value` counts the iterations of a loop (the other arguments of a loop's body are carried values)."""
    return isinstance(value, ir.BlockArgument) and value.arg_number == 0
