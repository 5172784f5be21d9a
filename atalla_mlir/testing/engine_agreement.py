"""Do two engines agree on a program? Runs it on both, compares everything that can be seen, and reduces differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atalla_mlir.mc.print import disassemble
from atalla_mlir.sim.engine import Engine
from atalla_mlir.target import isa
from atalla_mlir.target.encoding import OPCODE, PACKET_BYTES, SLOTS, pack_packet
from atalla_mlir.target.machine import AX01, MACHINES, ArrayInterlock, Machine, ReduceMode
from atalla_mlir.target.registers import FILES, RegisterFile
from atalla_mlir.testing.program_generator import Program, Step, Words
from atalla_mlir.testing.programs import word

EngineFactory = Callable[[Machine], Engine]

_NOP = word("nop.s")
_SMALL = {"pad_rows": 128, "dram_bytes": 1 << 20}
"""Sizes that make engines cheap to create."""


def machines() -> tuple[Machine, ...]:
    """Parameter sets to compare on: the named ones, and variations of every size and rule that changes behaviour."""
    variations: tuple[dict[str, object], ...] = (
        {"reduce": ReduceMode.TREE16, "array_interlock": ArrayInterlock.IGNORE},
        {"array_interlock": ArrayInterlock.ERROR, "gsau_credits": 44},
        {"gsau_credits": 2, "gemm_latency": 9, "array_drain_cycles": 5, "reductions_in_flight": 1},
        {"vector_lanes": 16, "physical_lanes": 16, "reduce": ReduceMode.TREE16},
        {"vector_lanes": 8, "physical_lanes": 3, "pads": 2, "page_rows": 8},
        {"vector_lanes": 1, "physical_lanes": 1, "pads": 1},
        {"vector_lanes": 4, "pads": 3, "lanes_pipelined": False, "mul_shares_alu": True},
        {"icache_bytes": 0, "btb_entries": 0, "mispredict_penalty_cycles": 7},
        {"icache_bytes": 256, "icache_line_bytes": 16, "icache_beat_bytes": 4, "btb_entries": 3},
        {"icache_bytes": 128, "icache_line_bytes": 64, "icache_beat_bytes": 64, "dram_burst_bytes": 8},
        {"dcache_bytes": 256, "dcache_ways": 2, "dcache_line_bytes": 32, "dcache_mshrs": 1, "lsu_queue": 1},
        {"dcache_bytes": 512, "dcache_ways": 8, "dcache_targets_per_mshr": 1, "dram_latency_cycles": 48},
        {"pad_queue": 1, "pad_row_interval": 1, "pad_read_latency": 0, "pad_write_latency": 0},
        {"pad_queue": 3, "pad_row_interval": 5, "sdma_row_serial": False, "dram_burst_bytes": 16},
        {"dram_bursts_per_cycle": 0.3, "dram_latency_cycles": 0, "sdma_startup_cycles": 0},
        {"dram_bursts_per_cycle": 2.5, "sdma_row_serial": False, "transpose_queue": 1, "transpose_push_interval": 1},
        {"pad_rows": 8192, "dram_bytes": 1 << 32},
        {"physical_lanes": 32, "exp_latency": 0, "alu_latency": 1, "ex1_latency": 2, "ex1_interval": 2},
    )
    named = [machine.with_options(**_SMALL, name=machine.name) for machine in MACHINES.values()]
    return (*named, *(AX01.with_options(**_SMALL | variation) for variation in variations))


Observation = dict[str, Any]


def observe(engine: Engine, program: Program, *, timing: bool) -> Observation:
    """Runs a program on a fresh engine; results of all steps and everything that is left behind, by name."""
    engine.load_code(0, program.code)
    program.start.apply(engine)
    seen: Observation = {}
    for number, step in enumerate(program.steps):
        if step.launch_pc is not None:
            engine.set_pc(step.launch_pc)
        result = engine.run(max_packets=step.max_packets, breakpoints=step.breakpoints, timing=timing)
        seen[f"step {number}"] = result
        seen[f"pc after step {number}"] = engine.pc
        seen |= {f"{name} after step {number}": value for name, value in _counts(engine)}
    seen["lints"] = sorted(map(str, engine.lints))
    for file, shape in FILES.items():
        for index in range(shape.count):
            seen[f"{file.value}{index}"] = engine.read_register(file, index)
    for pad in range(program.machine.pads):
        seen[f"pad {pad}"] = engine.read_pad(pad, 0, program.machine.pad_rows)
    seen["dram"] = _dram(engine, program)
    return seen


def _counts(engine: Engine) -> Iterator[tuple[str, object]]:
    counters = engine.counters
    for field in dataclasses.fields(counters):
        value = getattr(counters, field.name)
        yield field.name, {key: count for key, count in value.items() if count} if isinstance(value, dict) else value


def _dram(engine: Engine, program: Program) -> bytes:
    start, size = program.start, program.machine.dram_bytes
    if size <= _SMALL["dram_bytes"]:
        return engine.read_dram(0, size)
    return engine.read_dram(start.dram_base, len(start.dram))


@dataclass(frozen=True)
class Difference:
    """One thing that two engines see differently."""

    name: str
    left: object
    right: object

    def __str__(self) -> str:
        return f"{self.name}: {_short(self.left)} against {_short(self.right)}"


def _short(value: object) -> str:
    text = f"{len(value)} bytes" if isinstance(value, bytes) else str(value)
    return text if len(text) <= 300 else f"{text[:300]}.."


def differences(left: Observation, right: Observation) -> list[Difference]:
    found: list[Difference] = []
    for name in left.keys() | right.keys():
        a, b = left.get(name), right.get(name)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            if a.shape != b.shape or not np.array_equal(a, b):
                found.append(_first_element(name, a, b))
        elif isinstance(a, bytes) and isinstance(b, bytes):
            if a != b:
                at = next(i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
                found.append(Difference(f"{name} byte 0x{at:X}", a[at], b[at]))
        elif a != b:
            found.append(Difference(name, a, b))
    return sorted(found, key=lambda difference: difference.name)


def _first_element(name: str, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> Difference:
    if a.shape != b.shape:
        return Difference(f"shape of {name}", a.shape, b.shape)
    at = tuple(int(i) for i in np.argwhere(a != b)[0])
    return Difference(f"{name}{list(at)}", hex(a[at]), hex(b[at]))


def compare(program: Program, left: EngineFactory, right: EngineFactory, *, timing: bool = True) -> list[Difference]:
    """What the two engines see differently on one program."""
    machine = program.machine
    return differences(observe(left(machine), program, timing=timing), observe(right(machine), program, timing=timing))


# Reduction

Predicate = Callable[[Program], bool]


def reduce(program: Program, fails: Predicate) -> Program:
    """A smaller program that still fails: fewer steps, instructions and values in the start state."""
    for candidate in (_one_run(program), _without_breakpoints(program)):
        if fails(candidate):
            program = candidate
    while True:
        smaller = _fewer_packets_run(_fewer_instructions(program, fails), fails)
        if _size(smaller) == _size(program):
            return _smaller_start(smaller, fails)
        program = smaller


def _size(program: Program) -> tuple[int, int]:
    return len(_filled(program)), sum(step.max_packets for step in program.steps)


def _one_run(program: Program) -> Program:
    return dataclasses.replace(program, steps=(Step(max_packets=sum(step.max_packets for step in program.steps)),))


def _without_breakpoints(program: Program) -> Program:
    steps = tuple(dataclasses.replace(step, breakpoints=frozenset()) for step in program.steps)
    return dataclasses.replace(program, steps=steps)


def _filled(program: Program) -> list[tuple[int, int]]:
    """Packet and slot of everything that is not a `nop.s`."""
    return [(at, slot) for at, words in enumerate(program.packets) for slot, w in enumerate(words) if w != _NOP]


def _without(program: Program, removed: Sequence[tuple[int, int]]) -> Program:
    gone = set(removed)
    packets = [
        tuple(_NOP if (at, slot) in gone else w for slot, w in enumerate(words))
        for at, words in enumerate(program.packets)
    ]
    while len(packets) > 1 and packets[-1] == (_NOP,) * SLOTS:
        packets.pop()
    return dataclasses.replace(program, packets=tuple(packets))


def _fewer_instructions(program: Program, fails: Predicate) -> Program:
    """Replaces instructions by `nop.s`, large groups first; packets keep their places, so jumps keep their meaning."""
    group = max(len(_filled(program)) // 2, 1)
    while True:
        places = _filled(program)
        for first in range(0, len(places), group):
            candidate = _without(program, places[first : first + group])
            if candidate.packets != program.packets and fails(candidate):
                program = candidate
        if group == 1:
            return program
        group //= 2


def _fewer_packets_run(program: Program, fails: Predicate) -> Program:
    """The fewest packets of the last step, by bisection."""
    *before, last = program.steps
    low, high = 0, last.max_packets
    while low + 1 < high:
        middle = (low + high) // 2
        candidate = dataclasses.replace(program, steps=(*before, dataclasses.replace(last, max_packets=middle)))
        if fails(candidate):
            high, program = middle, candidate
        else:
            low = middle
    return program


def _smaller_start(program: Program, fails: Predicate) -> Program:
    for start in (
        program.start.without_memories(),
        program.start.without_vectors(),
        program.start.without_masks(),
    ):
        candidate = dataclasses.replace(program, start=start)
        if fails(candidate):
            program = candidate
    for index, value in enumerate(program.start.scalars):
        if value:
            candidate = dataclasses.replace(program, start=program.start.without_scalars(frozenset({index})))
            if fails(candidate):
                program = candidate
    return program


def describe(program: Program) -> str:
    """A program as text: machine, start values that it reads, steps, packets."""
    used = _registers_used(program)
    lines = [f"machine {program.machine.name}, seed {program.seed}"]
    lines += [
        f"x{i} = 0x{v:08X}" for i, v in enumerate(program.start.scalars) if v and (RegisterFile.SCALAR, i) in used
    ]
    lines += [f"m{i} = 0x{v:08X}" for i, v in enumerate(program.start.masks) if v and (RegisterFile.MASK, i) in used]
    lines += [
        f"v{i} = {' '.join(f'{lane:04X}' for lane in row)}"
        for i, row in enumerate(program.start.vectors)
        if row.any() and (RegisterFile.VECTOR, i) in used
    ]
    for step in program.steps:
        jump = f"set_pc 0x{step.launch_pc:X}, " if step.launch_pc is not None else ""
        points = f", breakpoints {sorted(map(hex, step.breakpoints))}" if step.breakpoints else ""
        lines.append(f"{jump}run {step.max_packets} packets{points}")
    return "\n".join([*lines, _listing(program.packets)])


def _listing(packets: Sequence[Words]) -> str:
    lines: list[str] = []
    for at, words in enumerate(packets):
        if words != (_NOP,) * SLOTS:
            lines += disassemble(pack_packet(words), base=at * PACKET_BYTES).splitlines()[-1:]
    return "\n".join(lines)


def _registers_used(program: Program) -> set[tuple[RegisterFile, int]]:
    used: set[tuple[RegisterFile, int]] = set()
    for words in program.packets:
        for w in words:
            op = isa.BY_OPCODE.get(OPCODE.extract(w))
            for operand in op.operands if op is not None else ():
                if operand.file is not None and operand.takes_port:
                    used.add((operand.file, operand.field.extract(w)))
    return used
