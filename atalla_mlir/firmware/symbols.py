"""The names in capitals that `services.s` uses, and its labels."""

from __future__ import annotations

from atalla_mlir.errors import UnsupportedError
from atalla_mlir.loadable import abi
from atalla_mlir.target.machine import Machine

ROUTINES = ("reset", *abi.SERVICES, "fw_finish", "fw_scan", "fw_fill", "fw_initialise")
"""Labels of `services.s` that start a function."""

DMA_SERVICES = ("dma_load", "dma_store", "dma_wait", "barrier")
DMA_ROUTINES = ("dma_load", "dma_store", "dma_region", "dma_wait", "barrier")
"""Services of `dma.s`, which only programs that call them carry, and its labels that start a function."""


def symbols(machine: Machine) -> dict[str, int]:
    """The names that `services.s` uses; UnsupportedError when the firmware does not fit the machine's pads."""
    if machine.page_bytes != abi.PAGE_BYTES or machine.pages_per_pad > abi.MAX_PAGES or machine.pads > abi.MAX_PADS:
        raise UnsupportedError(
            f"the firmware manages up to {abi.MAX_PADS} pads of {abi.MAX_PAGES} pages of {abi.PAGE_BYTES} bytes; "
            f"machine {machine.name} has {machine.pads} of {machine.pages_per_pad} pages of {machine.page_bytes} bytes"
        )
    return {
        "ABI_UPPER": abi.ABI_VERSION >> 7,
        "ABI_LOW": abi.ABI_VERSION & 0x7F,
        "ENTRY": abi.ENTRY_ADDRESS,
        "READY": abi.READY_ADDRESS,
        "READY_UPPER": abi.READY_MAGIC >> 7,
        "PAGES_EXHAUSTED": abi.PanicCode.PAGES_EXHAUSTED,
        "PANIC": abi.PANIC_ADDRESS,
        "PANIC_CODE": abi.PANIC_CODE_ADDRESS,
        "PANIC_LINK": abi.PANIC_LINK_ADDRESS,
        "CALL": abi.CALL_ADDRESS,
        "POLICY_STATE": abi.POLICY_ADDRESS,
        "TOP": abi.RECORDS_ADDRESS,
        "LIMIT": abi.RECORDS_ADDRESS + 4,
        "MARKS": abi.RECORDS_ADDRESS + 8,
        **{f"BITMAP_{word}": abi.RECORDS_ADDRESS + 16 + 4 * word for word in range(abi.MAX_PAGES // 32)},
        "SNAPSHOTS": abi.SNAPSHOTS_ADDRESS,
        "SNAPSHOT_LIMIT": abi.SNAPSHOTS_PER_PAD << 1,
        "PADS": machine.pads,
        "LAST_RECORD": (machine.pads - 1) * abi.RECORD_BYTES,
        "PAGES": machine.pages_per_pad,
        "PAGE_BYTES": abi.PAGE_BYTES,
        "PAD_UPPER": machine.pages_per_pad * abi.PAGE_BYTES >> 7,
    }
