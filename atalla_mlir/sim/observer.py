"""What an engine tells an observer about the cycles of a run, as spans of cycles [start, end)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from atalla_mlir.sim.engine import StallCause
from atalla_mlir.sim.state import ELEMENT_BYTES
from atalla_mlir.target.isa import Unit

_UNIT_TRACKS = {
    Unit.EX1: "ex1",
    Unit.EX2: "ex2",
    Unit.EX3: "ex3",
    Unit.EX4: "ex4",
    Unit.EX5: "ex5",
    Unit.LANE_ALU: "lane alu",
    Unit.REDUCTION: "lane alu",
    Unit.LANE_MUL: "lane mul",
    Unit.LANE_EXP: "lane exp",
    Unit.GSAU: "gsau",
    Unit.MTS: "mts",
    Unit.TRANSPOSE: "transpose",
}


def unit_track(unit: Unit) -> str:
    """What observers call a unit; pads and transfers are called otherwise."""
    return _UNIT_TRACKS[unit]


def transfer_details(*, is_load: bool, address: int, row: int, rows: int, columns: int) -> dict[str, Any]:
    """What observers learn of a DMA transfer."""
    return {
        "direction": "load" if is_load else "store",
        "dram address": f"0x{address:X}",
        "pad row": row,
        "rows": rows,
        "columns": columns,
        "bytes": ELEMENT_BYTES * rows * columns,
    }


class Observer(ABC):
    """Receives spans in the order in which they become known: of one track in order, of two tracks not always.

    Cycles count from the last reset. Observing changes neither values nor cycles.
    """

    def window(self) -> tuple[int, int | None]:
        """The cycles [start, end) of the run that begins that matter, end None: all to the end; asked at each reset.

        An engine may leave out spans that do not meet them.
        """
        return 0, None

    @abstractmethod
    def packet(self, pc: int, issue: int, mnemonics: tuple[str, ...]) -> None:
        """A packet issued in cycle `issue`, which is charged to `issue`."""

    @abstractmethod
    def stall(self, cause: StallCause, pc: int, start: int, end: int) -> None:
        """The packet at `pc` waited, or the core drained after it; the cycles are charged to `cause`."""

    @abstractmethod
    def busy(self, unit: str, name: str, pc: int, start: int, end: int) -> None:
        """An instruction occupied a unit: "lane alu", "pad 2 read"."""

    @abstractmethod
    def transfer(self, pad: int, pc: int, start: int, end: int, details: Mapping[str, Any]) -> None:
        """A DMA transfer, from its start to the landing of its last row or burst."""

    def __deepcopy__(self, memo: object) -> Observer:
        """Snapshots of an engine go on with the same observer."""
        return self
