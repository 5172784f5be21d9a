"""Plan what writes one number to many places: the frames around images, and constants.

All places become runs of contiguous elements, neighbours joined: what is right of a line and left of the next one is
one run. Runs of one length that lie equally far apart are strips, which transfers walk row by row.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.iteration import Access, Buffer, Stage, StageKind
from atalla_mlir.codegen.placement import LANES, MAX_DMA_ROWS

MAX_RUNS = 8192
"""Before neighbours are joined; more would take long to plan."""
MAX_STRIPS = 16
"""More would be much code."""
MAX_PITCH = 1 << 20
MIN_TURNS_ROWS = 8
"""Rows of a transfer for which it is worth its instructions."""
ROW_CYCLES = 2
"""Of the DRAM channel."""
TRANSFER_CYCLES = 12
START_CYCLES = 900
"""Rows of the number in the pads, and code that runs cold."""


@dataclass(frozen=True)
class Strip:
    """`count` runs of `length` elements from element `first` on, `pitch` elements apart."""

    first: int
    length: int
    pitch: int
    count: int


@dataclass(frozen=True)
class Moves:
    """`times` x `across` transfers of `rows` rows of `cols` elements, `pitch` elements apart.

    The transfers of one turn begin `step` elements apart, as turns do, and none begins behind `last`; a turn has one
    transfer for each pad and each of `offsets`.
    """

    first: int
    rows: int
    cols: int
    pitch: int
    step: int
    last: int
    pads: int
    turns: int
    offsets: tuple[int, ...]

    @property
    def transfers(self) -> int:
        return self.turns * self.pads * len(self.offsets)


@dataclass(frozen=True)
class FillPlan:
    """`value` goes to all places of `buffer` that `moves` cover, some of them more than once."""

    buffer: Buffer
    value: float
    moves: tuple[Moves, ...]

    @property
    def rows(self) -> int:
        """Rows of a pad that hold the number."""
        return max(move.rows for move in self.moves)

    @property
    def pads(self) -> int:
        return max(move.pads for move in self.moves)

    @property
    def predicted_cycles(self) -> int:
        rows = sum(move.transfers * move.rows for move in self.moves)
        return START_CYCLES + ROW_CYCLES * rows + TRANSFER_CYCLES * sum(move.transfers for move in self.moves)


def is_fill(stage: Stage) -> bool:
    """Whether the stage writes one number everywhere."""
    plain = stage.kind is StageKind.MAP and not stage.reads and not stage.write.indirect and not stage.changes_state
    return plain and stage.body.op == "constant" and not stage.is_scalar


def plan_fill(stages: Sequence[Stage], pads: int) -> FillPlan | None:
    """A plan, or None where the stages are anything but one number at places of one buffer that are easy to name."""
    if not stages or not all(map(is_fill, stages)):
        return None
    buffer, value = stages[0].write.buffer, stages[0].body.value
    same = all(stage.write.buffer is buffer and _bits(stage.body.value) == _bits(value) for stage in stages)
    if not same or sum(_num_runs(stage.write) for stage in stages) > MAX_RUNS:
        return None
    strips = list(itertools.islice(_strips(_joined(sorted(_runs(stages)))), MAX_STRIPS + 1))
    if len(strips) > MAX_STRIPS:
        return None
    return FillPlan(buffer, value, tuple(move for strip in strips for move in _moves(strip, pads)))


def _bits(value: float) -> bytes:
    return struct.pack("<d", value)


# Runs


def _contiguous(access: Access) -> tuple[int, list[tuple[int, int]]]:
    """Elements of a run of an access, and (extent, stride) of the loops over runs."""
    length, outer = 1, []
    for loop, stride in sorted(access.strides.items(), key=lambda item: item[1]):
        if stride == length and not outer:
            length *= loop.extent
        else:
            outer.append((loop.extent, stride))
    return length, outer


def _num_runs(access: Access) -> int:
    return math.prod(extent for extent, _ in _contiguous(access)[1])


def _runs(stages: Sequence[Stage]) -> Iterator[tuple[int, int]]:
    """(first element, end) of all runs."""
    for stage in stages:
        length, outer = _contiguous(stage.write)
        for at in itertools.product(*(range(0, extent * stride, stride) for extent, stride in outer)):
            first = stage.write.offset + sum(at)
            yield first, first + length


def _joined(runs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The sorted runs, those that touch as one."""
    first, end = runs[0]
    for start, stop in runs[1:]:
        if start > end:
            yield first, end
            first = start
        end = max(end, stop)
    yield first, end


def _strips(runs: Iterator[tuple[int, int]]) -> Iterator[Strip]:
    strip: Strip | None = None
    for first, end in runs:
        follows = strip is not None and strip.length == end - first
        distance = first - strip.first if strip is not None else 0
        if strip is not None and follows and strip.count == 1 and distance <= MAX_PITCH:
            strip = replace(strip, pitch=distance, count=2)
        elif strip is not None and follows and distance == strip.count * strip.pitch:
            strip = replace(strip, count=strip.count + 1)
        else:
            if strip is not None:
                yield strip
            strip = Strip(first, end - first, end - first, 1)
    if strip is not None:
        yield strip


# Transfers


def _moves(strip: Strip, pads: int) -> Iterator[Moves]:
    """Transfers of a strip: rows of 32 elements, and what is left of each run."""
    blocks, rest = divmod(strip.length, LANES)
    if blocks and strip.count == 1:
        yield _along_rows(strip.first, blocks, LANES, LANES, (0,), pads)
    elif blocks:
        yield _over_blocks(strip, blocks, pads)
    if rest:
        yield _along_rows(strip.first + blocks * LANES, strip.count, rest, max(rest, strip.pitch), (0,), pads)


def _over_blocks(strip: Strip, blocks: int, pads: int) -> Moves:
    """Blocks of 32 elements side by side; where lines are more than blocks, pads take lines in turn."""
    chunks = -(-strip.count // MAX_DMA_ROWS)
    if chunks >= blocks:
        offsets = tuple(block * LANES for block in range(blocks))
        return _along_rows(strip.first, strip.count, LANES, strip.pitch, offsets, pads)
    rows = -(-strip.count // chunks)
    starts = dict.fromkeys(min(chunk * rows, strip.count - rows) * strip.pitch for chunk in range(chunks))
    used, turns = _spread(blocks, pads)
    return Moves(strip.first, rows, LANES, strip.pitch, LANES, (blocks - 1) * LANES, used, turns, tuple(starts))


def _along_rows(first: int, count: int, cols: int, pitch: int, offsets: tuple[int, ...], pads: int) -> Moves:
    """`count` rows, in transfers that pads take in turn; the last one ends with the rows."""
    chunks = max(-(-count // MAX_DMA_ROWS), min(pads, count // MIN_TURNS_ROWS), 1)
    used, turns = _spread(chunks, pads)
    rows = -(-count // (used * turns))
    return Moves(first, rows, cols, pitch, rows * pitch, (count - rows) * pitch, used, turns, offsets)


def _spread(items: int, pads: int) -> tuple[int, int]:
    """(pads, turns) for a number of items: the fewest turns, and of pads no more than that takes."""
    turns = -(-items // pads)
    return -(-items // turns), turns
