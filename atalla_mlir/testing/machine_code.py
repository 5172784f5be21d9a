"""Random machine-level functions, and an interpreter that tells whether two forms of one compute the same.

The interpreter is independent of the simulators: integers are computed, everything else is a term that names the
operation and its inputs, so that a wrong register anywhere shows in what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from atalla_mlir.codegen.layout import Item, Label, label_positions
from atalla_mlir.codegen.machine_ir import (
    M0,
    M1,
    V0,
    X0,
    Block,
    Function,
    Inst,
    MemoryRef,
    Register,
    SpillArea,
    physical,
)
from atalla_mlir.target.encoding import DmaShape
from atalla_mlir.target.isa import BY_MNEMONIC, HALT, Instruction, Role
from atalla_mlir.target.registers import RegisterFile

_X, _V, _M = RegisterFile.SCALAR, RegisterFile.VECTOR, RegisterFile.MASK
SPILL_PAD = 3
SPILL_BASE = 64 * 4096
_ALL_ONES = 0xFFFFFFFF

# Interpreter

_INTEGER = {
    "add.s": lambda a, b: a + b,
    "sub.s": lambda a, b: a - b,
    "mul.s": lambda a, b: a * b,
    "xor.s": lambda a, b: a ^ b,
    "and.s": lambda a, b: a & b,
    "sltu.s": lambda a, b: int((a & _ALL_ONES) < (b & _ALL_ONES)),
    "addi.s": lambda a, imm: a + imm,
    "subi.s": lambda a, imm: a - imm,
    "muli.s": lambda a, imm: a * imm,
    "lui.s": lambda imm: imm << 7,
}
_TAKEN = {
    "beq.s": lambda a, b: a == b,
    "bne.s": lambda a, b: a != b,
    "blt.s": lambda a, b: a < b,
    "bge.s": lambda a, b: a >= b,
    "bgt.s": lambda a, b: a > b,
    "ble.s": lambda a, b: a <= b,
}


@dataclass
class State:
    """Values by register (any hashable key), pad rows by (pad, row), pushed weights, transpose history."""

    registers: dict[Any, Any] = field(default_factory=dict)
    rows: dict[tuple[int, int], Any] = field(default_factory=dict)
    weights: tuple[Any, ...] = ()
    transposes: tuple[Any, ...] = ()
    calls: list[Any] = field(default_factory=list)

    def observable(self) -> tuple[Any, ...]:
        """What a function leaves behind: all pad rows except those of the spill area, and what left through DMA.

        Weights left in the array do not count, because every user of the array pushes its own.
        """
        rows = {key: row for key, row in self.rows.items() if key[0] != SPILL_PAD or key[1] < SPILL_BASE // 64}
        return sorted(rows.items()), self.calls, self.transposes


@dataclass(frozen=True)
class Effect:
    """What an instruction does once its operands are read."""

    writes: tuple[tuple[Any, Any], ...] = ()
    rows: tuple[tuple[tuple[int, int], Any], ...] = ()
    target: str | None = None
    halts: bool = False
    weights: tuple[Any, ...] | None = None
    transposes: tuple[Any, ...] | None = None
    call: Any = None


def evaluate(op: Instruction, operands: Sequence[Any], state: State) -> Effect:
    """The effect of one instruction; `operands` are register keys, numbers or labels in the table's order."""
    read: list[Any] = [
        _value(state, key) if operand.takes_port else key if operand.role is Role.IMMEDIATE else None
        for operand, key in zip(op.operands, operands, strict=True)
    ]
    written = [key for operand, key in zip(op.operands, operands, strict=True) if operand.is_written]
    inputs = tuple(value for value in read if value is not None)
    name = op.mnemonic
    if name in _TAKEN:
        register, other, target, increment = read
        return Effect(((written[0], register + increment),), target=target if _TAKEN[name](register, other) else None)
    if name in _INTEGER:
        return Effect(((written[0], _wrap(_INTEGER[name](*inputs))),))
    if name == "halt.s":
        return Effect(halts=True)
    if name == "jal":
        called = _is_written_register(written[0])
        return Effect(call=operands[1]) if called else Effect(target=operands[1])
    if name in ("vreg.ld", "vreg.st"):
        row = (read[-1], (read[1] >> 6) + read[2])
        if name == "vreg.st":
            return Effect(rows=((row, ("st", read[0], read[3], _unless_full(state, row, read[3]))),))
        return Effect(((written[0], _loaded(state, row, read[3])),))
    if name in ("scpad.ld", "scpad.st"):
        return _transfer(name, read, written[0], state)
    return _symbolic(op, inputs, written, state)


