"""How full the packets of machine code are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from atalla_mlir.errors import InternalError
from atalla_mlir.loadable.format import Loadable
from atalla_mlir.mc.decode import decode_packets
from atalla_mlir.target.encoding import SLOTS
from atalla_mlir.target.isa import NOP


@dataclass(frozen=True)
class Fill:
    """Packets of a stretch of code and the instructions in them; `nop.s` and empty slots are no instructions."""

    packets: int
    nonempty: int
    """Packets with at least one instruction."""
    instructions: int

    @property
    def all_packets(self) -> float:
        """Filled slots over all slots, 0 to 1."""
        return self.instructions / (SLOTS * self.packets) if self.packets else 0.0

    @property
    def nonempty_packets(self) -> float:
        """Filled slots over the slots of packets that are not empty, 0 to 1."""
        return self.instructions / (SLOTS * self.nonempty) if self.nonempty else 0.0


def fill_of_code(loadable: Loadable) -> Fill:
    """Fill of everything in instruction space, firmware included."""
    return _fill(segment.data for segment in loadable.code_segments)


def fill_between(loadable: Loadable, start: int, end: int) -> Fill:
    """Fill of the packets from PC `start` up to `end`."""
    segment = loadable.code_segment_of(start)
    if segment is None or end > segment.end:
        raise InternalError(f"the loadable has no code at {start:#x}..{end:#x}")
    return _fill([segment.data[start - segment.address : end - segment.address]])


def _fill(codes: Iterable[memoryview]) -> Fill:
    counts = [
        sum(inst is not None and inst.op is not NOP for inst in packet)
        for code in codes
        for packet in decode_packets(bytes(code))
    ]
    return Fill(len(counts), sum(count > 0 for count in counts), sum(counts))
