"""`atalla` kernels to `ax01` instructions: rows become vector registers, tiles become addresses.

This module lowers the function, its blocks and loops; what an operation becomes is a function in the tables of
`row_instructions`, `memory_instructions`, `index_instructions` and `integer_instructions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atalla_mlir._mlir import i64_array_attr, integer_value, ir, string_value
from atalla_mlir.dialects.ax01_builder import MAY_BE_EMPTY, Builder, Loop
from atalla_mlir.dialects.module_attributes import PAD_ROWS
from atalla_mlir.errors import InternalError, LimitError
from atalla_mlir.kernels import index_instructions, integer_instructions, memory_instructions, row_instructions
from atalla_mlir.kernels.affine_index import constant_index
from atalla_mlir.kernels.arenas import ALLOCATION, Arenas, Tile, taken
from atalla_mlir.kernels.integer_instructions import Handler
from atalla_mlir.kernels.kernel_body import Body, read_body
from atalla_mlir.kernels.kernel_constants import KernelConstants
from atalla_mlir.kernels.pointers import Pointer, Pointers
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import ARGUMENT_BASE, FIRMWARE_TABLE, LINK, RegisterFile

MAX_ARGUMENTS = FIRMWARE_TABLE + 252 - ARGUMENT_BASE
_TABLES = (row_instructions, memory_instructions, integer_instructions)
_HANDLERS: Mapping[str, Handler] = {
    **{f"atalla.{name}": lower for table in _TABLES for name, lower in table.HANDLERS.items()},
    **index_instructions.HANDLERS,
}
"""Name of an operation -> what lowers it."""
_WITHOUT_CODE = ("arith.constant", "scf.yield", "atalla.end")


class KernelLowering:
    """Lowers one `atalla.kernel` to an `ax01.func` at the builder's insertion point."""

    def __init__(self, kernel: ir.Operation, builder: Builder, machine: Machine) -> None:
        self.kernel = kernel
        self.b = builder
        self.machine = machine
        self.values: dict[ir.Value, ir.Value] = {}
        self.buffers: dict[ir.Value, int] = {}
        self.rows_made = 0
        self.body = read_body(kernel)
        self.multiplies = bool(self.body.named("atalla.gemm"))
        self.token_memory: dict[ir.Value, str] = {}
        """What a token's transfer touches; empty for tokens that loops carry, which stand for anything."""
        self.token_type = ir.Type.parse("!atalla.token")

    def lower(self) -> None:
        block = self.body.block
        name = string_value(self.kernel.attributes["kernel"])
        if len(block.arguments) > MAX_ARGUMENTS:
            raise LimitError(
                f"kernel {name} has {len(block.arguments)} buffers, at most {MAX_ARGUMENTS} fit in registers"
            )
        with self.b.function(name) as function:
            link = self._enter(block)
            self.pointers.choose_shared_offsets(self.body)
            self.arenas.allocate()
            self._operations(self.body)
            self.arenas.free()
            function.attributes[PAD_ROWS] = i64_array_attr(self.arenas.pad_rows())
            self.b.jalr(link, 0, into=self.b.pinned(RegisterFile.SCALAR, 0))
            self.arenas.panics()

    def _enter(self, block: ir.Block) -> ir.Value:
        """Take over the arguments; the address to return to."""
        self.constants = KernelConstants(self.b)
        link = taken(self.b, LINK)
        self.constants.top = link.owner.operation
        for argument in block.arguments:
            self.values[argument] = taken(self.b, ARGUMENT_BASE + argument.arg_number)
            self.buffers[argument] = argument.arg_number
        arguments = [self.values[argument] for argument in block.arguments]
        self.arenas = Arenas(self.body.named(ALLOCATION), self.b, self.machine, self.constants, arguments)
        self.pointers = Pointers(self.b, self.machine, self.arenas, self.buffers, self.values)
        return link

    def index(self, value: ir.Value) -> ir.Value:
        """The register of an index; constants are made once."""
        if value in self.values:
            return self.values[value]
        bits = integer_value(value.owner.operation.attributes["value"]) & 0xFFFFFFFF
        return self.constants.integer(bits - (1 << 32) if bits >> 31 else bits)

    def _operations(self, body: Body) -> None:
        for op, name, inner in body.ops:
            self.b.loc = op.location
            handler = _HANDLERS.get(name)
            if inner is not None:
                self._loop(op, inner)
            elif handler is not None:
                handler(self, op)
            elif name not in _WITHOUT_CODE:
                raise InternalError(f"operation {name} in a kernel has no lowering")

    def _loop(self, op: ir.Operation, body: Body) -> None:
        variable, *arguments = body.block.arguments
        operands = list(op.operands)
        bounds, carried = operands[:3], operands[3:]
        low, high, step = (constant_index(bound) for bound in bounds)
        if low != 0 or step != 1:
            raise InternalError(f"a loop from {low} by {step}; loops of kernels count from 0 by 1")
        pointers = self.pointers.used_in(body)
        for pointer in pointers:
            is_fixed = not pointer.step(variable) and not pointer.turn
            if is_fixed and (pointer.root in self.arenas.tiles or pointer.root in self.buffers):
                self.pointers.register(pointer)
        needed = [pointer for pointer in pointers if pointer.step(variable) or pointer.turn]
        inits = [self._initial(value) for value in carried]
        starts = [self.pointers.register(pointer.without(variable)) for pointer in needed]
        for pointer, start in zip(needed, starts, strict=True):
            if pointer.turn:
                self.pointers.turn_sums[pointer] = self.pointers.turn_sum(pointer, start)
        trip_count = self.index(bounds[1]) if high is None else self.constants.integer(high)
        carried_rows = [self._virtual(value) for value in inits]
        for argument, value in zip(arguments, carried, strict=True):
            self._carry(argument, value)
        counter = [self.b.addi_s(self.constants.x0, 0)] if index_instructions.is_computed_with(variable) else []
        may_be_empty = MAY_BE_EMPTY in op.attributes
        with self.b.loop(trip_count, [*carried_rows, *starts, *counter], may_be_empty=may_be_empty) as loop:
            self._loop_body(loop, body, needed, len(inits))
        yielded = body.ops[-1][0].operands
        for result, value, last in zip(op.results, loop.results[: len(inits)], yielded, strict=True):
            self.values[result] = value
            self._carry(result, last)

    def _initial(self, value: ir.Value) -> ir.Value:
        """What a loop carries first: constants of index type and tiles need a register of their own."""
        if value in self.arenas.tiles and value not in self.values:
            return self.pointers.register(Pointer(value, 0, frozenset()))
        if value not in self.values and value.owner.operation.name == "arith.constant":
            return self.b.addi_s(self.constants.integer(integer_value(value.owner.operation.attributes["value"])), 0)
        return self.values[value]

    def _carry(self, carried: ir.Value, source: ir.Value) -> None:
        """What is known about `source` without its value holds for a value that a loop carries from it."""
        if source in self.arenas.tiles:
            tile = self.arenas.tiles[source]
            self.arenas.tiles[carried] = Tile(tile.pad, tile.base, tile.rows, f"c{len(self.arenas.tiles)}")
        elif carried.type == self.token_type:
            self.token_memory[carried] = ""

    def _virtual(self, value: ir.Value) -> ir.Value:
        """Loops carry virtual registers only: copy the zero row."""
        if value == self.constants.v0:
            return self.b.copy(value, self.b.types[RegisterFile.VECTOR])
        return self.b.copy(value, self.b.types[RegisterFile.SCALAR]) if value == self.constants.x0 else value

    def _loop_body(self, loop: Loop, body: Body, needed: Sequence[Pointer], num_rows: int) -> None:
        variable, *arguments = body.block.arguments
        for argument, value in zip(arguments, loop.carried[:num_rows], strict=True):
            self.values[argument] = value
        counter = list(loop.carried[num_rows + len(needed) :])
        if counter:
            self.values[variable] = counter[0]
        current = dict(zip(needed, loop.carried[num_rows : num_rows + len(needed)], strict=True))
        self.pointers.scopes.append(current)
        self._operations(body)
        self.pointers.scopes.pop()
        yielded = [self._virtual(self._initial(value)) for value in body.ops[-1][0].operands]
        moved = [self.pointers.advanced(pointer, current[pointer], variable) for pointer in needed]
        loop.next = [*yielded, *moved, *(self.b.addi_s(value, 1) for value in counter)]
