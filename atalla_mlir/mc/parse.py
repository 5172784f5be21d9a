"""The assembler: text to packets and data.

Syntax, after the existing tools' (machine reference 7.2):

    name:                                   labels, any number before a packet or instruction
        addi.s x5, x0, 60                   outside braces each instruction is a packet of its own
        { lw.s x6, 4(x5) ; add.s x7, x5, x5 }   an explicit packet, up to four instructions, may span lines
        blt.s x5, x7, name, 1               branches take a label or a byte offset, then the increment
        li.s x8, 0x12345                    becomes addi.s, or lui.s and addi.s (not inside braces if it needs two)
        .data 0x1000                        data at a DRAM address: .word, .half, .byte, .space
        .word 1, 2, -3
        .text                               back to code

`#` starts a comment. Mnemonics may be written in any case, with `_` for `.`, and without the suffix where that is not
ambiguous (`beq`, `lw`, `addi`, `nop`, `halt`). Registers are `x5`, `v5`, `m5`, `$5` or, for masks, a bare number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from atalla_mlir.errors import AtallaError, BadInputError
from atalla_mlir.mc.encode import encode
from atalla_mlir.mc.instruction import NOP, MachineInstruction
from atalla_mlir.target import isa
from atalla_mlir.target.encoding import IMM12, INSTRUCTION_BITS, PACKET_BYTES, SLOTS, pack_packet
from atalla_mlir.target.packets import packet_violations
from atalla_mlir.target.registers import FILES, RegisterFile

_LABEL = re.compile(r"\s*([A-Za-z_.$][\w.$]*)\s*:")
_NAME = re.compile(r"[A-Za-z_.$][\w.$]*\Z")
_REGISTER = re.compile(r"\$?([xvm]?)(\d+)\Z", re.IGNORECASE)
_MEMORY = re.compile(r"(.*)\(\s*([^()]*)\s*\)\Z", re.DOTALL)
_NUMBER = re.compile(r"[+-]?\s*(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)\Z")
_DATA_UNITS = {".word": 4, ".half": 2, ".byte": 1}
_IGNORED_DIRECTIVES = (".global", ".globl", ".type", ".section", ".align", ".size")


class AssemblyError(BadInputError):
    """A line that cannot be assembled; the message starts with file:line:column."""


@dataclass
class Assembly:
    """What a text assembles to. PCs and DRAM addresses are bytes; `lines` maps the PC of each packet to its line."""

    code: bytes = b""
    labels: dict[str, int] = field(default_factory=dict[str, int])
    data: dict[int, bytes] = field(default_factory=dict[int, bytes])
    lines: dict[int, int] = field(default_factory=dict[int, int])


@dataclass(frozen=True)
class _Slot:
    text: str
    line: int
    column: int


@dataclass
class _Packet:
    slots: list[_Slot]
    pc: int
    line: int


def assemble(
    text: str,
    filename: str = "<string>",
    *,
    symbols: Mapping[str, int] | None = None,
    base: int = 0,
    check: bool = True,
) -> Assembly:
    """Assemble `text` to be placed at PC `base`; `symbols` are names for numbers. AssemblyError says where and why.

    With `check`, packets that break a rule of the machine (dependences, units, ports) are errors.
    """
    return _Assembler(filename, dict(symbols or {}), base, check=check).run(text)


class _Assembler:
    def __init__(self, filename: str, symbols: dict[str, int], base: int, *, check: bool) -> None:
        self.filename = filename
        self.symbols = symbols
        self.base = base
        self.check = check
        self.out = Assembly()
        self.packets: list[_Packet] = []
        self.data_address: int | None = None

    def run(self, text: str) -> Assembly:
        self._first_pass(text)
        encoded: list[bytes] = []
        for packet in self.packets:
            self.out.lines[packet.pc] = packet.line
            encoded.append(self._encode(packet))
        self.out.code = b"".join(encoded)
        return self.out

    def error(self, where: _Slot, message: str) -> AssemblyError:
        return AssemblyError(f"{self.filename}:{where.line}:{where.column}: error: {message}")

    # First pass: lines to packets and labels

    def _first_pass(self, text: str) -> None:
        open_packet: list[_Slot] | None = None
        opened = _Slot("", 0, 0)
        for number, raw in enumerate(text.split("\n"), 1):
            rest, column = raw.split("#", 1)[0].rstrip(), 0
            while rest.strip():
                lead = len(rest) - len(rest.lstrip())
                here = _Slot(rest.strip(), number, column + lead + 1)
                if open_packet is None:
                    rest, column = self._labels(rest, column, number)
                    if not rest.strip():
                        break
                    here = _Slot(rest.strip(), number, column + len(rest) - len(rest.lstrip()) + 1)
                    if rest.lstrip().startswith("{"):
                        open_packet, opened = [], here
                        cut = rest.index("{") + 1
                        rest, column = rest[cut:], column + cut
                        continue
                    self._statement(here)
                    break
                end = rest.find("}")
                body = rest if end < 0 else rest[:end]
                open_packet.extend(_split_slots(body, number, column))
                if end < 0:
                    break
                self._add_packet(open_packet, opened)
                open_packet = None
                rest, column = rest[end + 1 :], column + end + 1
        if open_packet is not None:
            raise self.error(opened, "packet is not closed; '}' expected")

    def _labels(self, rest: str, column: int, line: int) -> tuple[str, int]:
        while (match := _LABEL.match(rest)) is not None and not rest.lstrip().startswith("{"):
            name = match.group(1)
            if name in self.out.labels or name in self.symbols:
                raise self.error(_Slot(rest, line, column + match.start(1) + 1), f"label '{name}' is defined twice")
            self.out.labels[name] = self._pc()
            rest, column = rest[match.end() :], column + match.end()
        return rest, column

    def _pc(self) -> int:
        return self.base + len(self.packets) * PACKET_BYTES

    def _statement(self, slot: _Slot) -> None:
        word = slot.text.split()[0].lower()
        if word == ".insn":
            self._add_packet([slot], slot)
        elif word.startswith("."):
            self._directive(word, slot)
        elif word in ("global", "type"):
            return
        elif self.data_address is not None:
            raise self.error(slot, f"instruction '{word}' in data; '.text' goes back to code")
        else:
            for expanded in self._expand_load_immediate(slot):
                self._add_packet([expanded], slot)

    def _directive(self, word: str, slot: _Slot) -> None:
        arguments = slot.text[len(word) :].strip()
        if word == ".text":
            self.data_address = None
        elif word == ".data":
            if not arguments:
                raise self.error(slot, ".data needs a DRAM address, as in '.data 0x1000'")
            self.data_address = self._number(arguments, slot)
        elif word in _DATA_UNITS or word == ".space":
            self._data(word, arguments, slot)
        elif word not in _IGNORED_DIRECTIVES:
            raise self.error(slot, f"unknown directive '{word}'")

    def _data(self, word: str, arguments: str, slot: _Slot) -> None:
        if self.data_address is None:
            raise self.error(slot, f"'{word}' outside data; '.data ADDRESS' starts data")
        if word == ".space":
            content = bytes(self._number(arguments, slot))
        else:
            size = _DATA_UNITS[word]
            limit = 1 << (8 * size)
            numbers = [self._number(part, slot) for part in arguments.split(",")]
            for number in numbers:
                if not -limit // 2 <= number < limit:
                    raise self.error(slot, f"{word} {number} does not fit in {size} bytes")
            content = b"".join((number % limit).to_bytes(size, "little") for number in numbers)
        start = next((a for a, d in self.out.data.items() if a + len(d) == self.data_address), self.data_address)
        self.out.data[start] = self.out.data.get(start, b"") + content
        self.data_address += len(content)

    def _expand_load_immediate(self, slot: _Slot) -> list[_Slot]:
        name, operands = _split_operands(slot.text)
        if _mnemonic(name) != "li.s":
            return [slot]
        if len(operands) != 2:
            raise self.error(slot, f"li.s takes 2 operands (rd, imm), got {len(operands)}")
        value = self._number(operands[1], slot)
        if not -(1 << 31) <= value < 1 << 32:
            raise self.error(slot, f"immediate {value} does not fit in 32 bits")
        if IMM12.fits(value):
            return [_Slot(f"addi.s {operands[0]}, x0, {value}", slot.line, slot.column)]
        upper = (value >> 7) & ((1 << 25) - 1)
        parts = [_Slot(f"lui.s {operands[0]}, {upper}", slot.line, slot.column)]
        if value & 0x7F:
            parts.append(_Slot(f"addi.s {operands[0]}, {operands[0]}, {value & 0x7F}", slot.line, slot.column))
        return parts

    def _add_packet(self, slots: Sequence[_Slot], where: _Slot) -> None:
        if self.data_address is not None:
            raise self.error(where, "packet in data; '.text' goes back to code")
        expanded: list[_Slot] = []
        for slot in slots:
            parts = [slot] if slot.text.lower().startswith(".insn") else self._expand_load_immediate(slot)
            if len(parts) > 1:
                raise self.error(
                    slot, f"'{slot.text}' needs two instructions that depend on each other; write them apart"
                )
            expanded.extend(parts)
        if len(expanded) > SLOTS:
            raise self.error(where, f"{len(expanded)} instructions in a packet of {SLOTS} slots")
        self.packets.append(_Packet(expanded, self._pc(), where.line))

    # Second pass: slots to words

    def _encode(self, packet: _Packet) -> bytes:
        words: list[int] = []
        decoded: list[tuple[isa.Instruction, tuple[int, ...]]] = []
        for slot in packet.slots:
            if slot.text.lower().startswith(".insn"):
                word = self._number(slot.text[5:].strip(), slot)
                if not 0 <= word < 1 << INSTRUCTION_BITS:
                    raise self.error(slot, f".insn {word:#x} does not fit in {INSTRUCTION_BITS} bits")
                words.append(word)
                continue
            instruction = self._instruction(slot, packet.pc)
            try:
                words.append(encode(instruction))
            except AtallaError as error:
                raise self.error(slot, str(error)) from error
            decoded.append((instruction.op, instruction.operands))
        violations = packet_violations(decoded) if self.check else ()
        if violations:
            raise self.error(packet.slots[0], f"illegal packet: {'; '.join(violations)}")
        words.extend([encode(NOP)] * (SLOTS - len(words)))
        return pack_packet(words)

    def _instruction(self, slot: _Slot, pc: int) -> MachineInstruction:
        name, texts = _split_operands(slot.text)
        mnemonic = _mnemonic(name)
        if mnemonic is None:
            raise self.error(slot, f"unknown instruction '{name}'")
        op = isa.BY_MNEMONIC[mnemonic]
        return MachineInstruction(op, tuple(self._operands(op, texts, slot, pc)))

    def _operands(self, op: isa.Instruction, texts: list[str], slot: _Slot, pc: int) -> list[int]:
        texts = self._normal_form(op, texts, slot)
        if len(texts) != len(op.operands):
            names = ", ".join(operand.name for operand in op.operands) or "none"
            raise self.error(slot, f"{op.mnemonic} takes {len(op.operands)} operands ({names}), got {len(texts)}")
        values: list[int] = []
        for operand, text in zip(op.operands, texts, strict=True):
            if operand.file is not None:
                values.append(self._register(operand, operand.file, text, slot))
            elif (op.is_branch and operand.name == "offset") or op.mnemonic == "jal":
                values.append(self._distance(op, operand, text, slot, pc))
            else:
                value = self._number(text, slot)
                if operand.field is isa.enc.IMM8:
                    value &= 0xFF
                self._check_fit(op, operand, value, slot)
                values.append(value)
        return values

    def _normal_form(self, op: isa.Instruction, texts: list[str], slot: _Slot) -> list[str]:
        """Operands in the table's order with everything written out."""
        if op.format is isa.Format.M and len(texts) == 2:
            match = _MEMORY.match(texts[1])
            if match is None:
                raise self.error(slot, f"{op.mnemonic} takes an address as imm(register), got '{texts[1]}'")
            return [texts[0], match.group(1).strip() or "0", match.group(2)]
        if op.mnemonic == "jal" and len(texts) == 1:
            return ["x0", texts[0]]
        if op.format is isa.Format.VI and len(texts) == 3 and len(op.operands) == 4:
            return [*texts, "0"]
        if op.is_branch and len(texts) == 3:
            if _NUMBER.match(texts[2]):
                raise self.error(
                    slot,
                    f"{op.mnemonic} with a numeric third operand needs the increment too: 'rs1, rs2, offset, incr'",
                )
            return [*texts, "0"]
        if op.mnemonic in ("scpad.ld", "scpad.st") and len(texts) == 5:
            raise self.error(
                slot, f"five-operand {op.mnemonic} is obsolete; build the metadata word and pass its register"
            )
        if op.mnemonic in ("vreg.ld", "vreg.st") and len(texts) == 7:
            raise self.error(slot, f"seven-operand {op.mnemonic} is obsolete; write 'vd, rs1, rs2, num_cols, sid'")
        return texts

    def _register(self, operand: isa.Operand, file: RegisterFile, text: str, slot: _Slot) -> int:
        match = _REGISTER.match(text)
        if match is None:
            raise self.error(slot, f"{operand.name} must be a register such as {file.value}5, got '{text}'")
        number = int(match.group(2))
        if number >= FILES[file].count:
            raise self.error(
                slot,
                f"{operand.name} {text} does not exist; there are {file.value}0..{file.value}{FILES[file].count - 1}",
            )
        return number

    def _distance(self, op: isa.Instruction, operand: isa.Operand, text: str, slot: _Slot, pc: int) -> int:
        if _NUMBER.match(text):
            distance = self._number(text, slot)
        elif text in self.out.labels:
            distance = self.out.labels[text] - pc
        elif text in self.symbols:
            distance = self.symbols[text] - pc
        else:
            raise self.error(slot, f"undefined label '{text}'")
        reach = "102 packets either way" if op.is_branch else f"{operand.field.minimum}..{operand.field.maximum} bytes"
        if distance % PACKET_BYTES:
            raise self.error(slot, f"{op.mnemonic} to {text}: {distance} bytes is not a multiple of {PACKET_BYTES}")
        if not operand.field.fits(distance):
            raise self.error(slot, f"{op.mnemonic} to {text}: {distance} bytes is out of reach ({reach})")
        return distance

    def _check_fit(self, op: isa.Instruction, operand: isa.Operand, value: int, slot: _Slot) -> None:
        if not operand.field.fits(value):
            low, high = operand.field.minimum, operand.field.maximum
            raise self.error(slot, f"{op.mnemonic}: {operand.name} {value} does not fit in {low}..{high}")

    def _number(self, text: str, slot: _Slot) -> int:
        stripped = text.strip()
        if _NUMBER.match(stripped):
            return int(stripped.replace(" ", ""), 0)
        sign, name = (-1, stripped[1:].strip()) if stripped.startswith("-") else (1, stripped)
        if name in self.symbols:
            return sign * self.symbols[name]
        if _NAME.match(name):
            raise self.error(slot, f"undefined symbol '{name}'")
        raise self.error(slot, f"expected a number, got '{text}'")


def _split_slots(body: str, line: int, column: int) -> list[_Slot]:
    slots: list[_Slot] = []
    at = 0
    for part in body.split(";"):
        if part.strip():
            slots.append(_Slot(part.strip(), line, column + at + len(part) - len(part.lstrip()) + 1))
        at += len(part) + 1
    return slots


def _split_operands(text: str) -> tuple[str, list[str]]:
    name, _, rest = text.strip().partition(" ")
    if "\t" in name:
        name, _, more = name.partition("\t")
        rest = f"{more} {rest}"
    return name, [part.strip() for part in rest.split(",")] if rest.strip() else []


_ALIASES = {
    name: f"{name}.s"
    for name in (  # noqa: SIM905
        "add sub mul div mod or and xor sll srl sra slt sltu addi subi muli divi modi ori andi xori slli srli srai "
        "slti sltui beq bne blt bge bgt ble lw sw lhw shw li lui nop halt bfts stbf"
    ).split()
} | {"jalr.s": "jalr", "jal.s": "jal"}


def _mnemonic(name: str) -> str | None:
    plain = name.lower().replace("_", ".")
    plain = _ALIASES.get(plain, plain)
    return plain if plain in isa.BY_MNEMONIC else None
