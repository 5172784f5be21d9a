"""What an engine tells an observer about the cycles of a run, as spans of cycles [start, end)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from atalla_mlir.sim.engine import StallCause


class Observer(ABC):
    """Receives spans in the order in which they become known: of one track in order, of two tracks not always.

    Cycles count from the last reset. Observing changes neither values nor cycles.
    """

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
