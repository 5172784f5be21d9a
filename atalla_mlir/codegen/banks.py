"""Which bank each register should live in.

A packet that reads k >= 2 registers of one bank issues k cycles late (machine reference 5.3), and random banks cost
more than latencies. Every register gets a preferred bank by greedy choice and local search over the graph of registers
that are read in the same packet; the scheduler then treats banks as ports, and the allocator numbers accordingly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from atalla_mlir.codegen.liveness import Packet
from atalla_mlir.codegen.machine_ir import M0, M1, Inst, Register
from atalla_mlir.target.isa import Unit
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import FILES, RegisterFile

MAX_WEIGHED_DEPTH = 3


def loop_weight(depth: int) -> int:
    """Estimated executions of a block, relative to straight-line code."""
    return 10 ** min(depth, MAX_WEIGHED_DEPTH)


def is_all_ones(register: Register) -> bool:
    """m0 and m1 hold the same, so a read of either can be served by both banks."""
    return register is M0 or register is M1


SWEEPS = 3
FAR_FEWER = 300
"""Weight of conflicts that tells in cycles; less is lost among what else a schedule depends on."""


Weights = dict[Register, dict[Register, int]]
LateWrite = tuple[Register, Register, int]
"""Two scalar registers whose banks should differ, and how much that counts."""
KeptBank = tuple[Register, int, int]
"""A register, the bank that it should stay in, and how much that counts."""


@dataclass
class BankGraph:
    """How often registers are read together, in weighted packets.

    `pairs[a][b]` is the weight of packets that read both, `within[a][b]` of single instructions that do, which no
    other choice of packets can keep apart; `biases[a][bank]` counts fixed registers of the bank read beside a.
    """

    num_banks: int
    pairs: Weights = field(default_factory=lambda: defaultdict(dict))
    within: Weights = field(default_factory=lambda: defaultdict(dict))
    biases: dict[Register, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))

    def add_packet(self, reads: Sequence[Sequence[Register]], weight: int) -> None:
        """Records one packet; `reads` are the registers that each of its instructions reads."""
        together = [register for group in reads for register in group]
        virtual = list(dict.fromkeys(register for register in together if register.pinned is None))
        _add_pairs(self.pairs, virtual, weight)
        for group in reads:
            if len(group) > 1:
                _add_pairs(self.within, [register for register in group if register.pinned is None], weight)
        for fixed in (register.pinned for register in together if register.pinned is not None):
            bank = fixed % self.num_banks
            for register in virtual:
                self.biases[register][bank] = self.biases[register].get(bank, 0) + weight

    def keep_apart(self, first: Register, second: Register, weight: int) -> None:
        """Records that two registers should be in different banks, though nothing reads them together."""
        _add_pairs(self.pairs, [first, second], weight)

    def keep(self, register: Register, bank: int, weight: int) -> None:
        """Records that a register should be in a bank."""
        for other in set(range(self.num_banks)) - {bank}:
            self.biases[register][other] = self.biases[register].get(other, 0) + weight

    def costs(self, register: Register, banks: Mapping[Register, int]) -> list[int]:
        """Weight of the conflicts that `register` would have in each bank, given the banks of the others."""
        costs = [0] * self.num_banks
        for bank, weight in self.biases.get(register, {}).items():
            costs[bank] += weight
        for other, weight in self.pairs.get(register, {}).items():
            if other in banks:
                costs[banks[other]] += weight
        return costs


def _add_pairs(weights: Weights, registers: Sequence[Register], weight: int) -> None:
    for position, first in enumerate(registers):
        for second in registers[position + 1 :]:
            if first is not second:
                weights[first][second] = weights[first].get(second, 0) + weight
                weights[second][first] = weights[second].get(first, 0) + weight


def prefer_banks(
    masks: Mapping[Register, int], graph: BankGraph, known: Mapping[Register, int] | None = None
) -> dict[Register, int]:
    """A preferred bank for every register of `masks` (live ranges).

    Registers that single instructions read together are first split into two halves of the banks (addresses here,
    offsets there) and choose first; then few conflicts count, then evenly filled banks. Of two ways to split, the
    second is taken where it leaves far fewer conflicts. Registers in `known` start in that bank.
    """
    if known:
        return _prefer(masks, graph, known, {})
    first, second = (
        _prefer(masks, graph, {}, split(masks, graph.within)) for split in (_split_registers, _split_pairs)
    )
    first_cost, second_cost = (
        sum(graph.costs(register, banks)[bank] for register, bank in banks.items()) for banks in (first, second)
    )
    return second if second_cost + FAR_FEWER <= first_cost else first


def _prefer(
    masks: Mapping[Register, int], graph: BankGraph, known: Mapping[Register, int], halves: Mapping[Register, int]
) -> dict[Register, int]:
    banks = {register: bank for register, bank in known.items() if register in masks}
    load = [0] * graph.num_banks
    for register, bank in banks.items():
        load[bank] += masks[register].bit_count()
    undecided = [register for register in masks if register not in banks]
    for register in sorted(_by_importance(undecided, graph.pairs), key=lambda register: register not in halves):
        costs = graph.costs(register, banks)
        bank = min(_choices(register, halves, graph.num_banks), key=lambda bank: (costs[bank], load[bank]))
        banks[register] = bank
        load[bank] += masks[register].bit_count()
    for _ in range(SWEEPS):
        if not _improve_preferences(banks, halves, graph):
            break
    return banks


def _by_importance(registers: Iterable[Register], weights: Weights) -> list[Register]:
    importance = {register: sum(weights.get(register, {}).values()) for register in registers}
    return sorted(importance, key=lambda register: (-importance[register], register.index))


def _split_registers(registers: Iterable[Register], within: Weights) -> dict[Register, int]:
    """Half 0 or 1 for registers that instructions read together, so that few are in the same half.

    Each chooses in turn, the most important first.
    """
    halves: dict[Register, int] = {}
    for register in _by_importance((register for register in registers if register in within), within):
        costs = [0, 0]
        for other, weight in within[register].items():
            if other in halves:
                costs[halves[other]] += weight
        halves[register] = int(costs[0] > costs[1])
    return halves


def _split_pairs(registers: Iterable[Register], within: Weights) -> dict[Register, int]:
    """The same by pairs, which are taken apart, the heaviest first, unless that brings together what is apart already.

    Where addresses and offsets can be told apart by their pairs, all are.
    """
    ordered = _by_importance((register for register in registers if register in within), within)
    ranks = {register: rank for rank, register in enumerate(ordered)}
    pairs = sorted(
        (-weight, first, second)
        for register, first in ranks.items()
        for other, weight in within[register].items()
        if (second := ranks.get(other, -1)) > first
    )
    leaders, sides = list(range(len(ordered))), [0] * len(ordered)

    def leader(rank: int) -> tuple[int, int]:
        """The first of those whose halves hang together, and whether it is in the other half."""
        side = 0
        while leaders[rank] != rank:
            side ^= sides[rank]
            rank = leaders[rank]
        return rank, side

    for _, first, second in pairs:
        (low, low_side), (high, high_side) = sorted((leader(first), leader(second)))
        if low != high:
            leaders[high], sides[high] = low, low_side ^ high_side ^ 1
    return {register: leader(rank)[1] for register, rank in ranks.items()}


def _choices(register: Register, halves: Mapping[Register, int], num_banks: int) -> range:
    if register not in halves:
        return range(num_banks)
    size = num_banks // 2
    return range(halves[register] * size, (halves[register] + 1) * size)


def _improve_preferences(banks: dict[Register, int], halves: Mapping[Register, int], graph: BankGraph) -> bool:
    improved = False
    for register, bank in banks.items():
        costs = graph.costs(register, banks)
        best = min(_choices(register, halves, graph.num_banks), key=costs.__getitem__)
        if costs[best] < costs[bank]:
            banks[register] = best
            improved = True
    return improved


def bank_graphs(
    blocks: Sequence[Sequence[Packet]],
    depths: Sequence[int],
    late: Sequence[LateWrite] = (),
    kept: Sequence[KeptBank] = (),
) -> dict[RegisterFile, BankGraph]:
    """The graph of each file for code in packets; `late` are the results that should not meet on a write port, and
    `kept` the registers that should stay in a bank."""
    graphs = {file: BankGraph(shape.banks) for file, shape in FILES.items()}
    for packets, depth in zip(blocks, depths, strict=True):
        weight = loop_weight(depth)
        for packet in packets:
            reads = [[register for register in inst.port_reads if not is_all_ones(register)] for inst in packet]
            for file, graph in graphs.items():
                graph.add_packet([[register for register in group if register.file is file] for group in reads], weight)
    for first, second, weight in late:
        graphs[RegisterFile.SCALAR].keep_apart(first, second, weight)
    for register, bank, weight in kept:
        graphs[register.file].keep(register, bank, weight)
    return graphs


_LATE_UNITS = frozenset({Unit.EX2, Unit.EX3, Unit.EX4})
"""Of which results wait for the write port of their bank while the first unit writes there (machine reference 5.3)."""
_SOON_PACKETS = 3
"""From the first packet that may read a result: a reader in these would wait as well."""


def late_writes(blocks: Sequence[Sequence[Packet]], depths: Sequence[int], machine: Machine) -> list[LateWrite]:
    """Scalar results that are read soon, each with those that are written in the same cycle and go first."""
    found: list[LateWrite] = []
    for packets, depth in zip(blocks, depths, strict=True):
        for at, packet in enumerate(packets):
            for inst in packet:
                if inst.op.unit in _LATE_UNITS:
                    rivals = _first_results(packets, at + machine.latency(inst.op.latency) - machine.ex1_latency)
                    results = _read_soon(inst, packets, at + machine.distance(inst.op)) if rivals else []
                    found.extend((result, rival, loop_weight(depth)) for result in results for rival in rivals)
    return found


def _first_results(packets: Sequence[Packet], at: int) -> list[Register]:
    """The virtual registers that the first scalar unit writes in packet `at`."""
    insts = packets[at] if at < len(packets) else ()
    return [result for inst in insts if inst.op.unit is Unit.EX1 for result in inst.defs if result.pinned is None]


def _read_soon(inst: Inst, packets: Sequence[Packet], ready: int) -> list[Register]:
    """The virtual scalar registers that an instruction writes and a packet reads from number `ready` on."""
    soon = {used for packet in packets[ready : ready + _SOON_PACKETS] for reader in packet for used in reader.uses}
    results = (result for result in inst.defs if result.file is RegisterFile.SCALAR and result.pinned is None)
    return [result for result in results if result in soon]


BANK_OFFSETS = {RegisterFile.SCALAR: 0, RegisterFile.VECTOR: 4, RegisterFile.MASK: 8}
"""Where the bits that stand for the banks of each file begin."""


def bank_bit(file: RegisterFile, bank: int) -> int:
    """The bit that stands for a bank of a file."""
    return 1 << (BANK_OFFSETS[file] + bank)


def fixed_bank(register: Register) -> int:
    """The bit of the bank that reading a fixed register takes, 0 for one in all banks; -1 for a virtual one."""
    if register.pinned is None:
        return -1
    return 0 if is_all_ones(register) else bank_bit(register.file, register.pinned % FILES[register.file].banks)


def fixed_and_open_reads(inst: Inst) -> tuple[int, tuple[Register, ...]]:
    """The banks of fixed registers that an instruction reads, as a bit set over all files, and its other registers."""
    fixed = 0
    read: list[Register] = []
    for register in inst.port_reads:
        if register.pinned is None:
            read.append(register)
        else:
            fixed |= fixed_bank(register)
    return fixed, tuple(read)


def bank_bits(inst: Inst, banks: Mapping[Register, int]) -> int:
    """The banks that an instruction reads, as a bit set over all files; a packet should not hold two that overlap."""
    found, read = fixed_and_open_reads(inst)
    for register in read:
        bank = banks.get(register)
        if bank is not None:
            found |= bank_bit(register.file, bank)
    return found
