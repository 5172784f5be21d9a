"""The text of `docs/isa.md`, made from the instruction table."""

from __future__ import annotations

from collections.abc import Iterator

from atalla_mlir.target import isa
from atalla_mlir.target.encoding import INSTRUCTION_BITS, PACKET_BYTES, SLOTS, Field
from atalla_mlir.target.machine import AX01, MACHINES
from atalla_mlir.target.registers import FILES, RegisterFile

_HEAD = f"""\
# Instruction set

<!-- made by atalla_mlir/tools/isa_page.py from atalla_mlir/target/isa.py; `make docs` writes it again -->

{len(isa.INSTRUCTIONS)} instructions of {INSTRUCTION_BITS} bits, {SLOTS} to a packet of {PACKET_BYTES} bytes. Operands
are in assembly order with the bits of the word that hold them; `r` is read, `w` written, `rw` both, `p` takes a read
port without being used, `-` is encoded but has no effect. D is the least distance in cycles from issue to the issue of
a consumer, II the cycles until the unit takes the next instruction, both for parameter set `{AX01.name}` without
contention. Ports are the scalar, vector and mask reads that count against the packet.
"""

_ROLES = {
    isa.Role.READ: "r",
    isa.Role.WRITE: "w",
    isa.Role.READ_WRITE: "rw",
    isa.Role.PORT: "p",
    isa.Role.IGNORED: "-",
    isa.Role.IMMEDIATE: "imm",
}


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_registers(), *_formats(), *_parameter_sets()]) + "\n"


def _registers() -> Iterator[str]:
    yield "## Registers\n"
    yield "| file | registers | banks | read ports | register 0 |"
    yield "|---|---|---|---|---|"
    fixed = {RegisterFile.SCALAR: "0", RegisterFile.VECTOR: "+0.0 in all lanes", RegisterFile.MASK: "all ones"}
    for file, shape in FILES.items():
        name = f"{file.name.lower()} `{file.value}`"
        yield f"| {name} | {shape.count} | {shape.banks} | {shape.read_ports} | {fixed[file]} |"
    yield ""


def _formats() -> Iterator[str]:
    for form in isa.Format:
        members = [instruction for instruction in isa.INSTRUCTIONS if instruction.format is form]
        yield f"## Format {form.name}\n"
        yield "| opcode | mnemonic | operands | unit | D | II | ports | meaning |"
        yield "|---|---|---|---|---|---|---|---|"
        for instruction in members:
            yield _row(instruction)
        yield ""


def _row(instruction: isa.Instruction) -> str:
    operands = ", ".join(f"`{item.name}` {_bits(item.field)} {_ROLES[item.role]}" for item in instruction.operands)
    timed = instruction.unit is not isa.Unit.NONE
    distance = _distance(instruction) if timed and instruction.writes else ""
    interval = str(AX01.interval(instruction)) if timed else ""
    ports = "/".join(str(instruction.port_count(file)) for file in RegisterFile)
    meaning = instruction.semantics.replace("|", "\\|")
    return (
        f"| {instruction.opcode} | `{instruction.mnemonic}` | {operands} | {instruction.unit.name} | {distance} | "
        f"{interval} | {ports} | {meaning} |"
    )


def _distance(instruction: isa.Instruction) -> str:
    return "until done" if instruction.latency is isa.Latency.DMA else str(AX01.distance(instruction))


def _bits(field: Field) -> str:
    parts = [f"{piece.low + piece.width_bits - 1}:{piece.low}" for piece in field.pieces]
    scale = f" x{field.scale}" if field.scale > 1 else ""
    return f"[{','.join(parts)}]{' signed' if field.signed else ''}{scale}"


def _parameter_sets() -> Iterator[str]:
    fields = {name: [str(getattr(machine, name)) for machine in MACHINES.values()] for name in _differing()}
    yield "## Parameter sets\n"
    yield "What differs between the sets; everything else is as in `ax01`.\n"
    yield f"| parameter | {' | '.join(f'`{name}`' for name in MACHINES)} |"
    yield f"|---|{'---|' * len(MACHINES)}"
    for name, values in fields.items():
        yield f"| {name} | {' | '.join(values)} |"


def _differing() -> Iterator[str]:
    for name in AX01.__dataclass_fields__:
        if name != "name" and len({getattr(machine, name) for machine in MACHINES.values()}) > 1:
            yield name
