"""Addresses of a kernel's accesses, strength-reduced.

Every access that depends on the same loop variables in the same way shares one pointer register, which each loop
carries and increments; what is constant goes into the row offset of the access.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import affine_forms, ir
from atalla_mlir.dialects.ax01_builder import Builder
from atalla_mlir.errors import InternalError
from atalla_mlir.kernels.arenas import Arenas
from atalla_mlir.kernels.attributes import OVERLAP
from atalla_mlir.kernels.integer_instructions import COUNTER_OPERANDS, WORD_ACCESSES, WORD_BYTES
from atalla_mlir.kernels.kernel_body import LOOP, Body
from atalla_mlir.target.encoding import IMM12
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile

# Row offsets up to here are constants in registers that all accesses share; the rest goes into the pointers. Kernels
# whose pointers would take too many registers, as each loop around another keeps its own, share larger ones.
SHARED_OFFSETS = 64
LARGEST_SHARED_OFFSETS = 4096
MAX_POINTERS = 160

_TILE_ACCESSES = {"atalla.tile_load": 0, "atalla.tile_store": 1}
"""Operations on a row of a tile, and which operand the tile is."""
_TILE_PLACES = ("atalla.tile_at", "atalla.fetch", "atalla.send")
_TRANSFERS = ("atalla.dma_load", "atalla.dma_store")
_USERS = frozenset({LOOP, *_TILE_ACCESSES, *_TILE_PLACES, *_TRANSFERS, *WORD_ACCESSES, *COUNTER_OPERANDS})


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


class Pointers:
    """The pointers of a kernel, in registers; `values` holds the registers of its values, `buffers` their numbers."""

    def __init__(
        self,
        builder: Builder,
        machine: Machine,
        arenas: Arenas,
        buffers: Mapping[ir.Value, int],
        values: Mapping[ir.Value, ir.Value],
    ) -> None:
        self.b = builder
        self.machine = machine
        self.constants = arenas.constants
        self.arenas = arenas
        self.buffers = buffers
        self.values = values
        self.scopes: list[dict[Pointer, ir.Value]] = [{}]
        """What is in registers, of the kernel and of each loop around the insertion point."""
        self.shared_offsets = SHARED_OFFSETS
        self._used: dict[tuple[Body, int, int], list[Pointer]] = {}
        self._forms: dict[ir.Attribute, tuple[int, tuple[tuple[int, int], ...]]] = {}
        """Of the maps that occur: the constant, and the dims that take part with their coefficients."""
        self.turn_sums: dict[Pointer, ir.Value] = {}

    def choose_shared_offsets(self, body: Body) -> None:
        while self._num_pointers(body) > MAX_POINTERS and self.shared_offsets < LARGEST_SHARED_OFFSETS:
            self.shared_offsets *= 2

    def _num_pointers(self, body: Body) -> int:
        """How many pointers are alive at a time: those of a loop and of the loops around it."""
        return max((self._num_pointers(loop) + self._num_moving(loop) for loop in body.loops), default=0)

    def _num_moving(self, body: Body) -> int:
        variable = body.block.arguments[0]
        return sum(1 for pointer in self.used_in(body) if pointer.step(variable))

    def used_in(self, body: Body) -> list[Pointer]:
        """Pointers that the code of `body` uses, in terms of the loops outside it."""
        # what loops carry is added to the tiles while they are lowered
        key = body, self.shared_offsets, len(self.arenas.tiles)
        if key not in self._used:
            self._used[key] = self._find_used(body)
        return self._used[key]

    def _find_used(self, body: Body) -> list[Pointer]:
        found: dict[Pointer, None] = {}
        for op, name, inner in body.ops:
            if name not in _USERS:
                continue
            if inner is not None:
                variable = inner.block.arguments[0]
                for pointer in self.used_in(inner):
                    found[pointer.without(variable)] = None
            elif name in _TILE_ACCESSES:
                found[self.tile_address(op, "map", _TILE_ACCESSES[name])[0]] = None
            elif name in _TILE_PLACES and op.operands[0] in self.arenas.tiles:
                found[Pointer(op.operands[0], 0, frozenset())] = None
            elif name in _TRANSFERS:
                found[self.tile_address(op, "tile_map", 0)[0]] = None
                found[self.dram_address(op)[0]] = None
            elif name in WORD_ACCESSES:
                buffer = WORD_ACCESSES[name]
                found[self._affine(op, op.operands[buffer], "map", buffer + 1, WORD_BYTES)[0]] = None
            elif name in COUNTER_OPERANDS:
                found[self._affine(op, self.constants.x0, "map", COUNTER_OPERANDS[name], 1)[0]] = None
        return [pointer for pointer in found if pointer.root != self.constants.x0 or pointer.terms]

    def form(self, op: ir.Operation, key: str, first: int) -> tuple[int, list[tuple[ir.Value, int]]]:
        """The constant and the terms of map `key` of the operands from `first` on."""
        attribute = op.attributes[key]
        known = self._forms.get(attribute)
        if known is None:
            forms = affine_forms(ir.AffineMapAttr(attribute).value)
            if not forms:
                raise InternalError(f"{op.name}: map '{key}' is not affine in the loops")
            terms = tuple((dim, forms[0].coefficients[dim]) for dim in forms[0].dims)
            known = self._forms[attribute] = forms[0].offset, terms
        constant, terms = known
        if not terms:
            return constant, []
        operands = op.operands
        return constant, [(operands[first + dim], coefficient) for dim, coefficient in terms]

    def tile_address(self, op: ir.Operation, key: str, tile_operand: int) -> tuple[Pointer, int]:
        """The pointer of a tile access and the rows to add to it, below `shared_offsets`."""
        first = 2 if key == "tile_map" else tile_operand + 1
        constant, terms = self.form(op, key, first)
        tile = op.operands[tile_operand]
        far, near = divmod(constant, self.shared_offsets)
        row_bytes = self.machine.row_bytes
        moving = frozenset((variable, coefficient * row_bytes) for variable, coefficient in terms)
        info = self.arenas.tiles.get(tile)
        turn = op.name.removeprefix("atalla.") if info is not None and info.turns > 1 else ""
        return Pointer(tile, far * self.shared_offsets * row_bytes, moving, turn), near

    def dram_address(self, op: ir.Operation) -> tuple[Pointer, int, list[tuple[ir.Value, int]]]:
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
        constant, terms = self.form(op, key, first)
        moving = frozenset((variable, factor * unit) for variable, factor in terms if _is_loop_variable(variable))
        other = [(variable, factor * unit) for variable, factor in terms if not _is_loop_variable(variable)]
        return Pointer(root, 0, moving), constant * unit, other

    def affine_value(self, op: ir.Operation, first: int) -> ir.Value:
        """The value of `map` at the operands of `op` from `first` on."""
        pointer, constant, others = self._affine(op, self.constants.x0, "map", first, 1)
        base = self.register(pointer) if pointer.terms else self.constants.x0
        return self.with_others(self.constants.plus(base, constant), others)

    def word_address(self, op: ir.Operation, buffer: int) -> tuple[ir.Value, int]:
        """The address of element `map` of the buffer that is operand `buffer`, and the bytes to add to it."""
        pointer, constant, others = self._affine(op, op.operands[buffer], "map", buffer + 1, WORD_BYTES)
        address = self.with_others(self.register(pointer), others)
        return (address, constant) if IMM12.fits(constant) else (self.constants.plus(address, constant), 0)

    def with_others(self, address: ir.Value, others: Sequence[tuple[ir.Value, int]]) -> ir.Value:
        for index, step in others:
            offset = self.values[index] if step == 1 else self.b.mul_s(self.values[index], self.constants.integer(step))
            address = self.b.add_s(address, offset)
        return address

    def register(self, pointer: Pointer) -> ir.Value:
        """The register of a pointer, set where the pointer is first needed."""
        for scope in reversed(self.scopes):
            if pointer in scope:
                return scope[pointer]
        if pointer.terms:
            raise InternalError("a pointer that moves with a loop that does not carry it")
        value = self._root(pointer)
        self.scopes[-1][pointer] = value
        return value

    def _root(self, pointer: Pointer) -> ir.Value:
        if pointer.root in self.arenas.tiles and pointer.root in self.values:
            return self.constants.plus(self.values[pointer.root], pointer.offset)
        if pointer.root == self.constants.x0:
            return self.b.copy(self.constants.x0, self.b.types[RegisterFile.SCALAR])
        if pointer.root in self.buffers:
            return self.constants.plus(self.values[pointer.root], pointer.offset)
        tile = self.arenas.tiles[pointer.root]
        return self.constants.plus(self.arenas.base(tile), tile.base * self.machine.row_bytes + pointer.offset)

    def turn_sum(self, pointer: Pointer, start: ir.Value) -> ir.Value:
        """The sum of the addresses of both halves of a tile: minus one of them it is the other."""
        distance = self.arenas.tiles[pointer.root].rows * self.machine.row_bytes
        return self.b.add_s(start, self.constants.plus(start, distance))

    def advanced(self, pointer: Pointer, current: ir.Value, variable: ir.Value) -> ir.Value:
        if pointer.turn:
            return self.b.sub_s(self.turn_sums[pointer], current)
        return self.constants.plus(current, pointer.step(variable))


def _is_loop_variable(value: ir.Value) -> bool:
    """Whether `value` counts the iterations of a loop (the other arguments of a loop's body are carried values)."""
    return isinstance(value, ir.BlockArgument) and value.arg_number == 0
