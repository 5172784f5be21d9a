"""Runs random programs on several engines and tells whether anything differs; reduces them to small programs.

Compared are results of `run` with trap texts, all registers, pads, DRAM, counters with cycles and stall causes, lints,
and of some programs what observers are told. Runs are cut into pieces by step limits, breakpoints and a snapshot that
is restored, which must not matter.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from random import Random
from typing import Any

import numpy as np

from atalla_mlir.mc.print import disassemble
from atalla_mlir.sim.engine import Engine, RunResult, StallCause
from atalla_mlir.sim.native import NativeEngine
from atalla_mlir.sim.observer import Observer
from atalla_mlir.target.encoding import PACKET_BYTES, SLOTS, pack_packet
from atalla_mlir.target.isa import NOP
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import FILES, RegisterFile
from atalla_mlir.testing.program_generator import VECTORS, RandomProgram

__all__ = ["VARIANTS", "Difference", "compare", "difference_of", "natives", "reduced"]

MAX_PACKETS = 600
VARIANTS = ("avx512", "avx2", "baseline")
"""Of the native engine's vector code; where the processor lacks one, the baseline runs."""
EngineMaker = Callable[[Machine], Engine]

_VARIANT = "ATALLA_ENGINE_VARIANT"
_OBSERVED_SHARE = 4
"""One program of so many is observed on two of the engines; the variants differ in vector code only."""


@dataclass(frozen=True)
class Difference:
    """The first thing that two engines disagree about, and the program that shows it."""

    program: RandomProgram
    engine: str
    """Which of the engines on the right."""
    what: str
    left: object
    right: object

    def __str__(self) -> str:
        machine = self.program.machine
        changes = {
            name: value for name, value in vars(machine).items() if value != getattr(Machine(), name) and name != "name"
        }
        return (
            f"seed {self.program.seed}: {self.what} differs: {self.left} and, {self.engine}, {self.right}\n"
            f"machine {machine.name} with {changes}\n"
            f"{_text(self.program)}"
        )


class _SpanList(Observer):
    """Everything that an observer is told, as it comes."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def packet(self, pc: int, issue: int, mnemonics: tuple[str, ...]) -> None:
        self.told.append(("packet", pc, issue, mnemonics))

    def stall(self, cause: StallCause, pc: int, start: int, end: int) -> None:
        self.told.append((cause, pc, start, end))

    def busy(self, unit: str, name: str, pc: int, start: int, end: int) -> None:
        self.told.append((unit, name, pc, start, end))

    def transfer(self, pad: int, pc: int, start: int, end: int, details: Mapping[str, Any]) -> None:
        self.told.append(("transfer", pad, pc, start, end, dict(details)))


def natives(variants: Iterable[str] = VARIANTS) -> dict[str, EngineMaker]:
    """Makers of native engines by variant."""
    return {variant: _native(variant) for variant in variants}


def _native(variant: str) -> EngineMaker:
    def make(machine: Machine) -> Engine:
        before = os.environ.get(_VARIANT)
        os.environ[_VARIANT] = variant
        try:
            return NativeEngine(machine)
        finally:
            os.environ.pop(_VARIANT)
            if before is not None:
                os.environ[_VARIANT] = before

    return make


def compare(program: RandomProgram, left: EngineMaker, rights: Mapping[str, EngineMaker]) -> Difference | None:
    """The first difference between an engine and some others on a program, reduced; None when all agree."""
    found = difference_of(program, left, rights)
    if found is None:
        return None
    pair = {found.engine: rights[found.engine]}
    smaller = reduced(program, lambda candidate: difference_of(candidate, left, pair) is not None)
    return difference_of(smaller, left, pair) or found


def difference_of(program: RandomProgram, left: EngineMaker, rights: Mapping[str, EngineMaker]) -> Difference | None:
    """The first difference between an engine and some others on a program."""
    engine = left(program.machine)
    others = {name: make(program.machine) for name, make in rights.items()}
    for loaded in (engine, *others.values()):
        _load(loaded, program)
    observed = next(iter(others))
    spans, other_spans = _SpanList(), _SpanList()
    if program.seed % _OBSERVED_SHARE == 0:
        engine.observe(spans)
        others[observed].observe(other_spans)
    for what, run in _pieces(program):
        result = run(engine)
        for name, other in others.items():
            if result != (theirs := run(other)):
                return Difference(program, name, what, result, theirs)
    for what, observe in _observations(program):
        value = observe(engine)
        for name, other in others.items():
            if not _equal(value, theirs := observe(other)):
                return Difference(program, name, what, *_first_difference(value, theirs))
    for ours, theirs in zip_longest(spans.told, other_spans.told):
        if ours != theirs:
            return Difference(program, observed, "what an observer is told", ours, theirs)
    return None


def reduced(program: RandomProgram, fails: Callable[[RandomProgram], bool]) -> RandomProgram:
    """A program that still fails with as many packets and instructions as possible turned into `nop.s`."""
    empty = (NOP.opcode,) * SLOTS
    count = len(program.packets)
    size = count
    while size >= 1:
        for start in range(0, count, size):
            packets = list(program.packets)
            packets[start : start + size] = [empty] * len(packets[start : start + size])
            program = _better(program, tuple(packets), fails)
        size //= 2
    for at in range(count):
        for slot in range(SLOTS):
            packets = list(program.packets)
            packets[at] = (*packets[at][:slot], NOP.opcode, *packets[at][slot + 1 :])
            program = _better(program, tuple(packets), fails)
    return program


def _better(
    program: RandomProgram, packets: tuple[tuple[int, ...], ...], fails: Callable[[RandomProgram], bool]
) -> RandomProgram:
    if packets == program.packets:
        return program
    candidate = program.with_packets(packets)
    return candidate if fails(candidate) else program


def _load(engine: Engine, program: RandomProgram) -> None:
    engine.load_code(0, b"".join(pack_packet(words) for words in program.packets))
    engine.write_dram(0, program.dram)
    for pad, rows in enumerate(program.pads):
        engine.write_pad(pad, 0, rows)
    for number, value in program.scalars.items():
        engine.write_register(RegisterFile.SCALAR, number, value)
    for number, value in program.masks.items():
        engine.write_register(RegisterFile.MASK, number, value)
    for number in VECTORS:
        engine.write_register(RegisterFile.VECTOR, number, program.vectors[number])


def _pieces(program: RandomProgram) -> Iterable[tuple[str, Callable[[Engine], RunResult]]]:
    """Runs one after the other, drawn from the program's seed."""
    random = Random(program.seed)
    timing = random.random() < 0.8
    style = random.randrange(6)
    if style == 0:
        for piece in range(random.randrange(1, 4)):
            steps = random.choice((0, 1, 5, 30))
            counts = timing and random.random() < 0.9
            yield f"piece {piece}", lambda engine, n=steps, c=counts: engine.run(max_packets=n, timing=c)
    elif style == 1:
        places = frozenset(random.randrange(40) * PACKET_BYTES for _ in range(random.randrange(1, 4)))
        for piece in range(4):
            yield (
                f"breakpoint {piece}",
                lambda engine: engine.run(max_packets=MAX_PACKETS, breakpoints=places, timing=timing),
            )
    elif style == 2:
        yield "run before a restored snapshot", lambda engine: _detour(engine, timing)
    elif style == 3:
        yield "run before a reset", lambda engine: _reset(engine, timing)
    elif style == 4:
        yield "run before new code", lambda engine: _replace_code(engine, program, timing)
    yield "run", lambda engine: engine.run(max_packets=MAX_PACKETS, timing=timing)
    if random.random() < 0.3:
        yield "second launch", lambda engine: _launch_again(engine, timing)


