"""Traces for ui.perfetto.dev: the events of a run as Chrome trace JSON, written while it goes on.

One microsecond of the viewer is one cycle. Tracks: operations, kernels, issue, stalls, one per unit, one per port and
DMA engine of each pad.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from atalla_mlir.errors import BadInputError
from atalla_mlir.sim.engine import Counters, StallCause
from atalla_mlir.sim.observer import Observer
from atalla_mlir.target.machine import Machine

_PROCESS = 1
_UNITS = (
    *("gsau", "lane alu", "lane mul", "lane exp", "transpose", "mts"),
    *("ex1", "ex2", "ex3", "ex4", "ex5"),
)


@dataclass(frozen=True)
class Window:
    """Cycles [start, end) of a run; spans that reach beyond are cut off there. No end: to the end of the run."""

    start: int = 0
    end: int | None = None

    @classmethod
    def parse(cls, text: str) -> Window:
        """`START:END`, either may be missing."""
        start, colon, end = text.partition(":")
        if not colon or not all(part.isdecimal() for part in (start, end) if part):
            raise BadInputError(f"a window is START:END in cycles, got '{text}'")
        window = cls(int(start or 0), int(end) if end else None)
        if window.end is not None and window.end <= window.start:
            raise BadInputError(f"the window {text} is empty: its end must be after its start")
        return window

    def cut(self, start: int, end: int) -> tuple[int, int]:
        """The part of a span that lies inside; empty when nothing does."""
        return max(start, self.start), end if self.end is None else min(end, self.end)


WHOLE_RUN = Window()


class TraceWriter(Observer):
    """Writes events to `file`; `finish` completes the document, which is not valid JSON before."""

    def __init__(self, file: TextIO, machine: Machine, window: Window = WHOLE_RUN) -> None:
        self._file = file
        self._window = window
        self._machine = machine
        self._offset = 0
        self._first = True
        self._stalls: dict[str, int] = {}
        names = ["operations", "kernels", "issue", "stalls", *_UNITS]
        for pad in range(machine.pads):
            names += [f"pad {pad} read", f"pad {pad} write", f"dma {pad}"]
        self._tracks = {name: number for number, name in enumerate(names, 1)}
        file.write('{"displayTimeUnit": "ns", "traceEvents": [\n')
        self._event("M", "process_name", 0, {"args": {"name": f"atalla {machine.name}, 1 us = 1 cycle"}})
        for name, number in self._tracks.items():
            self._event("M", "thread_name", number, {"args": {"name": name}})
            self._event("M", "thread_sort_index", number, {"args": {"sort_index": number}})

    # What the engine tells

    def window(self) -> tuple[int, int | None]:
        end = self._window.end
        return max(self._window.start - self._offset, 0), None if end is None else max(end - self._offset, 0)

    def packet(self, pc: int, issue: int, mnemonics: tuple[str, ...]) -> None:
        self._span("issue", "; ".join(mnemonics) or "empty", "issue", issue, issue + 1, {"pc": f"0x{pc:X}"})

    def stall(self, cause: StallCause, pc: int, start: int, end: int) -> None:
        self._span("stalls", cause.value, "stall", start, end, {"pc": f"0x{pc:X}"})

    def busy(self, unit: str, name: str, pc: int, start: int, end: int) -> None:
        self._span(unit, name, "unit", start, end, {"pc": f"0x{pc:X}"})

    def transfer(self, pad: int, pc: int, start: int, end: int, details: Mapping[str, Any]) -> None:
        self._span(f"dma {pad}", f"scpad {details['direction']}", "dma", start, end, {"pc": f"0x{pc:X}", **details})

    # What the runtime tells

    def launch(self, kernel: Mapping[str, Any], start: int, counters: Counters) -> None:
        """A launch of a kernel (a row of `meta.kernels`) began in cycle `start` and has returned."""
        end = start + counters.cycles
        op = {"aten": list(kernel.get("aten", ())), "source": kernel.get("source")}
        self._span("operations", kernel["name"], "op", start, end, op)
        span = {"cycles": counters.cycles, "packets": counters.packets, "stalls": dict(counters.stalls)}
        self._span("kernels", kernel["function"], "kernel", start, end, span)

    def end_entry(self, counters: Counters) -> None:
        """An entry has come to its end; the next one is drawn after it."""
        for cause, cycles in counters.stalls.items():
            self._stalls[cause] = self._stalls.get(cause, 0) + cycles
        self._offset += counters.cycles

    def finish(self) -> None:
        """Complete the document; totals are those of the counters, of the whole run even under a window."""
        totals = {
            "machine": self._machine.name,
            "cycles": self._offset,
            "stalls": self._stalls,
            "window": [self._window.start, self._window.end],
        }
        self._file.write(f'\n], "otherData": {json.dumps(totals)}}}\n')

    # Writing

    def _span(self, track: str, name: str, category: str, start: int, end: int, args: Mapping[str, Any]) -> None:
        start, end = self._window.cut(start + self._offset, end + self._offset)
        if start < end:
            more = {"cat": category, "ts": start, "dur": end - start, "args": args}
            self._event("X", name, self._tracks[track], more)

    def _event(self, phase: str, name: str, track: int, more: Mapping[str, Any]) -> None:
        if not self._first:
            self._file.write(",\n")
        self._first = False
        self._file.write(json.dumps({"ph": phase, "name": name, "pid": _PROCESS, "tid": track, **more}))
