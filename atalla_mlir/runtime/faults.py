"""What a program on the device may do wrong, as errors that name the kernel and the source position."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from typing import Any

from atalla_mlir.errors import AtallaError
from atalla_mlir.loadable import abi
from atalla_mlir.loadable.format import Loadable
from atalla_mlir.sim.engine import Trap
from atalla_mlir.target.encoding import PACKET_BYTES


class DeviceError(AtallaError):
    """The program stopped on the device before it was done; the engine keeps its state for inspection."""

    category = "device"


class DeviceTrapError(DeviceError):
    """The machine refused to go on."""

    def __init__(self, message: str, trap: Trap) -> None:
        super().__init__(message)
        self.trap = trap


class DevicePanicError(DeviceError):
    """The program called `panic`."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class SourceMap:
    """Finds what a PC belongs to: the function from `meta.functions`, the position from `meta.source_map`."""

    def __init__(self, loadable: Loadable) -> None:
        functions: Mapping[str, Sequence[int]] = loadable.meta.get("functions", {})
        self._functions = sorted((span[0], span[1], name) for name, span in functions.items())
        table: Mapping[str, Any] = loadable.meta.get("source_map", {"sources": [], "ranges": []})
        self._ranges = [(start, end, table["sources"][source]) for start, end, source in table["ranges"]]

    def add_function(self, name: str, start: int, end: int) -> None:
        """A function that was put on the device after the loadable."""
        insort(self._functions, (start, end, name))

    @staticmethod
    def _find(rows: Sequence[tuple[int, int, str]], pc: int) -> str | None:
        index = bisect_right(rows, pc, key=lambda row: row[0]) - 1
        return rows[index][2] if index >= 0 and pc < rows[index][1] else None

    def function(self, pc: int) -> str | None:
        return self._find(self._functions, pc)

    def source(self, pc: int) -> str | None:
        return self._find(self._ranges, pc)

    def place(self, pc: int) -> str:
        """The PC in words."""
        function, source = self.function(pc), self.source(pc)
        inside = f" in {function}" if function else ""
        return f"pc {pc:#x}{inside}" + (f" ({source})" if source else "")

    def by_pc(self) -> dict[int, str]:
        """The source position of each packet that has one."""
        return {pc: source for start, end, source in self._ranges for pc in range(start, end, PACKET_BYTES)}


def trap_error(entry: str, trap: Trap, places: SourceMap) -> DeviceTrapError:
    instruction = f", instruction '{trap.text}'" if trap.text else ""
    return DeviceTrapError(f"entry '{entry}' stopped at {places.place(trap.pc)}{instruction}: {trap.message}", trap)


def panic_error(entry: str, code: int, link: int, places: SourceMap) -> DevicePanicError:
    caller = places.place(max(link - PACKET_BYTES, 0))
    return DevicePanicError(
        f"entry '{entry}' panicked with code {code:#x}, called from {caller}: {abi.describe_panic(code)}", code
    )
