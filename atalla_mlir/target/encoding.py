"""Bit fields of the 40-bit instruction word and the byte image of packets.

This file and `isa.py` are the only places that know a bit position (machine reference, sections 1.2 and 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

INSTRUCTION_BITS = 40
INSTRUCTION_BYTES = INSTRUCTION_BITS // 8
SLOTS = 4
PACKET_BYTES = SLOTS * INSTRUCTION_BYTES
WORD_MASK = (1 << INSTRUCTION_BITS) - 1


@dataclass(frozen=True)
class Piece:
    """`width_bits` bits of a value, from value bit `source`, placed at word bit `low`."""

    low: int
    width_bits: int
    source: int = 0


@dataclass(frozen=True)
class Field:
    """A value of the instruction word, possibly split in pieces.

    `scale` is the unit of the encoded value (branch offsets count 4-byte words); a signed field is two's complement.
    """

    name: str
    pieces: tuple[Piece, ...]
    signed: bool = False
    scale: int = 1

    @cached_property
    def width_bits(self) -> int:
        return sum(piece.width_bits for piece in self.pieces)

    @cached_property
    def minimum(self) -> int:
        return -(1 << (self.width_bits - 1)) * self.scale if self.signed else 0

    @cached_property
    def maximum(self) -> int:
        magnitude_bits = self.width_bits - 1 if self.signed else self.width_bits
        return ((1 << magnitude_bits) - 1) * self.scale

    def fits(self, value: int) -> bool:
        return self.minimum <= value <= self.maximum and value % self.scale == 0

    def place(self, value: int) -> int:
        """The word bits that hold `value`; ValueError when it does not fit."""
        if not self.fits(value):
            unit = f" in steps of {self.scale}" if self.scale > 1 else ""
            raise ValueError(f"{self.name} {value} does not fit in {self.minimum}..{self.maximum}{unit}")
        raw = value // self.scale
        word = 0
        for source, mask, low in self._moves:
            word |= ((raw >> source) & mask) << low
        return word

    @cached_property
    def plain(self) -> tuple[int, int, int, int] | None:
        """Minimum, maximum, mask and place of a field in one piece whose values count themselves, else None."""
        if len(self._moves) != 1 or self.scale != 1:
            return None
        source, mask, low = self._moves[0]
        return None if source else (self.minimum, self.maximum, mask, low)

    @cached_property
    def _moves(self) -> tuple[tuple[int, int, int], ...]:
        """Each piece as where its bits come from, a mask for them, and where they go."""
        return tuple((piece.source, (1 << piece.width_bits) - 1, piece.low) for piece in self.pieces)

    def extract(self, word: int) -> int:
        raw = 0
        for piece in self.pieces:
            raw |= ((word >> piece.low) & ((1 << piece.width_bits) - 1)) << piece.source
        if self.signed and raw >> (self.width_bits - 1):
            raw -= 1 << self.width_bits
        return raw * self.scale


def _field(name: str, low: int, width_bits: int, *, signed: bool = False) -> Field:
    return Field(name, (Piece(low, width_bits),), signed)


OPCODE = _field("opcode", 0, 7)
RD = _field("rd", 7, 8)
RS1 = _field("rs1", 15, 8)
RS2 = _field("rs2", 23, 8)
VD = _field("vd", 7, 8)
VS1 = _field("vs1", 15, 8)
VS2 = _field("vs2", 23, 8)
VS_RS1 = _field("rs1", 23, 8)
MASK = _field("mask", 31, 4)
VMD = _field("vmd", 7, 4)
VMS = _field("vms", 15, 4)
IMM12 = _field("imm", 23, 12, signed=True)
IMM25 = _field("imm", 15, 25, signed=True)
IMM25U = _field("imm", 15, 25)
IMM8 = _field("imm", 23, 8)
LANE = _field("imm", 23, 5)
INCR = _field("incr", 7, 7)
BRANCH_OFFSET = Field("offset", (Piece(31, 9), Piece(14, 1, source=9)), signed=True, scale=4)
NUM_COLS = _field("num_cols", 31, 5)
SID = _field("sid", 36, 2)
SDMA_RS1 = _field("rs1", 7, 8)
SDMA_RS2 = _field("rs2", 15, 8)
SDMA_RS3 = _field("rs3", 23, 8)


def pack_packet(words: Sequence[int]) -> bytes:
    """The 20 bytes of a packet: slot 0 first, each instruction 5 bytes little-endian."""
    if len(words) != SLOTS:
        raise ValueError(f"a packet has {SLOTS} slots, got {len(words)}")
    return b"".join([word.to_bytes(INSTRUCTION_BYTES, "little") for word in words])


def unpack_packets(code: bytes) -> Iterable[tuple[int, ...]]:
    """The packets of a code image as tuples of four 40-bit words; ValueError when the size is not a multiple of 20."""
    if len(code) % PACKET_BYTES:
        raise ValueError(f"code size {len(code)} is not a multiple of {PACKET_BYTES} bytes")
    for start in range(0, len(code), PACKET_BYTES):
        yield tuple(
            int.from_bytes(code[at : at + INSTRUCTION_BYTES], "little")
            for at in range(start, start + PACKET_BYTES, INSTRUCTION_BYTES)
        )


@dataclass(frozen=True)
class DmaShape:
    """The metadata word of `scpad.ld` / `scpad.st` (machine reference, 2.11).

    `pitch` is the DRAM row pitch in elements; `cols` is encoded as "pitch = cols" (raw 0).
    """

    pad: int
    rows: int
    cols: int
    pitch: int

    def encode(self) -> int:
        for name, value, low, high in (
            ("pad", self.pad, 0, 3),
            ("rows", self.rows, 1, 32),
            ("cols", self.cols, 1, 32),
            ("pitch", self.pitch, self.cols, 1 << 20),
        ):
            if not low <= value <= high:
                raise ValueError(f"dma {name} {value} does not fit in {low}..{high}")
        raw_pitch = 0 if self.pitch == self.cols else self.pitch - 1
        return self.pad << 30 | (self.rows - 1) << 25 | (self.cols - 1) << 20 | raw_pitch

    @staticmethod
    def decode(word: int) -> DmaShape:
        cols = ((word >> 20) & 31) + 1
        raw_pitch = word & 0xFFFFF
        return DmaShape((word >> 30) & 3, ((word >> 25) & 31) + 1, cols, raw_pitch + 1 if raw_pitch else cols)