def _symbolic(op: Instruction, inputs: tuple[Any, ...], written: Sequence[Any], state: State) -> Effect:
    name = op.mnemonic
    if name == "lw.vi":
        return Effect(weights=(*state.weights, inputs[0])[-32:])
    if name == "gemm.vv":
        return Effect(((written[0], (name, inputs[0], hash(state.weights))),))
    if name == "tpus.vi":
        return Effect(transposes=(*state.transposes, ("push", inputs[0])))
    if name == "tpop.vi":
        return Effect(((written[0], (name, hash(state.transposes))),), transposes=(*state.transposes, ("pop",)))
    if name in ("sub.vs", "addi.s") and inputs[1:] == (0, _ALL_ONES):
        return Effect(((written[0], inputs[0]),))
    if name == "mv.stm" and isinstance(inputs[0], tuple) and inputs[0][0] == "mv.mts":
        return Effect(((written[0], inputs[0][1]),))
    if name == "mv.stm" and isinstance(inputs[0], int):
        return Effect(((written[0], inputs[0] & _ALL_ONES),))
    if not op.merges or inputs[-1] == _ALL_ONES:
        return Effect(((written[0], _term(name, *inputs)),))
    old = _value(state, written[0])
    return Effect(((written[0], old if inputs[-1] == 0 else _term(name, *inputs, old)),))


def _term(*parts: Any) -> Any:
    """A term, folded to its hash when it gets deep."""
    return (parts[0], hash(parts)) if parts[0] != "mv.mts" else parts


def _value(state: State, key: Any) -> Any:
    fixed = {X0: 0, V0: "zeros", M0: _ALL_ONES, M1: _ALL_ONES}
    if key in fixed:
        return fixed[key]
    return state.registers.get(key, ("undefined",))


def _is_written_register(key: Any) -> bool:
    return key not in (X0, V0, M0)


def _unless_full(state: State, row: tuple[int, int], num_cols: int) -> Any:
    return None if num_cols == 31 else state.rows.get(row, ("initial", row))


def _loaded(state: State, row: tuple[int, int], num_cols: int) -> Any:
    stored = state.rows.get(row, ("initial", row))
    if num_cols == 31 and stored[0] == "st" and stored[2] == 31:
        return stored[1]
    return _term("ld", stored, num_cols)


def _transfer(name: str, read: Sequence[Any], rs1: Any, state: State) -> Effect:
    address, dram, metadata = read
    shape = DmaShape.decode(metadata & _ALL_ONES)
    rows = [(shape.pad, (address >> 6) + row) for row in range(shape.rows)]
    if name == "scpad.ld":
        return Effect(((rs1, address),), rows=tuple((row, _term("dma", dram, row)) for row in rows))
    contents = tuple(state.rows.get(row, ("initial", row)) for row in rows)
    return Effect(((rs1, address),), call=("stored", dram, hash(contents)))


def _wrap(value: int) -> int:
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def _apply(state: State, effect: Effect) -> None:
    for key, value in effect.writes:
        if _is_written_register(key):
            state.registers[key] = value
    state.rows.update(effect.rows)
    if effect.weights is not None:
        state.weights = effect.weights
    if effect.transposes is not None:
        state.transposes = effect.transposes
    if effect.call is not None:
        state.calls.append(effect.call)


