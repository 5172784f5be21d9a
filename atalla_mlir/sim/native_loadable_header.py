"""The C++ header of what the native reader of loadables shares with `loadable/`: the file format, addresses that host
and firmware agree on, and the parameter sets that a loadable may name.

`python -m atalla_mlir.sim.native_loadable_header` writes it; with `--check` it only tells whether it is current.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from atalla_mlir.loadable import abi, elf, metadata, records, writer
from atalla_mlir.loadable.format import DRAM_LIMIT_BYTES, DTYPE_BYTES, FORMAT_VERSION, MAX_RANK, Damage
from atalla_mlir.loadable.machine_record import describe_machine
from atalla_mlir.mc.parse import assemble
from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.target.machine import AX01, MACHINES, Machine

HEADER = Path(__file__).parent / "native" / "loadable_table.h"

_COMMAND = "python -m atalla_mlir.sim.native_loadable_header"


def header() -> str:
    """The text of the header."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f"// Made from atalla_mlir/loadable by `{_COMMAND}`; a test fails when it is out of date."
    yield "#pragma once"
    yield ""
    yield "#include <array>"
    yield "#include <cstdint>"
    yield "#include <string_view>"
    yield ""
    yield "namespace atalla {"
    yield ""
    for name, value in _numbers().items():
        yield f"inline constexpr std::uint32_t {name} = {value:#x};"
    yield f"inline constexpr std::uint64_t kDramLimitBytes = {DRAM_LIMIT_BYTES:#x};"
    name, ident = records.NOTE_NAME.decode(), ", ".join(map(str, elf.IDENT))
    yield f"inline constexpr std::string_view kNoteName{{{_quoted(name)}, {len(name)}}};"
    yield f"inline constexpr std::array<std::uint8_t, {len(elf.IDENT)}> kIdent = {{{{{ident}}}}};"
    yield ""
    yield "// What is wrong with a loadable; 0 is nothing."
    yield "enum class Damage : std::int32_t {"
    yield from (f"  {damage.name} = {number}," for number, damage in enumerate(Damage, 1))
    yield "};"
    yield ""
    yield "// Element types by their code in the file."
    yield "struct ElementType {"
    yield "  const char* name;"
    yield "  std::uint32_t bytes;"
    yield "};"
    yield ""
    yield from _array("ElementType", "kElementTypes", [f'{{"{name}", {size}}}' for name, size in DTYPE_BYTES.items()])
    yield from _call_code()
    yield from _machines()
    yield "}  // namespace atalla"


def _numbers() -> dict[str, int]:
    return {
        "kFormatMajor": FORMAT_VERSION.major,
        "kFormatMinor": FORMAT_VERSION.minor,
        "kMaxRank": MAX_RANK,
        "kNoteType": records.NOTE_TYPE,
        "kHashBytes": records.HASH_BYTES,
        "kNoteDescriptorOffset": records.NOTE_DESCRIPTOR_OFFSET,
        "kHashOffset": records.HASH_OFFSET,
        "kSegmentCode": records.SEGMENT_CODE,
        "kSegmentData": records.SEGMENT_DATA,
        "kSegmentAlignment": writer.SEGMENT_ALIGNMENT,
        "kMaxHeaders": elf.MAX_HEADERS,
        "kElfMachine": elf.MACHINE,
        "kHeaderMagic": abi.HEADER_MAGIC,
        "kHeaderMagicAddress": abi.HEADER_MAGIC_ADDRESS,
        "kEntryAddress": abi.ENTRY_ADDRESS,
        "kTensorsAddress": abi.TENSORS_ADDRESS,
        "kPanicAddress": abi.PANIC_ADDRESS,
        "kPanicCodeAddress": abi.PANIC_CODE_ADDRESS,
        "kPanicLinkAddress": abi.PANIC_LINK_ADDRESS,
        "kCallAddress": abi.CALL_ADDRESS,
        "kCallAlloc": _service_offset("spad_alloc"),
        "kCallFree": _service_offset("spad_free"),
        "kCallAvail": _service_offset("spad_avail"),
        "kNoPages": abi.NO_PAGES,
        "kPanicUnspecified": abi.PanicCode.UNSPECIFIED,
        "kPanicPagesExhausted": abi.PanicCode.PAGES_EXHAUSTED,
        "kPanicArgument": abi.PanicCode.ARGUMENT,
    }


