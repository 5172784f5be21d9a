"""The C++ header of what the native engine shares with the reference engine beside the instruction table.

Parameter set fields, trap kinds, stall causes, the DMA shape word, write priorities and the instructions with a timing
of their own. `python -m atalla_mlir.sim.native_header` writes it; with `--check` it only tells whether it is current.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from fractions import Fraction
from pathlib import Path

from atalla_mlir.sim.engine import StallCause, TrapKind
from atalla_mlir.sim.timing.caches import DECODE_CYCLES
from atalla_mlir.sim.timing.channel import DATA_CACHE, FIRST_SDMA, INSTRUCTION_CACHE, RELEASE_CYCLES
from atalla_mlir.sim.timing.plan import PRIORITY_SHIFT, SPECIALS, UNIT_INDEX, UNITS, WRITE_PRIORITY, Special
from atalla_mlir.target.encoding import OPCODE, DmaShape
from atalla_mlir.target.isa import BY_MNEMONIC, LANE_UNITS, Unit
from atalla_mlir.target.machine import AX01, ArrayInterlock, Machine, ReduceMode

HEADER = Path(__file__).parent / "native" / "machine_table.h"
RATE_LIMIT = 1024
"""Largest denominator of the channel's rate, as in `timing.channel`."""

_COMMAND = "python -m atalla_mlir.sim.native_header"
_TEXT_FIELDS = frozenset({"name"})
_RATE_FIELD = "dram_bursts_per_cycle"


def parameters(machine: Machine) -> dict[str, int]:
    """The fields of a parameter set as integers by name, as the C ABI takes them.

    Members of enumerations become their position, truth values 0 and 1, the channel's rate a numerator and a
    denominator.
    """
    values: dict[str, int] = {}
    for field in dataclasses.fields(machine):
        value = getattr(machine, field.name)
        if field.name in _TEXT_FIELDS:
            continue
        if field.name == _RATE_FIELD:
            rate = Fraction(value).limit_denominator(RATE_LIMIT)
            values["dram_bursts_numerator"], values["dram_bursts_denominator"] = rate.numerator, rate.denominator
        elif isinstance(value, Enum):
            values[field.name] = list(type(value)).index(value)
        else:
            values[field.name] = int(value)
    return values


def header() -> str:
    """The text of the header."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f"// Made from atalla_mlir/sim and atalla_mlir/target by `{_COMMAND}`; a test fails when it is out of date."
    yield "#pragma once"
    yield ""
    yield "#include <array>"
    yield "#include <cstdint>"
    yield ""
    yield "namespace atalla {"
    yield ""
    yield from _machine()
    yield from _enumeration("ArrayInterlock", [member.name for member in ArrayInterlock])
    yield from _enumeration("ReduceMode", [member.name for member in ReduceMode])
    yield from _enumeration("TrapKind", [f"{kind.name} = {kind.value}" for kind in TrapKind])
    yield from _enumeration("Cause", [cause.name for cause in StallCause])
    yield from _array("const char*", "kCauseNames", [f'"{cause.value}"' for cause in StallCause])
    yield from _enumeration("Special", ["NONE = -1", *(f"{kind.name} = {kind.value}" for kind in Special)])
    yield from _dma_shape()
    yield from _constants()
    yield "}  // namespace atalla"


def _machine() -> Iterator[str]:
    values = parameters(AX01)
    yield "// A parameter set, `ax01` by default; target/machine.py has the units."
    yield "struct Machine {"
    yield from (f"  std::int64_t {name} = {value};" for name, value in values.items())
    yield "};"
    yield ""
    yield "struct Parameter {"
    yield "  const char* name;"
    yield "  std::int64_t Machine::*field;"
    yield "};"
    yield ""
    yield from _array("Parameter", "kParameters", [f'{{"{name}", &Machine::{name}}}' for name in values])


def _dma_shape() -> Iterator[str]:
    """Bit positions of the shape word, found by encoding shapes that differ in one field."""
    pitch = 3
    base = DmaShape(0, 1, 1, pitch).encode()
    fields = {
        "Pad": (DmaShape(1, 1, 1, pitch).encode() - base, DmaShape(3, 1, 1, pitch).encode() - base),
        "Rows": (DmaShape(0, 2, 1, pitch).encode() - base, DmaShape(0, 32, 1, pitch).encode() - base),
        "Cols": (DmaShape(0, 1, 2, pitch).encode() - base, DmaShape(0, 1, 32, pitch + 32).encode() - base - 32),
        "Pitch": (1, DmaShape(0, 1, 1, 1 << 20).encode()),
    }
    yield "// Fields of the shape word of scpad.ld and scpad.st; rows, cols and pitch are stored less one, and a pitch"
    yield "// field of 0 means that rows follow each other without a gap."
    for name, (unit, largest) in fields.items():
        shift = unit.bit_length() - 1
        yield f"inline constexpr int kDma{name}Shift = {shift};"
        yield f"inline constexpr std::uint32_t kDma{name}Mask = {largest >> shift:#x};"
    yield ""


def _constants() -> Iterator[str]:
    yield from (
        f"inline constexpr int {name} = {value};"
        for name, value in (
            ("kTimedUnits", UNITS),
            ("kPriorityShift", PRIORITY_SHIFT),
            ("kDecodeCycles", DECODE_CYCLES),
            ("kReleaseCycles", RELEASE_CYCLES),
            ("kInstructionCacheMaster", INSTRUCTION_CACHE),
            ("kDataCacheMaster", DATA_CACHE),
            ("kFirstSdmaMaster", FIRST_SDMA),
        )
    )
    yield ""
    yield "// By isa::Unit; -1: the unit has none."
    yield from _array("std::int8_t", "kUnitIndex", [str(UNIT_INDEX.get(unit, -1)) for unit in Unit])
    yield from _array("std::int8_t", "kWritePriority", [str(WRITE_PRIORITY.get(unit, -1)) for unit in Unit])
    yield from _array("bool", "kIsLaneUnit", [str(unit in LANE_UNITS).lower() for unit in Unit])
    yield "// By opcode."
    by_opcode = {BY_MNEMONIC[mnemonic].opcode: kind.name for mnemonic, kind in SPECIALS.items()}
    opcodes = range(1 << OPCODE.width_bits)
    yield from _array("Special", "kSpecials", [f"Special::{by_opcode.get(opcode, 'NONE')}" for opcode in opcodes])
    control = {instruction.opcode for instruction in BY_MNEMONIC.values() if instruction.is_control}
    yield from _array("bool", "kIsControl", [str(opcode in control).lower() for opcode in opcodes])


def _enumeration(name: str, members: Iterable[str]) -> Iterator[str]:
    yield f"enum class {name} : std::int32_t {{"
    yield from (f"  {member}," for member in members)
    yield "};"
    yield ""


def _array(element: str, name: str, values: list[str]) -> Iterator[str]:
    yield f"inline constexpr std::array<{element}, {len(values)}> {name} = {{{{"
    yield from (f"    {value}," for value in values)
    yield "}};"
    yield ""


def main(arguments: list[str]) -> int:
    text = header()
    if HEADER.exists() and HEADER.read_text(encoding="utf-8") == text:
        return 0
    if "--check" in arguments:
        sys.stderr.write(f"{HEADER} is out of date; run `{_COMMAND}`\n")
        return 1
    HEADER.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
