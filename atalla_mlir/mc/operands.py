"""Instructions of assembly text: mnemonic, operands, and what is wrong with them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from atalla_mlir.errors import AtallaError, BadInputError
from atalla_mlir.mc.encode import encode
from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.target import isa
from atalla_mlir.target.encoding import IMM8, PACKET_BYTES
from atalla_mlir.target.registers import FILES

_REGISTER = re.compile(r"\$?([xvm]?)([0-9]+)\Z", re.IGNORECASE)
_MEMORY = re.compile(r"([^()]*)\(\s*([^()]*?)\s*\)\Z")
_NUMBER = re.compile(r"([+-]?)\s*(0[xX][0-9a-fA-F]+|0[bB][01]+|[0-9]+)\Z")
_NAME = re.compile(r"[A-Za-z_.$][\w.$]*\Z")

_ALIASES = {
    name: f"{name}.s"
    for name in (  # noqa: SIM905
        "add sub mul div mod or and xor sll srl sra slt sltu addi subi muli divi modi ori andi xori slli srli srai "
        "slti sltui beq bne blt bge bgt ble lw sw lhw shw li lui nop halt bfts stbf"
    ).split()
} | {"jalr.s": "jalr", "jal.s": "jal"}


class AssemblyError(BadInputError):
    """A line that cannot be assembled; the message starts with file:line:column."""


@dataclass(frozen=True)
class Token:
    """A piece of the text and where it starts, both from 1."""

    text: str
    line: int
    column: int

    def part(self, start: int, end: int) -> Token:
        """The characters `start` to `end`, blanks around them left out."""
        piece = self.text[start:end]
        lead = len(piece) - len(piece.lstrip())
        return Token(piece.strip(), self.line, self.column + start + lead)

    def split(self, separator: str) -> list[Token]:
        """The pieces between separators; empty ones included."""
        pieces: list[Token] = []
        start = 0
        for piece in self.text.split(separator):
            pieces.append(self.part(start, start + len(piece)))
            start += len(piece) + len(separator)
        return pieces

    def divide(self) -> tuple[Token, Token]:
        """The first word and the rest."""
        end = len(self.text.split(maxsplit=1)[0]) if self.text else 0
        return self.part(0, end), self.part(end, len(self.text))


def split_operands(slot: Token) -> tuple[Token, list[Token]]:
    """The mnemonic as written and the operands."""
    name, rest = slot.divide()
    return name, rest.split(",") if rest.text else []


def canonical_mnemonic(name: str) -> str | None:
    """The table's mnemonic for a spelling of it; None when there is no such instruction."""
    plain = name.lower().replace("_", ".")
    plain = _ALIASES.get(plain, plain)
    return plain if plain in isa.BY_MNEMONIC else None


def is_name(text: str) -> bool:
    """Whether `text` may be a label or a symbol."""
    return _NAME.match(text) is not None


def suggestion(name: str, candidates: Iterable[str]) -> str:
    """A hint to the candidate that is most like `name`, if one is."""
    near = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.75)
    return f"; did you mean '{near[0]}'?" if near else ""


