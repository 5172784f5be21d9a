"""Counted loops of one block: what pipelining needs to know about them, and what it makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir.codegen.kernel import Kernel, LoopReport, constant
from atalla_mlir.codegen.machine_ir import Block, Function, Inst, Register
from atalla_mlir.codegen.spill import constant_definitions
from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import FILES, RegisterFile

COLD_PACKET_CYCLES = 4
"""What a packet counts for in scheduling when it runs once, because the instruction cache fills at this rate (5.6)."""
FETCH_CYCLES = 4
"""What fetching a packet adds to the time that it takes anyway."""
PACKED_SLOTS = 2.2
"""Slots that list scheduling fills in code that runs once, on average."""

REGISTER_LIMITS: Mapping[RegisterFile, int] = {
    RegisterFile.SCALAR: FILES[RegisterFile.SCALAR].count - 16,
    RegisterFile.VECTOR: FILES[RegisterFile.VECTOR].count - 6,
    RegisterFile.MASK: FILES[RegisterFile.MASK].count - 3,
}
"""Values in flight beyond which a kernel is not accepted."""


@dataclass(frozen=True)
class CountedLoop:
    """A block that repeats itself `trip_count` times: its body without the branch that counts."""

    block: Block
    body: tuple[Inst, ...]
    trip_count: int


@dataclass(frozen=True)
class LoopContext:
    """Where a loop stands.

    `cycles` and `packets` are those of one iteration as it is; `surrounding_packets` the other code of the loop around
    it, None when there is none. `live_through` counts values that the body does not write, `needed_after` are the
    registers that are read after the loop. `pushes_weights_first`: no other code counts on the array's weights.
    """

    cycles: int
    packets: int
    surrounding_packets: int | None
    live_through: Mapping[RegisterFile, int]
    needed_after: frozenset[Register]
    pushes_weights_first: bool
    settled: frozenset[Register] = frozenset()
    """Vectors whose banks an earlier loop has chosen, which reads them as well."""

    def has_room(self, live: Mapping[RegisterFile, int]) -> bool:
        """Whether registers are left for the values of a kernel."""
        return all(live[file] + self.live_through[file] <= limit for file, limit in REGISTER_LIMITS.items())

    def fetched_packets(self, num_packets: int, machine: Machine) -> int:
        """Packets fetched each time a loop of `num_packets` is entered, its own and those around it.

        A direct-mapped cache keeps of a loop nest that exceeds it what does not share a line with the excess.
        """
        if self.surrounding_packets is None:
            return num_packets
        total = num_packets + self.surrounding_packets
        excess = total - machine.icache_bytes // PACKET_BYTES
        return min(total, 2 * max(0, excess))

    def entered_cycles(self, parts: Sequence[LoopPart], machine: Machine) -> int:
        """Time from entering a loop that consists of `parts` to leaving it, with the time to fetch code."""
        running = sum(part.runs * part.cycles for part in parts)
        num_packets = sum(part.packets for part in parts if part.runs)
        return running + FETCH_CYCLES * self.fetched_packets(num_packets, machine)


@dataclass(frozen=True)
class LoopPart:
    """Code of `packets` that takes `cycles` once it is in the cache and runs `runs` times."""

    packets: int
    cycles: int
    runs: int


@dataclass(frozen=True)
class PipelinedLoop:
    """The blocks that replace a loop, the banks of the registers that they add, and the report."""

    blocks: tuple[Block, ...]
    banks: Mapping[Register, int]
    report: LoopReport
    next_index: int
    counts_on_banks: bool = False
    """Whether the registers should keep these banks: with others packets wait for longer."""


def find_counted_loop(block: Block, constants: Mapping[Register, int]) -> CountedLoop | None:
    """The block as a loop `for counter = 1; counter < limit; counter += 1` with a known limit, or None."""
    branch = block.control
    if branch is None or branch.op.mnemonic != "blt.s" or branch.target != block.label or block.packets is not None:
        return None
    counter, limit, _, increment = branch.operands
    if not isinstance(counter, Register) or not isinstance(limit, Register) or increment != 1:
        return None
    body = tuple(block.insts[:-1])
    if any(counter in inst.registers or limit in inst.defs for inst in body):
        return None
    if limit not in constants or constants.get(counter) != 1:
        return None
    return CountedLoop(block, body, constants[limit])


def carried_registers(body: Sequence[Inst]) -> set[Register]:
    """Registers that an iteration reads before it writes them: what the iteration before left there."""
    written: set[Register] = set()
    carried: set[Register] = set()
    for inst in body:
        carried.update(register for register in inst.uses if register not in written)
        written.update(inst.defs)
    return carried & written


def constant_values(function: Function) -> dict[Register, int]:
    """Registers that hold one constant whenever a loop starts: written once by constants, or also by loop counters."""
    insts = [inst for inst in function.instructions() if not inst.op.is_branch]
    values: dict[Register, int] = {}
    for register, makers in constant_definitions(insts).items():
        value = 0
        for inst in makers:
            immediate = inst.operands[-1]
            assert isinstance(immediate, int)
            value = immediate << 7 if inst.op.mnemonic == "lui.s" else value + immediate
        values[register] = value
    return values


def trip_count(branch: Inst | None, constants: Mapping[Register, int]) -> int | None:
    """How often a block runs that ends with `branch`, when it counts from one constant to another."""
    if branch is None or branch.op.mnemonic != "blt.s":
        return None
    counter, limit, _, increment = branch.operands
    if not isinstance(counter, Register) or not isinstance(limit, Register) or not isinstance(increment, int):
        return None
    if counter not in constants or limit not in constants or increment < 1:
        return None
    return max(1, -(-(constants[limit] - constants[counter]) // increment) + 1)


class Repeat:
    """The counting of block `label`, which runs `trips` times: what starts it, and the branch that repeats it."""

    def __init__(self, kernel: Kernel, label: str, trips: int) -> None:
        self.start: list[Inst] = []
        self.branch: Inst | None = None
        if trips > 1:
            counter, limit = kernel.new_scalar(), kernel.new_scalar()
            self.start = [*constant(counter, 1), *constant(limit, trips)]
            self.branch = Inst(BY_MNEMONIC["blt.s"], (counter, limit, label, 1))


def kernel_block(label: str, packets: list[tuple[Inst, ...]], depth: int) -> Block:
    return Block(label, [inst for packet in packets for inst in packet], depth, tuple(packets))
