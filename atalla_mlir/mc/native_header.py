"""The C++ header of the instruction table, so that native code spells no opcode and no bit position.

`python -m atalla_mlir.mc.native_header` writes it; with `--check` it only tells whether the file is up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path

from atalla_mlir.target import isa
from atalla_mlir.target.encoding import INSTRUCTION_BITS, OPCODE, PACKET_BYTES, SLOTS
from atalla_mlir.target.registers import FILES, HARD_WIRED, RegisterFile

HEADER = Path(__file__).parents[1] / "sim" / "native" / "isa_table.h"

_OPCODES = 1 << OPCODE.width_bits
_MAX_OPERANDS = max(len(row.operands) for row in isa.INSTRUCTIONS)
_MAX_PIECES = max(len(operand.field.pieces) for row in isa.INSTRUCTIONS for operand in row.operands)
_COMMAND = "python -m atalla_mlir.mc.native_header"

_STRUCTS = f"""\
// `width_bits` bits of a value, from value bit `source`, at word bit `low`.
struct Piece {{
  std::uint8_t low;
  std::uint8_t width_bits;
  std::uint8_t source;
}};

// `scale` is the unit of the encoded value; a signed field is two's complement over `width_bits`.
struct Operand {{
  File file;
  Role role;
  bool is_signed;
  std::uint8_t scale;
  std::uint8_t width_bits;
  std::uint8_t piece_count;
  std::array<Piece, {_MAX_PIECES}> pieces;
}};

// Operands are in assembly order. `merges`: inactive lanes or mask bits keep the old destination.
struct Instruction {{
  const char* mnemonic;
  bool is_defined;
  Format format;
  Unit unit;
  Latency latency;
  bool merges;
  std::uint8_t operand_count;
  std::array<Operand, {_MAX_OPERANDS}> operands;
}};

struct FileShape {{
  std::uint16_t count;
  std::uint8_t banks;
  std::uint8_t read_ports;
}};
"""

_FUNCTIONS = f"""\
constexpr std::uint8_t opcode_of(std::uint64_t word) {{ return word >> {OPCODE.pieces[0].low} & {_OPCODES - 1}; }}

constexpr bool is_read(Role role) {{ return role == Role::READ || role == Role::READ_WRITE; }}
constexpr bool is_written(Role role) {{ return role == Role::WRITE || role == Role::READ_WRITE; }}
constexpr bool takes_port(Role role) {{ return is_read(role) || role == Role::PORT; }}

// The operand's value in an instruction word: a register number or an immediate in its own unit (bytes, lanes, ..).
constexpr std::int32_t extract(const Operand& operand, std::uint64_t word) {{
  std::uint32_t raw = 0;
  for (std::size_t at = 0; at < operand.piece_count; ++at) {{
    const Piece& piece = operand.pieces[at];
    const std::uint64_t mask = (std::uint64_t{{1}} << piece.width_bits) - 1;
    raw |= static_cast<std::uint32_t>((word >> piece.low) & mask) << piece.source;
  }}
  std::int32_t value = static_cast<std::int32_t>(raw);
  if (operand.is_signed && (raw >> (operand.width_bits - 1)) != 0) value -= std::int32_t{{1}} << operand.width_bits;
  return value * operand.scale;
}}
"""


def header() -> str:
    """The text of the header."""
    return "\n".join([_preamble(), *_enumerations(), _STRUCTS, *_tables(), _FUNCTIONS, "}  // namespace atalla::isa\n"])


def _preamble() -> str:
    constants = {
        "kInstructionBits": INSTRUCTION_BITS,
        "kSlots": SLOTS,
        "kPacketBytes": PACKET_BYTES,
        "kOpcodes": _OPCODES,
        "kMaxOperands": _MAX_OPERANDS,
        "kHardWired": HARD_WIRED,
        "kLaneOpsPerPacket": isa.LANE_OPS_PER_PACKET,
    }
    lines = [
        f"// Made from atalla_mlir/target by `{_COMMAND}`; a test fails when it is out of date.",
        "#pragma once",
        "",
        "#include <array>",
        "#include <cstddef>",
        "#include <cstdint>",
        "",
        "namespace atalla::isa {",
        "",
        *(f"inline constexpr int {name} = {value};" for name, value in constants.items()),
        "",
    ]
    return "\n".join(lines)


def _enumerations() -> Iterator[str]:
    for kind in (isa.Format, isa.Role, isa.Unit, isa.Latency):
        yield _enumeration(kind.__name__, (member.name for member in kind))
    yield _enumeration("File", [*(file.name for file in RegisterFile), "NONE"])
    yield _enumeration("Opcode", (f"{row.op_name} = {row.opcode}" for row in isa.INSTRUCTIONS))


def _enumeration(name: str, members: Iterable[str]) -> str:
    body = "".join(f"  {member},\n" for member in members)
    return f"enum class {name} : std::uint8_t {{\n{body}}};\n"


def _tables() -> Iterator[str]:
    yield "// By File."
    yield f"inline constexpr std::array<FileShape, {len(FILES)}> kFiles = {{{{"
    for file in RegisterFile:
        shape = FILES[file]
        yield f"    {{{shape.count}, {shape.banks}, {shape.read_ports}}},  // {file.name}"
    yield "}};\n"
    yield "// Instructions per packet by Unit, VLSU for each pad; 0: no limit of its own (see kLaneOpsPerPacket)."
    yield f"inline constexpr std::array<std::uint8_t, {len(isa.Unit)}> kUnitLimits = {{{{"
    for unit in isa.Unit:
        yield f"    {isa.UNIT_LIMITS.get(unit, 0)},  // {unit.name}"
    yield "}};\n"
    yield "// By opcode; undefined opcodes, `li.s` among them, are not `is_defined`."
    yield f"inline constexpr std::array<Instruction, {_OPCODES}> kInstructions = {{{{"
    for opcode in range(_OPCODES):
        yield f"    {_row(isa.BY_OPCODE.get(opcode))},"
    yield "}};\n"


def _row(row: isa.Instruction | None) -> str:
    if row is None:
        return "{}"
    operands = ", ".join(map(_operand, row.operands))
    kinds = ", ".join(map(_member, (row.format, row.unit, row.latency)))
    flags = _bool(not row.is_pseudo)
    return (
        f'{{"{row.mnemonic}", {flags}, {kinds}, {_bool(row.merges)}, {len(row.operands)}, '
        f"{f'{{{{{operands}}}}}' if operands else '{}'}}}"
    )


def _operand(operand: isa.Operand) -> str:
    field = operand.field
    file = f"File::{operand.file.name if operand.file is not None else 'NONE'}"
    pieces = ", ".join(f"{{{piece.low}, {piece.width_bits}, {piece.source}}}" for piece in field.pieces)
    return (
        f"{{{file}, {_member(operand.role)}, {_bool(field.signed)}, {field.scale}, {field.width_bits}, "
        f"{len(field.pieces)}, {{{{{pieces}}}}}}}"
    )


def _member(value: Enum) -> str:
    return f"{type(value).__name__}::{value.name}"


def _bool(value: bool) -> str:
    return "true" if value else "false"


def main(arguments: list[str]) -> int:
    text = header()
    if HEADER.exists() and HEADER.read_text(encoding="utf-8") == text:
        return 0
    if "--check" in arguments:
        sys.stdout.write(f"{HEADER.name} is out of date, run `{_COMMAND}`\n")
        return 1
    HEADER.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
