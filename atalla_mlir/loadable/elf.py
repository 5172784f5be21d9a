"""The part of ELF32 (little-endian) that loadables use, as named tuples with their binary layouts."""

from __future__ import annotations

import struct
from typing import NamedTuple

MACHINE = 0x270F
"""e_machine of the Atalla tools (9999)."""

MAGIC = b"\x7fELF"
IDENT = MAGIC + bytes([1, 1, 1, 0]) + bytes(8)  # 32 bit, little-endian, ELF version 1, no OS ABI
ET_EXEC = 2
EV_CURRENT = 1

PT_LOAD, PT_NOTE = 1, 4
PF_X, PF_W, PF_R = 1, 2, 4

SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_NOTE, SHT_NOBITS = 1, 2, 3, 7, 8
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4

STB_GLOBAL = 1
STT_OBJECT, STT_FUNC = 1, 2


class FileHeader(NamedTuple):
    ident: bytes
    type: int
    machine: int
    version: int
    entry: int
    phoff: int
    shoff: int
    flags: int
    ehsize: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int


class ProgramHeader(NamedTuple):
    type: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    flags: int
    align: int


class SectionHeader(NamedTuple):
    name: int
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    addralign: int
    entsize: int


class Symbol(NamedTuple):
    name: int
    value: int
    size: int
    info: int
    other: int
    shndx: int


FILE_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
PROGRAM_HEADER = struct.Struct("<8I")
SECTION_HEADER = struct.Struct("<10I")
SYMBOL = struct.Struct("<IIIBBH")
NOTE_HEADER = struct.Struct("<3I")  # bytes of the name, bytes of the descriptor, type

MAX_HEADERS = 0xFEFF
"""Program or section headers that fit before ELF's reserved indices."""


def aligned(size: int, unit: int = 4) -> int:
    """`size` rounded up to a multiple of `unit`."""
    return -(-size // unit) * unit


class StringTable:
    """An ELF string table under construction; equal strings share their bytes."""

    def __init__(self) -> None:
        self._offsets = {"": 0}
        self._data = bytearray(1)

    def add(self, text: str) -> int:
        """The offset of `text`."""
        if text not in self._offsets:
            self._offsets[text] = len(self._data)
            self._data += text.encode() + b"\0"
        return self._offsets[text]

    def __bytes__(self) -> bytes:
        return bytes(self._data)
