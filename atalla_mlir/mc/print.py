"""The disassembler: packets to text that assembles back to the same bytes."""

from __future__ import annotations

from collections.abc import Mapping

from atalla_mlir.errors import AtallaError, BadInputError
from atalla_mlir.mc.decode import decode
from atalla_mlir.mc.encode import encode
from atalla_mlir.mc.instruction import NOP, MachineInstruction
from atalla_mlir.mc.operands import is_name
from atalla_mlir.target import isa
from atalla_mlir.target.encoding import INSTRUCTION_BITS, OPCODE, PACKET_BYTES, unpack_packets

_DIGITS = INSTRUCTION_BITS // 4


def print_instruction(instruction: MachineInstruction, target: str | None = None) -> str:
    """One instruction in the assembler's syntax; `target` is the label of its destination, if it has one."""
    op = instruction.op
    texts = [_operand(operand, value) for operand, value in zip(op.operands, instruction.operands, strict=True)]
    if op.format is isa.Format.M:
        texts = [texts[0], f"{texts[1]}({texts[2]})"]
    if target is not None and op.target_position is not None:
        texts[op.target_position] = target
    return f"{op.mnemonic} {', '.join(texts)}" if texts else op.mnemonic


def _operand(operand: isa.Operand, value: int) -> str:
    return str(value) if operand.file is None else f"{operand.file.value}{value}"


def print_word(word: int) -> str:
    """A word as an instruction if it is exactly one, else as `.insn` with a comment."""
    try:
        instruction = decode(word)
    except AtallaError:
        instruction = None
    if instruction is not None and encode(instruction) == word and not (_distance(word) or 0) % PACKET_BYTES:
        return print_instruction(instruction)
    return f".insn 0x{word:0{_DIGITS}X}"


def comment(word: int) -> str:
    """What `.insn` stands for, in words; empty for ordinary instructions."""
    if word == 0:
        return "empty slot"
    op = isa.BY_OPCODE.get(OPCODE.extract(word))
    if op is not None and op.is_pseudo:
        return f"{op.mnemonic} (illegal)"
    if (_distance(word) or 0) % PACKET_BYTES:
        return "destination inside a packet"
    return "" if op is not None else "undefined opcode"


def disassemble(code: bytes, *, base: int = 0, labels: Mapping[str, int] | None = None) -> str:
    """Text of a code image placed at PC `base`; `labels` are names of PCs, destinations without one get a name."""
    packets = list(unpack_packets(code))
    names = _names(packets, base, labels or {})
    lines: list[str] = []
    for at, words in enumerate(packets):
        pc = base + at * PACKET_BYTES
        lines.extend(f"{name}:" for name in names.get(pc, []))
        lines.append(_packet_line(words, pc, names))
    return "\n".join(lines) + "\n" if lines else ""


def _packet_line(words: tuple[int, ...], pc: int, names: dict[int, list[str]]) -> str:
    filled = list(words)
    while filled and filled[-1] == encode(NOP) and len(filled) > 1:
        filled.pop()
    slots: list[str] = []
    for word in filled:
        distance = _distance(word)
        if distance is not None and pc + distance in names:
            instruction = decode(word)
            assert instruction is not None
            slots.append(print_instruction(instruction, names[pc + distance][0]))
        else:
            slots.append(print_word(word))
    notes = "; ".join(note for note in map(comment, filled) if note)
    text = f"    {{ {' ; '.join(slots)} }}"
    return f"{text:<76}# {pc:05X}{f'  {notes}' if notes else ''}"


def _distance(word: int) -> int | None:
    """Bytes from the packet to the destination of a branch or `jal` word; None for any other word."""
    try:
        instruction = decode(word)
    except AtallaError:
        return None
    if instruction is None or encode(instruction) != word:
        return None
    position = instruction.op.target_position
    return None if position is None else instruction.operands[position]


def _names(packets: list[tuple[int, ...]], base: int, labels: Mapping[str, int]) -> dict[int, list[str]]:
    """Labels by PC: the given ones, and `L_<pc>` for destinations inside the image that have none."""
    inside = range(base, base + len(packets) * PACKET_BYTES, PACKET_BYTES)
    names: dict[int, list[str]] = {}
    for name, pc in labels.items():
        if not is_name(name):
            raise BadInputError(f"'{name}' cannot be a label; letters, digits, '_', '.' and '$' make one")
        if pc in inside:
            names.setdefault(pc, []).append(name)
    for at, words in enumerate(packets):
        for word in words:
            distance = _distance(word)
            if distance is not None and (pc := base + at * PACKET_BYTES + distance) in inside and pc not in names:
                names[pc] = [_free_name(pc, labels)]
    return names


def _free_name(pc: int, taken: Mapping[str, int]) -> str:
    name = f"L_{pc:05X}"
    while name in taken:
        name += "_"
    return name