def run_function(function: Function, max_steps: int = 100_000) -> State:
    """Runs machine IR in program order from the entry to `halt.s`."""
    state, position = State(), {block.label: index for index, block in enumerate(function.blocks)}
    block = 0
    for _ in range(max_steps):
        target: str | None = None
        for inst in function.blocks[block].insts:
            effect = evaluate(inst.op, inst.operands, state)
            _apply(state, effect)
            if effect.halts:
                return state
            target = effect.target
        block = position[target] if target is not None else block + 1
    raise AssertionError("the function did not halt")


def run_packets(items: Sequence[Item], max_steps: int = 100_000) -> State:
    """Runs allocated code: each packet reads everything before it writes. Calls overwrite nothing."""
    packets = [item for item in items if not isinstance(item, Label)]
    labels = label_positions(items)
    state, at = State(), 0
    for _ in range(max_steps):
        effects = [evaluate(slot.op, _keys(slot.op, slot.operands), state) for slot in packets[at]]
        at += 1
        for effect in effects:
            _apply(state, effect)
            if effect.target is not None:
                at = labels[effect.target]
        if any(effect.halts for effect in effects):
            return state
    raise AssertionError("the code did not halt")


def _keys(op: Instruction, operands: Sequence[int | str]) -> list[Any]:
    return [
        physical(operand.file, value) if operand.file is not None and isinstance(value, int) else value
        for operand, value in zip(op.operands, operands, strict=True)
    ]


# Random functions

_LANE_OPS = ("add.vv", "sub.vv", "mul.vv", "add.vs", "mul.vs", "expi.vi", "rsum.vi", "rmax.vi")
_SCALAR_OPS = ("add.s", "mul.s", "addi.s", "muli.s", "add.bf", "rcp.bf", "stbf.s", "vmov.vts", "mv.mts")


