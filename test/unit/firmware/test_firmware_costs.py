"""The costs that docs/firmware.md gives are those of the reference engine's cycle model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from atalla_mlir.firmware.link import dma_services, firmware, system_data
from atalla_mlir.firmware.symbols import DMA_SERVICES
from atalla_mlir.loadable import abi
from atalla_mlir.mc.parse import assemble
from atalla_mlir.sim import create_engine
from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.target.machine import AX01

BASE = len(firmware().code)
DMA_PC = BASE + 500 * PACKET_BYTES
EMPTY_PC = BASE + 1000 * PACKET_BYTES
PAGE = Path(__file__).parents[3] / "docs" / "firmware.md"


def run(body: str, *, prepared: bool = True) -> tuple[int, int]:
    """Packets and cycles of an entry with the text `body`, with all pages free and cold caches.

    Unless `prepared`, it is the first start, which prepares the pads; otherwise an empty entry has done that.
    """
    services = {name: firmware().labels[name] for name in abi.SERVICES}
    services.update((name, DMA_PC + dma_services().labels[name]) for name in DMA_SERVICES)
    engine = create_engine("reference", AX01)
    engine.load_code(DMA_PC, dma_services().code)
    engine.load_code(0, firmware().code)
    engine.load_code(EMPTY_PC, assemble("halt.s").code)
    engine.load_code(BASE, assemble(body, base=BASE, symbols=services).code)
    engine.write_dram(0, system_data())
    for entry in (EMPTY_PC, BASE) if prepared else (BASE,):
        engine.write_dram(abi.ENTRY_ADDRESS, entry.to_bytes(4, "little"))
        engine.reset()
        assert engine.run(timing=True).reason == "halt"
    return engine.counters.packets, engine.counters.cycles


def arguments(*values: int | str) -> str:
    """Instructions that set x12, x13, x14; a string is the number of a register."""
    lines = [
        f"addi.s x{12 + at}, {value}, 0" if isinstance(value, str) else f"addi.s x{12 + at}, x0, {value}"
        for at, value in enumerate(values)
    ]
    return "\n".join(lines) + "\n"


# The result is waited for, as a caller that uses it does.
USE = "addi.s x0, x10, 0\n"


def call(name: str) -> str:
    return f"jal x1, {name}\n"


REGION_32 = arguments(0, 0, 2032, 32, 32, 0)
REGION_128 = arguments(0, 0, 2032, 128, 128, 0)
ALLOCATE = arguments(0, 4, abi.PANIC_WHEN_EXHAUSTED) + call("spad_alloc")
FREE = arguments(0, "x20", 4) + call("spad_free")
# name in the page -> what precedes both calls, arguments of the call, its service, what undoes it (None: what precedes)
CASES = {
    "`spad_alloc`, low end": (
        "",
        arguments(0, 4, abi.PANIC_WHEN_EXHAUSTED),
        "spad_alloc",
        "addi.s x20, x10, 0\n" + FREE,
    ),
    "`spad_free`, last run": (ALLOCATE + ALLOCATE, arguments(0, "x10", 4), "spad_free", "addi.s x10, x0, 0\n"),
    "`spad_mark`, nothing beyond `TOP`": ("", arguments(0), "spad_mark", ""),
    "`spad_release`, same": (arguments(0) + call("spad_mark"), arguments(0, 0), "spad_release", ""),
    "`spad_avail`, pad empty": ("", arguments(0), "spad_avail", ""),
    "`spad_alloc`, high end of an empty pad": (
        "",
        arguments(0, 4, abi.ALLOCATE_HIGH),
        "spad_alloc",
        arguments(0, "x10", 4) + call("spad_free"),
    ),
    "`dma_load`, one tile": ("", REGION_32, "dma_load", arguments(0) + call("dma_wait")),
    "`dma_store`, one tile": ("", REGION_32, "dma_store", arguments(0) + call("dma_wait")),
    "`dma_load`, 128 x 128": ("", REGION_128, "dma_load", arguments(0) + call("dma_wait")),
    "`dma_wait`, nothing under way": ("", arguments(0), "dma_wait", ""),
    "`barrier`, nothing under way": ("", "", "barrier", ""),
    "`barrier`, right behind `dma_load` of one tile": (REGION_32 + call("dma_load"), "", "barrier", None),
    "`spad_alloc`, no run left": (
        arguments(0, 256, 0) + call("spad_alloc"),
        arguments(0, 4, 0),
        "spad_alloc",
        "",
    ),
}


def cost(before: str, what: str, service: str) -> tuple[int, int]:
    """Packets and cycles that one call adds to a program that does `before` and sets the arguments."""
    with_call = run(before + what + call(service) + USE + "halt.s")
    without = run(before + what + USE + "halt.s")
    return with_call[0] - without[0], with_call[1] - without[1]


def costs(name: str) -> tuple[int, int, int]:
    """Packets, warm cycles (after the same call), cold cycles."""
    before, what, service, undo = CASES[name]
    packets, cold = cost(before, what, service)
    again = before if undo is None else undo
    warm_packets, warm = cost(before + what + call(service) + USE + again, what, service)
    assert warm_packets == packets
    return packets, warm, cold


def documented(name: str) -> tuple[int, ...]:
    row = re.search(rf"^\| {re.escape(name)} \|(.*)\|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert row is not None, name
    return tuple(int(number) for number in re.findall(r"\d+", row[1]))


@pytest.mark.parametrize("name", CASES)
def test_costs_are_as_documented(name: str) -> None:
    assert documented(name) == costs(name)


def test_the_first_start_prepares_the_pads() -> None:
    first, later = run("halt.s", prepared=False), run("halt.s")
    text = PAGE.read_text("utf-8")
    assert f"{first[1] - later[1]} cycles more than a later one ({later[1]} cycles)" in text
