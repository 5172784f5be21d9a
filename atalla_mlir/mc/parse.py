"""The assembler: text to packets and data.

Syntax, after the existing tools' (machine reference 7.2):

    name:                                   labels, any number before a packet or instruction
        addi.s x5, x0, 60                   outside braces each instruction is a packet of its own
        { lw.s x6, 4(x5) ; add.s x7, x5, x5 }   an explicit packet, up to four instructions, may span lines
        blt.s x5, x7, name, 1               branches take a label or a byte offset, then the increment
        li.s x8, 0x12345                    becomes addi.s, or lui.s and addi.s (not inside braces if it needs two)
        .insn 0x0000000031                  a word as it is, alone or inside braces
        .data 0x1000                        data at a DRAM address: .word, .half, .byte, .space
    table:                                  names the address; what follows may use the name as a number
        .word 1, 2, -3
        .text                               back to code

`#` starts a comment. Mnemonics may be written in any case, with `_` for `.`, and without the suffix where that is not
ambiguous (`beq`, `lw`, `addi`, `nop`, `halt`). Registers are `x5`, `v5`, `m5`, `$5` or, for masks, a bare number.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from atalla_mlir.mc.data_section import DIRECTIVES, DataSection
from atalla_mlir.mc.encode import encode
from atalla_mlir.mc.instruction import NOP
from atalla_mlir.mc.operands import AssemblyError, OperandReader, Token, canonical_mnemonic, split_operands, suggestion
from atalla_mlir.target import isa
from atalla_mlir.target.encoding import IMM12, IMM25U, INSTRUCTION_BITS, PACKET_BYTES, SLOTS, pack_packet
from atalla_mlir.target.packets import packet_violations

__all__ = ["Assembly", "AssemblyError", "Reference", "assemble"]

_LABEL = re.compile(r"\s*([A-Za-z_.$][\w.$]*)\s*:")
_WORD = ".insn"
_IGNORED_DIRECTIVES = (".global", ".globl", ".type", ".section", ".align", ".size")
_IGNORED_WORDS = ("global", "type")
# `lui.s` holds the upper 25 bits of a value; the rest, 0 to 127, is added without a carry.
_LOW_BITS = 32 - IMM25U.width_bits


@dataclass(frozen=True)
class Reference:
    """The jump in slot `slot` of the packet at `pc` goes to `name`, which lies outside the text."""

    pc: int
    slot: int
    name: str


@dataclass(frozen=True)
class Assembly:
    """What a text assembles to. PCs and DRAM addresses are bytes; `lines` maps the PC of each packet to its line.

    `references` are jumps to what the text does not have; their distances are 0.
    """

    code: bytes = b""
    labels: dict[str, int] = field(default_factory=dict[str, int])
    data: dict[int, bytes] = field(default_factory=dict[int, bytes])
    lines: dict[int, int] = field(default_factory=dict[int, int])
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True)
class _Packet:
    slots: tuple[Token, ...]
    pc: int
    line: int


def assemble(
    text: str,
    filename: str = "<string>",
    *,
    symbols: Mapping[str, int] | None = None,
    externals: Collection[str] = (),
    base: int = 0,
    check: bool = True,
) -> Assembly:
    """Assemble `text` to be placed at PC `base`; `symbols` are names for numbers. AssemblyError says where and why.

    A `jal` may go to a name of `externals`, which a linker resolves. With `check`, packets that break a rule of the
    machine (dependences, units, ports) are errors.
    """
    return _Assembler(filename, dict(symbols or {}), frozenset(externals), base, check=check).run(text)


class _Assembler:
    """Two passes: lines to packets, labels and data; then, with all labels known, packets to words."""

    def __init__(
        self, filename: str, symbols: dict[str, int], externals: frozenset[str], base: int, *, check: bool
    ) -> None:
        self.symbols = symbols
        self.externals = externals
        self.base = base
        self.check = check
        self.labels: dict[str, int] = {}
        self.data_names: dict[str, int] = {}
        self.reader = OperandReader(filename, self.labels, symbols, self.data_names, externals)
        self.error = self.reader.error
        self.packets: list[_Packet] = []
        self.data = DataSection(self.reader)
        self.in_data = False
        self.references: list[Reference] = []

    def run(self, text: str) -> Assembly:
        self._first_pass(text)
        code = b"".join(self._encode(packet) for packet in self.packets)
        lines = {packet.pc: packet.line for packet in self.packets}
        return Assembly(code, self.labels, self.data.contents(), lines, tuple(self.references))

    # First pass

    def _first_pass(self, text: str) -> None:
        opened: Token | None = None
        slots: list[Token] = []
        for number, raw in enumerate(text.split("\n"), 1):
            rest = _stripped(raw.split("#", 1)[0], number)
            while rest.text:
                if opened is None:
                    rest = self._labels(rest)
                    if not rest.text.startswith("{"):
                        self._statement(rest)
                        break
                    opened, slots, rest = rest, [], rest.part(1, len(rest.text))
                    continue
                end = rest.text.find("}")
                body = rest if end < 0 else rest.part(0, end)
                slots.extend(slot for slot in body.split(";") if slot.text)
                if end < 0:
                    break
                self._explicit_packet(slots, opened)
                opened, rest = None, rest.part(end + 1, len(rest.text))
        if opened is not None:
            raise self.error(opened, "packet is not closed; '}' expected")

    def _labels(self, rest: Token) -> Token:
        while (match := _LABEL.match(rest.text)) is not None:
            name = match.group(1)
            if name in self.labels or name in self.symbols or name in self.data_names:
                raise self.error(rest, f"label '{name}' is defined twice")
            if not self.in_data:
                self.labels[name] = self._pc()
            elif self.data.address is not None:
                self.data_names[name] = self.data.address
            else:
                raise self.error(rest, f"label '{name}' in data without an address; '.data ADDRESS' gives one")
            rest = rest.part(match.end(), len(rest.text))
        return rest

    def _pc(self) -> int:
        return self.base + len(self.packets) * PACKET_BYTES

    def _statement(self, slot: Token) -> None:
        word, arguments = slot.divide()
        name = word.text.lower()
        if not name or name in _IGNORED_WORDS:
            return
        if name.startswith(".") and name != _WORD:
            self._directive(name, arguments, slot)
        elif name == "data" and arguments.text.lower() == "mem":
            self._start_data(arguments.part(0, 0))
        elif self.in_data:
            raise self.error(slot, f"instruction '{word.text}' in data; '.text' goes back to code")
        else:
            for part in self._expand(slot):
                self._add_packet([part], slot)

    def _directive(self, name: str, arguments: Token, slot: Token) -> None:
        if name == ".text":
            self.in_data = False
            self.data.leave()
        elif name == ".data":
            self._start_data(arguments)
        elif name in DIRECTIVES:
            self.data.append(name, arguments, slot)
        elif name not in _IGNORED_DIRECTIVES:
            hint = suggestion(name, (*DIRECTIVES, _WORD, ".data", ".text"))
            raise self.error(slot, f"unknown directive '{name}'{hint}")

    def _start_data(self, address: Token) -> None:
        """Without an address, as the existing tools write it, the program ends here."""
        self.in_data = True
        if address.text:
            self.data.place(address)
        else:
            self.data.leave()

    def _explicit_packet(self, slots: Sequence[Token], where: Token) -> None:
        if self.in_data:
            raise self.error(where, "packet in data; '.text' goes back to code")
        expanded: list[Token] = []
        for slot in slots:
            parts = self._expand(slot)
            if len(parts) > 1:
                reason = "needs two instructions that depend on each other; write them apart"
                raise self.error(slot, f"'{slot.text}' {reason}")
            expanded.extend(parts)
        if len(expanded) > SLOTS:
            raise self.error(where, f"{len(expanded)} instructions in a packet of {SLOTS} slots")
        self._add_packet(expanded, where)

    def _add_packet(self, slots: Sequence[Token], where: Token) -> None:
        self.packets.append(_Packet(tuple(slots), self._pc(), where.line))

    def _expand(self, slot: Token) -> list[Token]:
        """The instructions that a `li.s` stands for; any other slot is itself."""
        name, operands = split_operands(slot)
        if canonical_mnemonic(name.text) != "li.s":
            return [slot]
        if len(operands) != 2:
            raise self.error(slot, f"li.s takes 2 operands (rd, imm), got {len(operands)}")
        register = f"x{self.reader.register(isa.BY_MNEMONIC['li.s'].by_name['rd'], operands[0])}"
        value = self.reader.number(operands[1])
        if not -(1 << 31) <= value < 1 << 32:
            raise self.error(operands[1], f"immediate {value} does not fit in 32 bits")
        if IMM12.fits(value):
            return [_like(slot, f"addi.s {register}, x0, {value}")]
        low = value & ((1 << _LOW_BITS) - 1)
        upper = (value & 0xFFFFFFFF) >> _LOW_BITS
        parts = [_like(slot, f"lui.s {register}, {upper}")]
        return [*parts, _like(slot, f"addi.s {register}, {register}, {low}")] if low else parts

    # Second pass

    def _encode(self, packet: _Packet) -> bytes:
        words: list[int] = []
        decoded: list[tuple[isa.Instruction, tuple[int, ...]]] = []
        for slot in packet.slots:
            name, rest = slot.divide()
            if name.text.lower() == _WORD:
                words.append(self._raw_word(rest))
                continue
            instruction, word = self.reader.instruction(slot, packet.pc)
            target = rest.split(",")[-1].text
            if instruction.op.mnemonic == "jal" and target in self.externals and target not in self.labels:
                self.references.append(Reference(packet.pc, len(words), target))
            words.append(word)
            decoded.append((instruction.op, instruction.operands))
        violations = packet_violations(decoded) if self.check else ()
        if violations:
            raise self.error(packet.slots[0], f"illegal packet: {'; '.join(violations)}")
        words.extend([encode(NOP)] * (SLOTS - len(words)))
        return pack_packet(words)

    def _raw_word(self, token: Token) -> int:
        word = self.reader.number(token)
        if not 0 <= word < 1 << INSTRUCTION_BITS:
            raise self.error(token, f".insn {word:#x} does not fit in {INSTRUCTION_BITS} bits")
        return word


def _stripped(text: str, line: int) -> Token:
    return Token(text, line, 1).part(0, len(text))


def _like(slot: Token, text: str) -> Token:
    return Token(text, slot.line, slot.column)