class RandomFunction:
    """Builds a function of straight-line code and counted loops; `values` bounds how many stay in use per file."""

    def __init__(self, seed: int, num_values: int = 12, max_trips: int = 3) -> None:
        self._random = Random(seed)
        self._max_trips = max_trips
        self._num_values = num_values
        self._next_index = 0
        self._next_row = 0
        self._live: dict[RegisterFile, list[Register]] = {file: [] for file in RegisterFile}
        self.function = Function("random", [Block("entry")])

    def build(self, num_insts: int, loops: int = 1, with_area: bool = True) -> Function:
        """A function with `num_insts` random instructions per section and `loops` loops between sections."""
        base = self._new(_X)
        self._emit("lui.s", base, SPILL_BASE >> 7)
        if with_area:
            self.function.spill_area = SpillArea(SPILL_PAD, base, 512)
            self.function.blocks.append(Block("body"))
        for _ in range(3):
            self._constant()
            self._load()
        self._emit_random(num_insts)
        for number in range(loops):
            self._loop(f"loop{number}", num_insts)
            self.function.blocks.append(Block(f"after{number}"))
            self._emit_random(num_insts)
        for vector in self._live[_V]:
            self._store(vector)
        self.function.blocks[-1].insts.append(Inst(HALT, ()))
        return self.function

    def _loop(self, label: str, num_insts: int) -> None:
        counter, limit = self._new(_X), self._new(_X)
        self._emit("addi.s", counter, X0, 1)
        self._emit("addi.s", limit, X0, self._random.randrange(1, self._max_trips + 1))
        self.function.blocks.append(Block(label, loop_depth=1))
        self._emit_random(num_insts)
        for vector in self._random.sample(self._live[_V], min(2, len(self._live[_V]))):
            other = self._random.choice(self._live[_V])
            self._emit("add.vv", vector, vector, other, self._mask())
        self._emit("blt.s", counter, limit, label, 1)

    def _emit_random(self, num_insts: int) -> None:
        for _ in range(num_insts):
            kind = self._random.random()
            if kind < 0.15:
                self._load()
            elif kind < 0.2:
                self._constant()
            elif kind < 0.25:
                self._store(self._pick(_V))
            elif kind < 0.35:
                self._compare()
            elif kind < 0.45:
                self._scalar()
            elif kind < 0.55:
                self._array()
            else:
                self._lane()

    def _new(self, file: RegisterFile) -> Register:
        self._next_index += 1
        return Register(file, self._next_index)

    def _keep(self, register: Register) -> Register:
        live = self._live[register.file]
        if len(live) >= self._num_values:
            live.pop(self._random.randrange(len(live)))
        live.append(register)
        return register

    def _pick(self, file: RegisterFile) -> Register:
        live = self._live[file]
        if not live or self._random.random() < 0.05:
            return {_X: X0, _V: V0, _M: M0}[file]
        return self._random.choice(live)

    def _mask(self) -> Register:
        return self._random.choice((M0, M1))

    def _emit(self, mnemonic: str, *operands: Any, merges: bool = False, memory: tuple[MemoryRef, ...] = ()) -> None:
        self.function.blocks[-1].insts.append(Inst(BY_MNEMONIC[mnemonic], operands, merges, memory))

    def _constant(self) -> None:
        self._emit("addi.s", self._keep(self._new(_X)), X0, self._random.randrange(100))

    def _address(self, pad: int, row: int) -> tuple[Register, MemoryRef]:
        offset = self._new(_X)
        self._emit("addi.s", offset, X0, row)
        return offset, MemoryRef(f"pad{pad}", "rows", row, row + 1, False)

    def _load(self) -> None:
        pad = self._random.randrange(4)
        offset, ref = self._address(pad, self._random.randrange(8))
        self._emit("vreg.ld", self._keep(self._new(_V)), X0, offset, self._random.choice((31, 7)), pad, memory=(ref,))

    def _store(self, value: Register) -> None:
        pad = self._random.randrange(4)
        offset, ref = self._address(pad, self._random.randrange(8))
        written = MemoryRef(ref.space, ref.object, ref.low, ref.high, is_write=True)
        self._emit("vreg.st", value, X0, offset, self._random.choice((31, 7)), pad, memory=(written,))

    def _lane(self) -> None:
        op = BY_MNEMONIC[self._random.choice(_LANE_OPS)]
        merges = op.merges and bool(self._live[_M]) and bool(self._live[_V]) and self._random.random() < 0.4
        operands: list[Any] = []
        for operand in op.operands[1:-1]:
            operands.append(self._pick(operand.file) if operand.file is not None else 64)
        mask = self._random.choice(self._live[_M]) if merges else self._mask()
        destination = self._random.choice(self._live[_V]) if merges else self._keep(self._new(_V))
        self._emit(op.mnemonic, destination, *operands, mask, merges=merges)

    def _compare(self) -> None:
        first, second = self._pick(_V), self._pick(_V)
        self._emit("mgt.mvv", self._keep(self._new(_M)), first, second, self._mask())

    def _scalar(self) -> None:
        op = BY_MNEMONIC[self._random.choice(_SCALAR_OPS)]
        operands: list[Any] = []
        for operand in op.operands[1:]:
            if operand.role is Role.IGNORED:
                operands.append(0)
            else:
                operands.append(self._pick(operand.file) if operand.file is not None else self._random.randrange(32))
        if op.unit.name in ("EX1", "EX4"):
            operands = [X0 if isinstance(item, Register) else item for item in operands]
        self._emit(op.mnemonic, self._keep(self._new(_X)), *operands)

    def _array(self) -> None:
        if self._random.random() < 0.5:
            self._emit("lw.vi", 0, self._pick(_V), 0, self._mask())
        else:
            activation = self._pick(_V)
            self._emit("gemm.vv", self._keep(self._new(_V)), activation, 0, 0)
