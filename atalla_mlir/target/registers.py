"""Register files, their hard-wired members and the software conventions on them (machine reference 1.3, 9.4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class RegisterFile(Enum):
    """The three files; the value is the assembly prefix."""

    SCALAR = "x"
    VECTOR = "v"
    MASK = "m"

    __hash__ = object.__hash__  # Enum's own is a function in Python, and members are keys in inner loops


@dataclass(frozen=True)
class FileShape:
    """Number of registers, of banks (selected by the low bits of the number) and of read ports per packet."""

    count: int
    banks: int
    read_ports: int


FILES = {
    RegisterFile.SCALAR: FileShape(256, 4, 4),
    RegisterFile.VECTOR: FileShape(256, 4, 4),
    RegisterFile.MASK: FileShape(16, 2, 2),
}

# Register 0 of each file is hard-wired: x0 = 0, v0 = +0.0 in all lanes, m0 = all ones.
HARD_WIRED = 0

# Scalar conventions of firmware and compiled code (9.4).
LINK = 1
FIRMWARE_TABLE = 3
RESULT = 10
ARGUMENT_BASE = 12
FIRMWARE_CLOBBERS = (*range(10, 18), *range(28, 32))
# The all-ones mask that compiled code keeps in an odd register so that two lane ops do not share a bank (5.3).
ALL_ONES_MASK = 1
