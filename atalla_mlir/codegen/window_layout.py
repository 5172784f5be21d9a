"""How an image of windows is cut and what of it lies in the pads (`codegen.window_plan` chooses)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from atalla_mlir.codegen.dealt_images import DealtImage
from atalla_mlir.codegen.iteration import Access, Loop
from atalla_mlir.codegen.phase_plan import AHEAD, MAX_PAD_ROWS, MAX_STAGES, ring_rows
from atalla_mlir.codegen.row_plan import LANES, MAX_DMA_ROWS, SumOrder, block_size

RESULT_SLOTS = 16
"""Iterations whose results may be on their way: a power of two."""
MAX_SINGLE_CHUNKS = 8
"""Chunks whose rows that results share are fetched one by one, as they overlap: each is a transfer of its own."""
MAX_TRANSFERS = 4
"""Of one pad in an iteration."""


@dataclass(frozen=True)
class Axis:
    """One direction of an image: result i sees positions `i * step + t * dilation`, `unit` elements apart.

    Of these the image has `size`, from position `low` on; the others are its frame.
    """

    loop: Loop | None
    taps_loop: Loop | None
    unit: int
    step: int
    dilation: int
    low: int = 0
    size: int | None = None
    """None where there is no frame."""

    @cached_property
    def outs(self) -> int:
        return self.loop.extent if self.loop is not None else 1

    @cached_property
    def taps(self) -> int:
        return self.taps_loop.extent if self.taps_loop is not None else 1

    @cached_property
    def extent(self) -> int:
        """Positions that are looked at, gaps between windows and the frame included."""
        return (self.outs - 1) * self.step + (self.taps - 1) * self.dilation + 1

    @cached_property
    def fetched(self) -> int:
        """Positions of the image that are looked at, gaps included."""
        return self.extent if self.size is None else min(self.size, self.extent - self.low)

    @cached_property
    def framed(self) -> tuple[int, ...]:
        """Positions of the frame that are looked at."""
        return (*range(self.low), *range(self.low + self.fetched, self.extent))


@dataclass(frozen=True)
class WindowPlan:
    """How the image is cut and what of it is in the pads.

    `planes` are the loops of the planes besides the chunks of the lane loop, outermost first. Position x of a line lies
    in pad x mod `pads`, in pieces of `piece_rows` rows, `pieces` for each pad.
    """

    lane: Loop
    image: Access
    planes: tuple[Loop, ...]
    lines: Axis
    columns: Axis
    group: int
    pads: int
    pieces: int = 1
    is_separable: bool = False
    """Whether a column of lines is folded once for all results that look at it: terms are the same for all of them."""
    frame: float | None = None
    """The number around the image."""
    ring_lines: int = 0
    lead: int = 0
    """Pieces (of each pad) that are fetched before the first iteration."""
    dealt: DealtImage | None = None
    """The image as it lies in the pads before the kernel begins; then nothing is fetched, and there is no ring."""

    @property
    def chunks(self) -> int:
        return -(-self.lane.extent // LANES)

    @property
    def even_step(self) -> int | None:
        """Channels from the begin of a chunk to that of the next one; None where the last one is nearer than others."""
        if self.chunks == 1 or self.lane.extent % LANES == 0:
            return LANES
        step, rest = divmod(self.lane.extent - LANES, self.chunks - 1)
        return step if rest == 0 and self.chunks <= MAX_SINGLE_CHUNKS else None

    @property
    def cols(self) -> int:
        """Lanes in use."""
        return min(LANES, self.lane.extent)

    @property
    def num_planes(self) -> int:
        return math.prod(loop.extent for loop in self.planes)

    @cached_property
    def groups(self) -> int:
        """Iterations of a line; the last one may compute results that nobody has asked for."""
        return -(-self.columns.outs // self.group)

    @property
    def last_group(self) -> int:
        return self.columns.outs - (self.groups - 1) * self.group

    @cached_property
    def iterations_of_a_plane(self) -> int:
        return self.lines.outs * self.groups

    @cached_property
    def iterations(self) -> int:
        return self.chunks * self.num_planes * self.iterations_of_a_plane

    @cached_property
    def taps(self) -> int:
        return self.lines.taps * self.columns.taps

    @property
    def moves(self) -> bool:
        """Whether a plane has more than one window."""
        return self.lines.outs * self.columns.outs > 1

    # Transfers

    @property
    def units_of_a_plane(self) -> int:
        return self.lines.fetched * self.pieces if self.dealt is None else 0

    @property
    def transfers(self) -> int:
        """Of each pad in an iteration; not all of them are always needed."""
        return -(-self.units_of_a_plane // self.iterations_of_a_plane)

    def first_position(self, pad: int) -> int:
        """The first position of a line's columns, frame included, that is fetched into a pad."""
        return self.columns.low + (pad - self.columns.low) % self.pads

    def part_rows(self, pad: int) -> int:
        """Rows that a line takes of a pad."""
        return len(range(self.first_position(pad), self.columns.low + self.columns.fetched, self.pads))

    @cached_property
    def most_part_rows(self) -> int:
        return max(map(self.part_rows, range(self.pads)))

    @property
    def piece_rows(self) -> int:
        return -(-self.most_part_rows // self.pieces)

    def last_piece_rows(self, pad: int) -> int:
        return self.part_rows(pad) - (self.pieces - 1) * self.piece_rows

    @property
    def line_rows(self) -> int:
        """Rows between the lines of the ring, a power of two: groups may look beyond the end of a line."""
        if self.dealt is not None:
            return self.dealt.line_rows
        ends = (self.first_position(pad) // self.pads + self.piece_rows * self.pieces for pad in range(self.pads))
        return ring_rows(max(self.seen_rows, *ends))

    @property
    def seen_rows(self) -> int:
        """Rows of a line in a pad that groups look at."""
        seen = (self.groups * self.group - 1) * self.columns.step + (self.columns.taps - 1) * self.columns.dilation + 1
        return -(-seen // self.pads)

    @property
    def ring_pad_rows(self) -> int:
        """Of the ring, and of one line of the frame behind it."""
        if self.dealt is not None:
            return 0
        return (self.ring_lines + bool(self.lines.framed)) * self.line_rows

    @property
    def frame_row(self) -> int:
        """Of each pad, counted from the first line: where the line of the frame begins."""
        return self.ring_lines * self.line_rows if self.dealt is None else self.dealt.own_rows

    @property
    def plane_rows(self) -> int:
        """Rows of each pad from a plane to the next one."""
        return self.lines.fetched * self.line_rows if self.dealt is None else self.dealt.picture_rows

    @property
    def results_rows(self) -> int:
        """Of the ring of a result."""
        return RESULT_SLOTS * ring_rows(self.group)

    def sum_order(self) -> SumOrder:
        """How the terms of a sum are added: in sequence, in blocks where they are many."""
        axes = [axis.taps for axis in (self.lines, self.columns) if axis.taps_loop is not None]
        if len(axes) == 1:
            return SumOrder("rows", block_size(self.taps))
        counts = axes if self.is_separable else [self.taps]
        blocks = [(block_size(count), count) for count in counts]
        return SumOrder("any", 1, sum(block + -(-count // block) for block, count in blocks))

    @cached_property
    def columns_of_a_group(self) -> int:
        """Different columns that a group looks at."""
        columns = self.columns
        return len(
            {at * columns.step + tap * columns.dilation for at in range(self.group) for tap in range(columns.taps)}
        )


# The ring


def cuts(shape: WindowPlan) -> Iterator[WindowPlan]:
    """The ways to fetch lines, few transfers of an iteration first.

    Of each line and pad as many pieces as iterations have transfers for, so that one takes about as long as another.
    """
    parts = [shape.part_rows(pad) for pad in range(shape.pads)]
    fewest, before = -(-max(parts) // MAX_DMA_ROWS), 0
    for transfers in range(1, MAX_TRANSFERS + 1):
        most = min(min(parts), shape.iterations_of_a_plane * transfers // shape.lines.fetched)
        counts = range(most, max(fewest, before + 1) - 1, -1)
        pieces = next((count for count in counts if min(parts) > (count - 1) * -(-max(parts) // count)), None)
        if pieces is not None:
            yield replace(shape, pieces=pieces)
            before = pieces


def with_ring(shape: WindowPlan) -> WindowPlan | None:
    """The plan with a ring that holds what is needed and what is coming, None where there is no room."""
    if shape.dealt is not None:
        return shape
    pitch = shape.columns.unit * shape.pads
    if pitch > 1 << 20 or (shape.piece_rows > 1 and pitch < shape.cols):
        return None
    plan = replace(shape, lead=_lead(shape))
    plan = replace(plan, ring_lines=ring_rows(_ring_lines(plan)))
    return plan if plan.ring_pad_rows <= MAX_PAD_ROWS // 2 else None


def first_line(plan: WindowPlan, iteration: int) -> int:
    """The first line, of those of all planes, that an iteration looks at."""
    return _line(plan, iteration, 0)


def last_line(plan: WindowPlan, iteration: int) -> int:
    """The last line, of those of all planes, that an iteration looks at."""
    return _line(plan, iteration, (plan.lines.taps - 1) * plan.lines.dilation)


def _line(plan: WindowPlan, iteration: int, tap: int) -> int:
    """That of the image which is nearest where a tap is in the frame."""
    plane, rest = divmod(iteration, plan.iterations_of_a_plane)
    position = rest // plan.groups * plan.lines.step + tap - plan.lines.low
    return plane * plan.lines.fetched + min(max(0, position), plan.lines.fetched - 1)


def _started(plan: WindowPlan, iteration: int) -> int:
    """Pieces whose transfers all iterations up to one have begun, besides those that come before."""
    return (iteration + 1) * plan.units_of_a_plane // plan.iterations_of_a_plane


def _lead(plan: WindowPlan) -> int:
    """So many that those which an iteration looks at are there: begun `AHEAD` iterations earlier."""
    needed = (
        (last_line(plan, at) + 1) * plan.pieces - _started(plan, at - AHEAD) for at in range(plan.iterations_of_a_plane)
    )
    return max(needed)


def _ring_lines(plan: WindowPlan) -> int:
    """So many that nothing is fetched to where an iteration in progress still looks."""
    start = plan.iterations_of_a_plane + MAX_STAGES + 1
    return 1 + max(
        -(-(plan.lead + _started(plan, at) + 1) // plan.pieces) - first_line(plan, at - MAX_STAGES)
        for at in range(start, start + plan.iterations_of_a_plane)
    )