class OperandReader:
    """Reads instructions. `labels` are PCs; `symbols` are numbers and, as destinations, PCs; `data` are DRAM addresses.

    A `jal` to one of `externals`, which are unknown places, gets the distance 0. The mappings may grow while the reader
    is in use.
    """

    def __init__(
        self,
        filename: str,
        labels: Mapping[str, int],
        symbols: Mapping[str, int],
        data: Mapping[str, int],
        externals: Collection[str] = (),
    ) -> None:
        self._filename = filename
        self._labels = labels
        self._symbols = symbols
        self._data = data
        self._externals = externals

    def error(self, where: Token, message: str) -> AssemblyError:
        return AssemblyError(f"{self._filename}:{where.line}:{where.column}: error: {message}")

    def number(self, token: Token) -> int:
        """A literal, or a symbol or name of data with or without a minus sign."""
        literal = _literal(token.text)
        if literal is not None:
            return literal
        sign, name = (-1, token.text[1:].strip()) if token.text.startswith("-") else (1, token.text)
        for known in (self._symbols, self._data):
            if name in known:
                return sign * known[name]
        if is_name(name):
            hint = suggestion(name, [*self._symbols, *self._data])
            raise self.error(token, f"undefined symbol '{name}'{hint}")
        raise self.error(token, f"expected a number, got '{token.text}'")

    def register(self, operand: isa.Operand, token: Token) -> int:
        """The number of a register for `operand`, which takes one."""
        file = operand.file
        assert file is not None
        match = _REGISTER.match(token.text)
        if match is None:
            wanted = f"{operand.name} must be a register such as {file.value}5"
            raise self.error(token, f"{wanted}, got '{token.text}'")
        number = int(match.group(2))
        last = FILES[file].count - 1
        if number > last:
            there = f"there are {file.value}0..{file.value}{last}"
            raise self.error(token, f"{operand.name} {token.text} does not exist; {there}")
        return number

    def instruction(self, slot: Token, pc: int) -> tuple[MachineInstruction, int]:
        """The instruction of `slot` in the packet at `pc`, and its word."""
        name, tokens = split_operands(slot)
        if ";" in slot.text:
            raise self.error(slot, "';' separates instructions only inside a packet, '{ a ; b }'")
        mnemonic = canonical_mnemonic(name.text)
        if mnemonic is None:
            hint = suggestion(name.text.lower(), isa.BY_MNEMONIC)
            raise self.error(slot, f"unknown instruction '{name.text}'{hint}")
        op = isa.BY_MNEMONIC[mnemonic]
        tokens = self._normal_form(op, tokens, slot)
        if len(tokens) != len(op.operands):
            names = ", ".join(operand.name for operand in op.operands) or "none"
            raise self.error(slot, f"{mnemonic} takes {len(op.operands)} operands ({names}), got {len(tokens)}")
        values = [self._operand(op, at, token, pc) for at, token in enumerate(tokens)]
        instruction = MachineInstruction(op, tuple(values))
        try:
            return instruction, encode(instruction)
        except AtallaError as error:
            raise self.error(slot, str(error)) from error

    def _normal_form(self, op: isa.Instruction, tokens: list[Token], slot: Token) -> list[Token]:
        """Operands in the table's order with everything written out."""
        if op.format is isa.Format.M and len(tokens) == 2:
            return [tokens[0], *self._address(op, tokens[1])]
        if op.mnemonic == "jal" and len(tokens) == 1:
            return [Token("x0", slot.line, slot.column), *tokens]
        if op.format is isa.Format.VI and len(tokens) == 3 and len(op.operands) == 4:
            return [*tokens, Token("m0", slot.line, slot.column)]
        if op.is_branch and len(tokens) == 3:
            if _literal(tokens[2].text) is not None:
                form = "'rs1, rs2, offset, incr'"
                raise self.error(slot, f"{op.mnemonic} with a numeric third operand needs the increment too: {form}")
            return [*tokens, Token("0", slot.line, slot.column)]
        if op.format is isa.Format.SDMA and len(tokens) == 5:
            raise self.error(
                slot, f"five-operand {op.mnemonic} is obsolete; build the metadata word and pass its register"
            )
        if op.format is isa.Format.VM and len(tokens) == 7:
            raise self.error(slot, f"seven-operand {op.mnemonic} is obsolete; write 'vd, rs1, rs2, num_cols, sid'")
        return tokens

    def _address(self, op: isa.Instruction, token: Token) -> list[Token]:
        match = _MEMORY.match(token.text)
        if match is None:
            raise self.error(token, f"{op.mnemonic} takes an address as imm(register), got '{token.text}'")
        offset = token.part(*match.span(1))
        return [offset if offset.text else Token("0", token.line, token.column), token.part(*match.span(2))]

    def _operand(self, op: isa.Instruction, at: int, token: Token, pc: int) -> int:
        operand = op.operands[at]
        if operand.file is not None:
            return self.register(operand, token)
        if op.target_position == at:
            return self._distance(op, operand, token, pc)
        value = self.number(token)
        if operand.field is IMM8:
            value &= 0xFF
        if not operand.field.fits(value):
            low, high = operand.field.minimum, operand.field.maximum
            raise self.error(token, f"{op.mnemonic}: {operand.name} {value} does not fit in {low}..{high}")
        return value

    def _distance(self, op: isa.Instruction, operand: isa.Operand, token: Token, pc: int) -> int:
        """Bytes from the packet at `pc` to a label, a symbol or as written."""
        name = token.text
        distance = _literal(name)
        for known in (self._labels, self._symbols):
            if distance is None and name in known:
                distance = known[name] - pc
        if distance is None and name in self._externals and op.mnemonic == "jal":
            distance = 0
        if distance is None and name in self._data:
            raise self.error(token, f"{op.mnemonic} to '{name}', which is a name of data")
        if distance is None:
            hint = suggestion(name, [*self._labels, *self._symbols, *self._externals])
            raise self.error(token, f"undefined label '{name}'{hint}")
        if distance % PACKET_BYTES:
            raise self.error(token, f"{op.mnemonic} to {name}: {distance} bytes is not a multiple of {PACKET_BYTES}")
        if not operand.field.fits(distance):
            packets = operand.field.maximum // PACKET_BYTES
            reach = f"{packets} packets either way"
            way_out = "; branch the other way around a jal" if op.is_branch else ""
            raise self.error(token, f"{op.mnemonic} to {name}: {distance} bytes is out of reach ({reach}){way_out}")
        return distance


def _literal(text: str) -> int | None:
    match = _NUMBER.match(text)
    if match is None:
        return None
    digits = match.group(2).lower()
    base = {"0x": 16, "0b": 2}.get(digits[:2], 10)
    return int(digits, base) * (-1 if match.group(1) == "-" else 1)