def _detour(engine: Engine, timing: bool) -> RunResult:
    """Runs a little, goes on, and comes back."""
    engine.run(max_packets=7, timing=timing)
    saved = engine.snapshot()
    result = engine.run(max_packets=50, timing=timing)
    engine.restore(saved)
    return result


def _reset(engine: Engine, timing: bool) -> RunResult:
    """Runs a little and starts over; DRAM and code stay."""
    result = engine.run(max_packets=20, timing=timing)
    engine.reset()
    return result


def _replace_code(engine: Engine, program: RandomProgram, timing: bool) -> RunResult:
    """Runs a little, then puts the later half of the packets in place of the earlier one."""
    result = engine.run(max_packets=20, timing=timing)
    engine.load_code(0, b"".join(pack_packet(words) for words in program.packets[len(program.packets) // 2 :]))
    return result


def _launch_again(engine: Engine, timing: bool) -> RunResult:
    engine.set_pc(0)
    return engine.run(max_packets=MAX_PACKETS, timing=timing)


def _observations(program: RandomProgram) -> Iterable[tuple[str, Callable[[Engine], object]]]:
    machine = program.machine
    yield "counters", lambda engine: engine.counters
    yield "pc", lambda engine: engine.pc
    for file, shape in FILES.items():
        for number in range(shape.count):
            yield f"{file.value}{number}", lambda engine, f=file, n=number: engine.read_register(f, n)
    for pad in range(machine.pads):
        yield f"pad {pad}", lambda engine, p=pad: engine.read_pad(p, 0, machine.pad_rows)
    yield "dram", lambda engine: engine.read_dram(0, machine.dram_bytes)
    yield "lints", lambda engine: engine.lints


def _equal(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray):
        return bool(np.array_equal(left, np.asarray(right)))
    return left == right


def _first_difference(left: object, right: object) -> tuple[object, object]:
    """Of long values, the first element that differs, with its position."""
    if isinstance(left, bytes) and isinstance(right, bytes):
        left, right = np.frombuffer(left, np.uint8), np.frombuffer(right, np.uint8)
    if not isinstance(left, np.ndarray) or not isinstance(right, np.ndarray):
        return left, right
    place = tuple(int(at) for at in np.argwhere(left != right)[0])
    return (place, hex(left[place])), (place, hex(right[place]))


def _text(program: RandomProgram) -> str:
    """The program without its empty packets, by PC."""
    lines: list[str] = []
    for index, words in enumerate(program.packets):
        if any(word not in (0, NOP.opcode) for word in words):
            lines.append(f"0x{index * PACKET_BYTES:X}: {' '.join(f'{word:010X}' for word in words)}")
            lines.append(_disassembly(words))
    return "\n".join(lines)


def _disassembly(words: tuple[int, ...]) -> str:
    try:
        return disassemble(pack_packet(words))
    except ValueError as error:
        return f"  ({error})"
