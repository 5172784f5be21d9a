"""What moves between DRAM and the rings of a kernel of windows (`kernels.windows`), and where each iteration stands."""

from __future__ import annotations

from collections.abc import Sequence

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Buffer
from atalla_mlir.codegen.row_plan import LANES
from atalla_mlir.codegen.window_layout import Axis, WindowPlan
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.odometer import Level, Odometer, Reading
from atalla_mlir.kernels.rings import ROW_BYTES, tile_name
from atalla_mlir.kernels.window_pads import ResultRing, WindowPads
from atalla_mlir.target.encoding import DmaShape

ELEMENT_BYTES = 2
CHUNK_BYTES = ELEMENT_BYTES * LANES


class WindowTransfers:
    """Moves lines and results; the offsets of its odometers are bytes.

    `fetches`: in DRAM, in the ring of lines. `windows`: in the ring of lines, of the chunk in rows that results share,
    and, where there are lines of a frame, the position of the first line (not bytes).
    `sends`: in DRAM for each result. Where only the last chunk overlaps the one before, `fetches` and `sends` have the
    offset of the channel apart, for it has a limit.
    """

    def __init__(self, builder: Builder, plan: WindowPlan, pads: WindowPads, buffers: dict[Buffer, ir.Value]) -> None:
        self.builder, self.plan, self.pads, self.buffers = builder, plan, pads, buffers
        self.line_bytes = plan.line_rows * ROW_BYTES
        self.ring_mask = plan.ring_lines * self.line_bytes - 1 if plan.dealt is None else -1
        self.chunk_bytes = CHUNK_BYTES if plan.even_step is None else ELEMENT_BYTES * plan.even_step
        self.fetches = self._fetches()
        self.windows = self._windows()
        self.sends = self._sends()

    def _fetches(self) -> Odometer:
        plan = self.plan
        if plan.dealt is not None:
            return Odometer(self.builder, [], [])
        pixel = ELEMENT_BYTES * plan.pads * plan.columns.unit
        levels = [
            Level(plan.pieces, (plan.piece_rows * pixel, plan.piece_rows * ROW_BYTES), plan.pieces > 1),
            # a single line is counted too, so that what is fetched behind it goes to the next line of the ring
            Level(
                plan.lines.fetched,
                (ELEMENT_BYTES * plan.lines.unit, self.line_bytes),
                plan.pieces > 1 and plan.lines.fetched == 1,
            ),
        ]
        plane = plan.lines.fetched * self.line_bytes
        for loop in reversed(plan.planes):
            levels.append(Level(loop.extent, (ELEMENT_BYTES * plan.image.stride(loop), plane)))
            plane *= loop.extent
        return self._of_all_chunks(levels, (0, plane), (-1, self.ring_mask), endless=False)

    def _of_all_chunks(
        self, levels: Sequence[Level], ends: Sequence[int], masks: Sequence[int], *, endless: bool
    ) -> Odometer:
        """The nest within a loop over the chunks that adds `ends`, and the bytes of a chunk to offsets in DRAM."""
        if self.plan.even_step is None:
            levels = [Level(level.extent, (*level.strides, 0), level.is_watched) for level in levels]
            ends, masks = (*ends, self.chunk_bytes), (*masks, -1)
        else:
            ends = [self.chunk_bytes if mask == -1 else end for end, mask in zip(ends, masks, strict=True)]
        return Odometer(self.builder, [*levels, Level(self.plan.chunks, tuple(ends))], masks, endless=endless)

    def _windows(self) -> Odometer:
        plan = self.plan
        plane = plan.plane_rows * ROW_BYTES
        counts = [(0,), (plan.lines.step,), (0,), (0,)] if plan.lines.framed else [()] * 4
        levels = [
            Level(plan.groups, (plan.group * plan.columns.step // plan.pads * ROW_BYTES, 0, *counts[0])),
            Level(plan.lines.outs, (plan.lines.step * self.line_bytes, 0, *counts[1])),
            Level(plan.num_planes, (plane, 0, *counts[2])),
            Level(plan.chunks, (plan.num_planes * plane, ROW_BYTES, *counts[3])),
        ]
        masks = (self.ring_mask, -1, *(-1 for _ in counts[0]))
        return Odometer(self.builder, levels, masks, endless=True)

    def first_window(self) -> Reading:
        """Windows begin in the frame, so many lines before the image."""
        first = self.windows.first()
        begin = self.builder.index_constant(-self.plan.lines.low * self.line_bytes & self.ring_mask)
        return Reading((begin, *first.offsets[1:]), first.counters)

    def _sends(self) -> Odometer:
        plan = self.plan
        stored = [ring.write for ring in self.pads.results]
        if not stored:
            return Odometer(self.builder, [], [])

        def along(axis: Axis, times: int) -> tuple[int, ...]:
            steps = (access.stride(axis.loop) if axis.loop is not None else 0 for access in stored)
            return tuple(ELEMENT_BYTES * times * step for step in steps)

        levels = [
            Level(plan.groups, along(plan.columns, plan.group), plan.last_group < plan.group),
            Level(plan.lines.outs, along(plan.lines, 1)),
        ]
        for loop in reversed(plan.planes):
            levels.append(Level(loop.extent, tuple(ELEMENT_BYTES * access.stride(loop) for access in stored)))
        return self._of_all_chunks(levels, (0,) * len(stored), (-1,) * len(stored), endless=True)

    def _address(self, buffer: Buffer, offset: ir.Value, at: Reading) -> ir.Value:
        """Of the first channel of a chunk, the last of which ends with the channels."""
        start = self.builder.plus(self.builder.address(self.buffers[buffer]), offset)
        if self.plan.even_step is not None:
            return start
        last = ELEMENT_BYTES * (self.plan.lane.extent - LANES)
        return self.builder.plus(start, self.builder.at_most(at.offsets[-1], last))

    def spend(self, credit: ir.Value) -> tuple[ir.Value | None, ir.Value]:
        """Whether a transfer is not needed yet (None: all are), and the credit that is left.

        Of the transfers that a plane's iterations could make, those that it needs are spread evenly.
        """
        plan, builder = self.plan, self.builder
        possible = plan.transfers * plan.iterations_of_a_plane
        if possible == plan.units_of_a_plane:
            return None, credit
        credit = builder.plus(credit, plan.units_of_a_plane - possible)
        idle = builder.is_negative(credit)
        return idle, builder.plus(credit, builder.both(idle, possible))

    def fetch(self, at: Reading, idle: ir.Value | None, name: str) -> list[ir.Value]:
        """Fetch a piece of a line, of each pad; one element of it when idle."""
        plan, builder = self.plan, self.builder
        source, target, *_ = at.offsets
        buffer = self.buffers[plan.image.buffer]
        start = self._address(plan.image.buffer, source, at)
        is_last = self.fetches.is_last(at) if plan.pieces > 1 else None
        tokens: list[ir.Value] = []
        for pad, tile in enumerate(self.pads.lines):
            first = plan.first_position(pad)
            distance = ELEMENT_BYTES * (plan.image.offset + (first - plan.columns.low) * plan.columns.unit)
            tokens.append(
                builder.transfer(
                    "fetch",
                    builder.tile_at(tile, target, name),
                    builder.index_constant(first // plan.pads * ROW_BYTES),
                    builder.plus(start, distance),
                    self._shape(pad, is_last, idle),
                    [buffer],
                    rows=plan.piece_rows,
                    cols=plan.cols,
                )
            )
        return tokens

    def _shape(self, pad: int, is_last: ir.Value | None, idle: ir.Value | None) -> ir.Value:
        """The metadata of a fetch; pads may have nothing of a line's last piece."""
        plan, builder = self.plan, self.builder
        pitch = max(plan.cols, plan.pads * plan.columns.unit)

        def encoded(rows: int) -> ir.Value:
            return self._word(DmaShape(pad, rows, plan.cols, pitch) if rows > 0 else DmaShape(pad, 1, 1, 1))

        shape = encoded(plan.piece_rows if is_last is not None else plan.last_piece_rows(pad))
        if is_last is not None and plan.last_piece_rows(pad) != plan.piece_rows:
            shape = builder.select_bits(is_last, encoded(plan.last_piece_rows(pad)), shape)
        return shape if idle is None else builder.select_bits(idle, encoded(0), shape)

    def _word(self, shape: DmaShape) -> ir.Value:
        word = shape.encode()
        return self.builder.index_constant(word - (word >> 31 << 32))

    def send(self, at: Reading, sent: Sequence[ir.Value], earlier: Sequence[ir.Value]) -> list[ir.Value]:
        """Send the results that lie `sent` bytes from the begin of their rings; `earlier` are the last tokens."""
        plan, builder = self.plan, self.builder
        tokens: list[ir.Value] = []
        for ring, offset, position, token in zip(self.pads.results, at.offsets, sent, earlier, strict=False):
            buffer = self.buffers[ring.write.buffer]
            start = self._address(ring.write.buffer, offset, at)
            builder.wait([token], orders=False)
            tokens.append(
                builder.transfer(
                    "send",
                    builder.tile_at(ring.tile, position, tile_name("send")),
                    builder.index_constant(0),
                    builder.plus(start, ELEMENT_BYTES * ring.write.offset),
                    self._result_shape(ring, at),
                    [buffer],
                    rows=plan.group,
                    cols=plan.cols,
                )
            )
        return tokens

    def _result_shape(self, ring: ResultRing, at: Reading) -> ir.Value:
        plan = self.plan
        step = ring.write.stride(plan.columns.loop) if plan.columns.loop is not None else 0
        whole, last = (
            self._word(DmaShape(ring.pad, rows, plan.cols, max(plan.cols, step)))
            for rows in (plan.group, plan.last_group)
        )
        if plan.last_group == plan.group:
            return whole
        return self.builder.select_bits(self.sends.is_last(at), last, whole)