# An entry that calls the service whose place in the table is at CALL, with the arguments behind it. One load a packet.
_CALL = """
    { lw.s x4, CALL(x0) ; addi.s x5, x1, 0 }
    { lw.s x12, CALL_1(x0) }
    { lw.s x13, CALL_2(x0) }
    { lw.s x14, CALL_3(x0) }
    { add.s x4, x4, x3 }
    { jalr x1, x4, 0 }
    { sw.s x10, CALL(x0) ; jalr x0, x5, 0 }
"""


def _service_offset(name: str) -> int:
    return abi.SERVICES.index(name) * PACKET_BYTES


def _call_code() -> Iterator[str]:
    """The packets of `_CALL`, which run at any PC."""
    words = {"CALL": 0, "CALL_1": 4, "CALL_2": 8, "CALL_3": 12}
    code = assemble(_CALL, symbols={name: abi.CALL_ADDRESS + offset for name, offset in words.items()}).code
    yield "// Code that calls a service of the firmware for the host; it runs at any PC."
    yield from _array(
        "std::uint8_t", "kCallCode", [", ".join(map(str, packet)) for packet in _packets(code)], len(code)
    )


def _packets(code: bytes) -> list[bytes]:
    return [code[at : at + PACKET_BYTES] for at in range(0, len(code), PACKET_BYTES)]


def _machines() -> Iterator[str]:
    """Fields in the order of the digest, with the JSON text of their default; named sets as what they change."""
    yield "enum class FieldKind : std::uint8_t { INTEGER, BOOLEAN, NUMBER, TEXT, ENUMERATION };"
    yield ""
    yield "// `value` is JSON text of the default set; members of an enumeration are separated by blanks."
    yield "struct MachineField {"
    yield "  std::string_view name;"
    yield "  FieldKind kind;"
    yield "  std::string_view value;"
    yield "  std::string_view members;"
    yield "};"
    yield ""
    fields = sorted(dataclasses.fields(Machine), key=lambda field: field.name)
    yield from _array(
        "MachineField", "kMachineFields", [_field(getattr(AX01, field.name), field.name) for field in fields]
    )
    yield "// A named set: JSON object of the fields that differ from the default set."
    yield "struct NamedMachine {"
    yield "  std::string_view name;"
    yield "  std::string_view digest;"
    yield "  std::string_view changes;"
    yield "};"
    yield ""
    rows = [
        f"{{{_quoted(machine.name)}, {_quoted(machine.digest())}, "
        f"{_quoted(metadata.dump_meta(describe_machine(machine)).decode())}}}"
        for machine in MACHINES.values()
    ]
    yield from _array("NamedMachine", "kNamedMachines", rows)


def _field(value: Any, name: str) -> str:
    members = ""
    if isinstance(value, Enum):
        kind, members, value = "ENUMERATION", " ".join(str(member.value) for member in type(value)), value.value
    elif isinstance(value, bool):
        kind = "BOOLEAN"
    else:
        kind = {int: "INTEGER", float: "NUMBER", str: "TEXT"}[type(value)]
    return f"{{{_quoted(name)}, FieldKind::{kind}, {_quoted(json.dumps(value))}, {_quoted(members)}}}"


def _quoted(text: str) -> str:
    """A C++ string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\0", "\\0") + '"'


def _array(element: str, name: str, values: list[str], count: int | None = None) -> Iterator[str]:
    yield f"inline constexpr std::array<{element}, {len(values) if count is None else count}> {name} = {{{{"
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
