"""A packet prepared for execution: decoded, checked, bound to the state."""

from __future__ import annotations

from collections.abc import Callable

from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.sim.coherence import DRAM_LOADS
from atalla_mlir.sim.engine import TrapKind
from atalla_mlir.sim.semantics import Action, bind
from atalla_mlir.sim.semantics_scalar import WORD
from atalla_mlir.sim.state import DmaAccess, State
from atalla_mlir.sim.traps import TrapError
from atalla_mlir.target import isa
from atalla_mlir.target.encoding import DmaShape

_WORD_BYTES = 4


class PreparedPacket:
    """Actions by filled slot, and how often the packet ran (counters are sums over packets)."""

    __slots__ = ("actions", "count", "dram_instructions", "guard", "halts", "instructions", "pc", "plan", "slots")

    def __init__(self, state: State, pc: int, slots: tuple[MachineInstruction | None, ...]) -> None:
        filled = [(i, slot) for i, slot in enumerate(slots) if slot is not None and slot.op is not isa.NOP]
        self.pc = pc
        self.slots = tuple(i for i, _ in filled)
        self.instructions = tuple(slot for _, slot in filled)
        self.actions: tuple[Action, ...] = tuple(bind(state, slot.op, slot.operands) for slot in self.instructions)
        self.halts = any(slot.op is isa.HALT for slot in self.instructions)
        self.dram_instructions = tuple(
            slot for slot in self.instructions if slot.op.unit in (isa.Unit.EX5, isa.Unit.SDMA)
        )
        self.guard = _conflict_guard(state, self.instructions)
        self.count = 0
        self.plan: object = None
        """What the timing model prepared for this packet."""


class ConflictError(TrapError):
    """Rule 3 of 5.1; `index` is the instruction of the packet that meets an earlier one."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(TrapKind.MEMORY_CONFLICT, message)
        self.index = index


def _conflict_guard(state: State, instructions: tuple[MachineInstruction, ...]) -> Callable[[], None] | None:
    """The check of 5.1 rule 3 where a legal packet can break it, else None.

    Read ports and units leave one such pair (5.2): a scalar load beside a `scpad.st`. Two row accesses of one pad need
    the same VLSU, and an SDMA leaves too few scalar ports for a store or a row access.
    """
    index_of = {instruction.op.mnemonic: i for i, instruction in enumerate(instructions)}
    load = next((index_of[name] for name in DRAM_LOADS if name in index_of), None)
    store = index_of.get("scpad.st")
    if load is None or store is None:
        return None
    _, imm, base = instructions[load].operands
    _, address_register, shape_register = instructions[store].operands
    x = state.x

    def check() -> None:
        address = (x[base] + imm) & WORD
        shape = DmaShape.decode(x[shape_register])
        dma = DmaAccess(shape.pad, 0, shape.rows, shape.cols, x[address_register], shape.pitch)
        word = address // _WORD_BYTES
        if any(first // _WORD_BYTES <= word <= last // _WORD_BYTES for first, last in dma.byte_runs()):
            raise ConflictError(
                max(load, store), f"the load and the store of this packet meet in dram word 0x{word * _WORD_BYTES:X}"
            )

    return check
