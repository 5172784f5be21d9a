"""What firmware, compiled code and host agree on: addresses, services, panic codes (machine reference 9.3, 9.4).

The addresses are part of every loadable; docs/firmware.md explains them.
"""

from __future__ import annotations

from enum import IntEnum

ABI_VERSION = 0x41580001

# DRAM addresses of the header, in bytes.
HEADER_MAGIC = 0x4C545441  # "ATTL"
HEADER_MAGIC_ADDRESS = 0x00
HEADER_ABI_ADDRESS = 0x04
HEADER_STATE_ADDRESS = 0x08
ENTRY_ADDRESS = 0x0C
"""The host writes the PC of the entry to run here before it starts the core."""
ARGUMENTS_ADDRESS = 0x3C
ARGUMENTS_END = 0x100
STATE_ADDRESS = 0x100
TENSORS_ADDRESS = 0x1000
"""First address that tensors may use; all below belongs to header, argument table and firmware."""

# Firmware state.
READY_ADDRESS = STATE_ADDRESS
READY_MAGIC = 0x59444500  # low seven bits zero: one lui.s makes it
PANIC_ADDRESS = STATE_ADDRESS + 0x4
PANIC_CODE_ADDRESS = STATE_ADDRESS + 0x8
PANIC_LINK_ADDRESS = STATE_ADDRESS + 0xC
CALL_ADDRESS = STATE_ADDRESS + 0x10
"""A service that the host has called: its place in the table in bytes, then three arguments; the result replaces it."""
POLICY_ADDRESS = STATE_ADDRESS + 0x20
POLICY_BYTES = 32
"""For page policies that replace services (firmware/policy.py); zero at first."""
RECORDS_ADDRESS = STATE_ADDRESS + 0x40
RECORD_BYTES = 64
"""One record per pad, one line of the data cache."""
SNAPSHOTS_ADDRESS = 0x400
SNAPSHOT_BYTES = 32
SNAPSHOTS_PER_PAD = 16

PAGE_BYTES = 2048
MAX_PAGES = 256
MAX_PADS = 4
NO_PAGES = 0xFFFFFFFF
# Flags of spad_alloc.
ALLOCATE_HIGH = 1
PANIC_WHEN_EXHAUSTED = 2

SERVICES = ("fw_abi", "spad_alloc", "spad_free", "spad_mark", "spad_release", "spad_avail", "panic")
"""Services in the order of the firmware table."""


class PanicCode(IntEnum):
    """The low byte of the argument of `panic`; the bits above it are a detail that depends on the code."""

    UNSPECIFIED = 0
    PAGES_EXHAUSTED = 1
    """`spad_alloc` found no run of pages; the detail is the pad."""
    ARGUMENT = 2
    """A kernel was launched with arguments that it does not take; the detail is the argument's index."""


def panic_code(code: PanicCode, detail: int = 0) -> int:
    """The word that compiled code passes to `panic`."""
    return code | detail << 8


def describe_panic(word: int) -> str:
    """A panic's word in words."""
    code, detail = word & 0xFF, word >> 8
    match code:
        case PanicCode.PAGES_EXHAUSTED:
            return f"no free scratchpad pages in pad {detail}"
        case PanicCode.ARGUMENT:
            return f"argument {detail} of the kernel is not one that it takes"
        case PanicCode.UNSPECIFIED:
            return "unspecified"
        case _:
            return "a code that this atalla-mlir does not know"
