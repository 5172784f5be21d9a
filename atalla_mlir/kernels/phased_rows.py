"""Kernels over contiguous rows as one flat loop of steps (`codegen.phase_plan`): what passes from phase to phase, comes
in or goes out does so through rings in the pads, so that iterations only share counters.

Nothing waits for a transfer by its register: a pad takes one transfer after the other, so when the one of the next step
has begun, that of this step is complete.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Stage
from atalla_mlir.codegen.phase_plan import PhasePlan
from atalla_mlir.codegen.row_plan import SumOrder
from atalla_mlir.errors import InternalError
from atalla_mlir.kernels.builder import LANES, Builder
from atalla_mlir.kernels.expression import Evaluated
from atalla_mlir.kernels.folds import fold_depth
from atalla_mlir.kernels.functions.bound import FunctionBound
from atalla_mlir.kernels.image_rows import ImageRows
from atalla_mlir.kernels.phase_body import PhaseBody
from atalla_mlir.kernels.rings import FIRST_STEPS, PADS, Counter, Pads, Part, Ring, Stream, access_key, tile_name
from atalla_mlir.target.encoding import DmaShape

MAX_HOISTED_ROWS = 64
"""Rows that are the same for all steps and stay in registers."""
MAX_ARRAY_SUMS = 2
COLUMN_WORK = 100.0
"""What makes a pad the busiest one."""
MIN_ARRAY_CHUNKS = 4
"""Chunks of a row from which on the array adds their lanes up: pushed as weights, met by a row of ones."""


@dataclass
class PhasedRows:
    """Emits the steps of a plan; `buffers` are the kernel's DRAM arguments by buffer."""

    builder: Builder
    stages: Sequence[Stage]
    plan: PhasePlan
    buffers: dict[Buffer, ir.Value]
    block: ir.Block
    expansions: dict[Stage, FunctionBound] = field(default_factory=dict)
    sides: int = 1
    """Steps of an iteration, each of other rows: all have rings of their own."""
    run_steps: int = 0
    """Steps whose rows are one run in DRAM, where others lie elsewhere (`jump_elements`)."""

    def side_elements(self, access: Access) -> int:
        """From the rows of a side to those of the next one."""
        return 0

    def jump_elements(self, access: Access) -> int:
        """Elements that lie between the end of `run_steps` steps and the next step."""
        return 0

    def image_of(self, access: Access) -> ImageRows | None:
        """Where rows lie that stay in the pads between kernels; they come through no ring."""
        return None

    @property
    def num_iterations(self) -> int:
        """Steps, and what the last of them takes to pass through all phases and to leave the pads."""
        return self.plan.iterations

    def pixel_tile(self, image: ImageRows, side: int, step: int, name: str) -> ir.Value:
        """The tile of a half from the row of step n + `step` on, for a use called `name`."""
        raise InternalError("a kernel without images")

    def emit(self) -> None:
        self.pads = Pads(self.builder, self.block)
        self.writers = {stage.write.buffer: stage for stage in self.stages}
        self.phase_of = self.plan.phase_of
        self.array_sums = self._array_sums()
        self._make_streams()
        self._make_temporaries()
        self._hoist()
        self._begin()
        self._loop()
        self._finish()

    def sum_orders(self) -> dict[Stage, SumOrder]:
        """How each stage adds."""
        plan = self.plan
        chain = fold_depth(plan.chunks)
        return {
            stage: SumOrder("any", 1, fold_depth(plan.groups) + 2 + (0 if stage in self.array_sums else chain))
            for stage in self.stages
            if stage.reduced and stage.combine is Combine.ADD
        }

    def _array_sums(self) -> list[Stage]:
        """Stages whose sums over chunks the array makes."""
        sums = [stage for stage in self.stages if stage.reduced and stage.combine is Combine.ADD]
        return sums[:MAX_ARRAY_SUMS] if self.plan.chunks >= MIN_ARRAY_CHUNKS and self.plan.items <= LANES else []

    # Rings

    def _make_streams(self) -> None:
        plan = self.plan
        self.inputs: dict[tuple[object, int], Stream] = {}
        self.residents: dict[object, Access] = {}
        reads = [read for stage in self.stages for read in stage.reads if read.buffer not in self.writers]
        reads = [read for read in reads if self.image_of(read) is None]
        outputs = [stage for stage in self.stages if stage.write.buffer in self.buffers]
        outputs = [stage for stage in outputs if self.image_of(stage.write) is None]
        moves = [read for read in reads if self._moves(read)]
        num_streams = self.sides * (len({access_key(access) for access in moves}) + len(outputs))
        num_parts = PADS if num_streams == 1 or len(plan.phases) == 1 else 2
        columns = {access_key(read): read for read in moves if plan.is_column(read)}
        for key, read in columns.items():
            # a transfer that waits for another one on its pad holds up all: its short ones have a pad of their own
            self._fetch(key, read, 1, COLUMN_WORK)
            num_parts = min(num_parts, PADS - 1)
        for read in reads:
            key = access_key(read)
            if not self._moves(read):
                self.residents.setdefault(key, read)
            elif (key, 0) not in self.inputs:
                num_reads = sum(access_key(other) == key for other in moves)
                self._fetch(key, read, num_parts, 2.0 + num_reads)
        self.outputs: dict[tuple[Stage, int], Stream] = {}
        for stage, side in itertools.product(outputs, range(self.sides)):
            if plan.lane in stage.loops and not stage.reduced:
                self.outputs[stage, side] = self._stream(stage.write, side, num_parts, 1.5)
            else:
                ring = self.pads.ring(plan.slots, [(plan.rows, 1)], 1.5)
                start = stage.write.offset + side * self.side_elements(stage.write)
                buffer = self.buffers[stage.write.buffer]
                self.outputs[stage, side] = Stream(stage.write, buffer, ring, 2 * plan.rows, start)

    def _fetch(self, key: object, read: Access, num_parts: int, work: float) -> None:
        for side in range(self.sides):
            self.inputs[key, side] = self._stream(read, side, num_parts, work)

    def _moves(self, read: Access) -> bool:
        """Whether what is read differs from step to step."""
        return self.plan.row in read.strides

    def _stream(self, access: Access, side: int, num_parts: int, work: float) -> Stream:
        plan = self.plan
        full = plan.items if plan.tail == LANES else plan.items - 1
        size = -(-full // num_parts)
        counts = [(min(size, full - first), LANES) for first in range(0, full, size)]
        if full < plan.items:
            counts.append((1, plan.tail))
        if plan.is_column(access):
            counts = [(1, plan.rows)]
        ring = self.pads.ring(plan.slots, counts, work)
        start = access.offset + side * self.side_elements(access)
        return Stream(access, self.buffers[access.buffer], ring, 2 * plan.step_elements(access), start)

    def _make_temporaries(self) -> None:
        """Rings for what one phase leaves to later ones: chunks, values of rows, and partial folds."""
        plan = self.plan
        self.rings: dict[tuple[Buffer, int], Ring] = {}
        self.partials: dict[tuple[Stage, int], Ring] = {}
        for stage, side in itertools.product(self.stages, range(self.sides)):
            if stage.reduced:
                rows = 1 if stage in self.array_sums else plan.rows
                self.partials[stage, side] = self.pads.ring(plan.slots, [(rows, LANES)], 1.0)
            if not plan.passes_on(stage):
                continue
            if plan.lane in stage.loops and not stage.reduced:
                half = -(-plan.items // 2)
                counts = [(half, LANES), (plan.items - half, LANES)] if plan.items > 1 else [(1, LANES)]
                self.rings[stage.write.buffer, side] = self.pads.ring(plan.slots, counts, 1.5)
            else:
                self.rings[stage.write.buffer, side] = self.pads.ring(plan.slots, [(plan.rows, LANES)], 1.0)

    # Before the loop

    def _hoist(self) -> None:
        """Bring what is the same for all steps into registers, or into a tile when it is long."""
        plan, builder = self.plan, self.builder
        self.fixed: dict[object, Evaluated] = {}
        self.fixed_rows: dict[object, list[ir.Value]] = {}
        self.fixed_tiles: dict[object, Part] = {}
        length = plan.chunks * plan.groups
        room = MAX_HOISTED_ROWS
        tokens: list[ir.Value] = []
        loads: list[tuple[object, Access, Part]] = []
        for key, access in self.residents.items():
            count = length if access.strides else 1
            pad = self.pads.quiet(1)[0]
            hoisted = plan.groups == 1 and count <= room
            part = Part(self.pads.tile(count, pad, 0.0 if hoisted else float(plan.items)), pad, 0, count)
            room -= count if hoisted else 0
            tokens += self._load_resident(access, part)
            if hoisted:
                loads.append((key, access, part))
            else:
                self.fixed_tiles[key] = part
        builder.wait(tokens)
        for key, access, part in loads:
            if not access.strides:
                self.fixed[key] = Evaluated(builder.extract(builder.tile_load(part.tile, builder.at(0), 1)), True)
            else:
                self.fixed_rows[key] = [
                    builder.tile_load(part.tile, builder.at(j), self.cols(j)) for j in range(part.count)
                ]
        self.ones = builder.splat(1.0) if self.array_sums else None

    def _load_resident(self, access: Access, part: Part) -> list[ir.Value]:
        plan, builder = self.plan, self.builder
        buffer = self.buffers[access.buffer]
        if not access.strides:
            row, element = builder.at(0), builder.at(access.offset)
            return [builder.dma("dma_load", part.tile, buffer, row, element, rows=1, cols=1, pitch=1)]
        tokens: list[ir.Value] = []
        full = part.count if plan.tail == LANES else part.count - 1
        for first in range(0, full, LANES):
            rows = min(LANES, full - first)
            element = builder.at(access.offset + first * LANES)
            tokens.append(
                builder.dma(
                    "dma_load", part.tile, buffer, builder.at(first), element, rows=rows, cols=LANES, pitch=LANES
                )
            )
        if full < part.count:
            element = builder.at(access.offset + full * LANES)
            row = builder.at(full)
            tokens.append(
                builder.dma("dma_load", part.tile, buffer, row, element, rows=1, cols=plan.tail, pitch=plan.tail)
            )
        return tokens

    def _begin(self) -> None:
        """Fetch the first steps."""
        for step in range(self.plan.ahead):
            for stream in self.inputs.values():
                number = min(step, self.plan.steps - 1)
                jump = self.jump_elements(stream.access)
                source = number * stream.step_bytes + (2 * jump * (number // self.run_steps) if jump else 0)
                for part in stream.ring.parts:
                    offset = self.builder.index_constant(step % stream.ring.slots * stream.ring.slot_bytes(part))
                    tile = self.builder.tile_at(part.tile, offset, FIRST_STEPS)
                    self._move_part("fetch", stream, part, tile, self.builder.index_constant(source))

    # Transfers

    def part_at(self, ring: Ring, part: Part, step: int, name: str) -> ir.Value:
        """The slot of step n + `step`, for a use called `name`."""
        return self.builder.tile_at(part.tile, self.offset(ring, part, step, name), tile_name(name, self.plan.stages))

    def offset(self, ring: Ring, part: Part, step: int, name: str) -> ir.Value:
        """Byte offset of a step's slot in a part of a ring."""
        size = ring.slot_bytes(part)
        mask = size * ring.slots - 1
        return self.counter((id(ring), size, name), Counter(step * size & mask, size, mask))

    def _move(self, kind: str, stream: Stream, step: int) -> None:
        """Move all parts of step n + `step`; steps that do not exist are moved from or to where others are."""
        source = self.counter((id(stream), kind), Counter(step * stream.step_bytes, stream.step_bytes))
        if kind == "fetch":
            clamped = self.builder.at_most(source, (self.plan.steps - 1) * stream.step_bytes)
        else:
            clamped = self.builder.at_least(source, 0)
        clamped = self._beyond_runs(kind, stream, step, clamped)
        for part in stream.ring.parts:
            if self.last_tokens:
                # until the transfer is complete its address register must not be taken for anything else
                self.builder.wait([self.last_tokens[len(self.tokens)]], orders=False)
            tile = self.part_at(stream.ring, part, step, kind)
            self.tokens.append(self._move_part(kind, stream, part, tile, clamped))

    def _beyond_runs(self, kind: str, stream: Stream, step: int, source: ir.Value) -> ir.Value:
        """Where a step lies that would lie at `source` if all steps were one run."""
        jump, builder, steps = self.jump_elements(stream.access), self.builder, self.plan.steps
        if not jump:
            return source
        number = self.counter((id(stream), kind, "number"), Counter(step, 1))
        number = builder.at_most(number, steps - 1) if kind == "fetch" else builder.at_least(number, 0)
        return builder.plus(source, builder.times(builder.quotient(number, self.run_steps, steps), 2 * jump))

    def _move_part(self, kind: str, stream: Stream, part: Part, tile: ir.Value, source: ir.Value) -> ir.Value:
        """Move one part of the step that begins `source` bytes into the buffer; the token."""
        builder = self.builder
        start = builder.plus(builder.address(stream.buffer), source)
        distance = stream.start + part.first * (LANES if part.first else part.cols)
        shape = DmaShape(part.pad, part.count, part.cols, part.cols)
        return builder.transfer(
            kind,
            tile,
            builder.index_constant(0),
            builder.plus(start, 2 * distance),
            builder.index_constant(shape.encode()),
            [stream.buffer],
            rows=part.count,
            cols=part.cols,
        )

    def _finish(self) -> None:
        """Wait for what is still on its way: a transfer begins when the one before on its pad is complete."""
        builder = self.builder
        tokens: list[ir.Value] = []
        some = next(iter(self.outputs.values()), None)
        if some is None:
            return
        for pad in sorted({part.pad for stream in self.outputs.values() for part in stream.ring.parts}):
            tile = self.pads.tile(1, pad, 0.0)
            row, element = builder.at(0), builder.at(some.access.offset)
            tokens.append(builder.dma("dma_load", tile, some.buffer, row, element, rows=1, cols=1, pitch=1))
        builder.wait(tokens)

    # An iteration

    def _loop(self) -> None:
        """All iterations. Each use of a counter has its own, so that uses far from each other can share an iteration.

        Which there are is known when an iteration has been emitted, so it is emitted twice.
        """
        builder = self.builder
        self.counters: dict[object, Counter] = {}
        self.counts: dict[object, ir.Value] = {}
        self.tokens: list[ir.Value] = []
        self.last_tokens: list[ir.Value] = []
        """Of the transfers of the iteration before, in the order in which they are made."""
        trial = builder.index_constant(0).owner.operation
        with ir.InsertionPoint(trial):
            before = _previous(trial)
            self._iteration()
        _erase_between(before, trial)
        initial = [builder.index_constant(counter.initial) for counter in self.counters.values()]
        self.num_tokens = len(self.tokens)
        initial += [builder.ready() for _ in range(self.num_tokens)]
        builder.loop(self.num_iterations, initial, lambda _, carried: self._counted(carried), overlap=True)

    def counter(self, key: object, counter: Counter) -> ir.Value:
        """The value of a counter in this iteration."""
        if key not in self.counts:
            self.counters[key] = counter
            self.counts[key] = self.builder.zero_index()
        return self.counts[key]

    def _counted(self, carried: Sequence[ir.Value]) -> list[ir.Value]:
        size = len(self.counters)
        self.counts = dict(zip(self.counters, carried[:size], strict=True))
        self.tokens, self.last_tokens = [], list(carried[size:])
        self._iteration()
        following = [
            self.builder.both(self.builder.plus(value, counter.step), counter.mask)
            for value, counter in zip(carried[:size], self.counters.values(), strict=True)
        ]
        return [*following, *self.tokens]

    def _iteration(self) -> None:
        plan = self.plan
        for stream in self.inputs.values():
            self._move("fetch", stream, plan.ahead)
        # a chunk of each phase in turn: they are to proceed side by side
        bodies = [
            PhaseBody(self, at, phase, side).emit()
            for side in range(self.sides)
            for at, phase in enumerate(plan.phases)
        ]
        while bodies:
            bodies = [body for body in bodies if next(body, False)]
        for stream in self.outputs.values():
            self._move("send", stream, -(plan.last_phase * plan.lag + plan.stages))

    def cols(self, chunk: int) -> int:
        return self.plan.tail if chunk == self.plan.chunks * self.plan.groups - 1 else LANES


def _previous(op: ir.Operation) -> ir.Operation | None:
    before = None
    for view in op.block.operations:
        if view.operation == op:
            return before
        before = view.operation
    return before


def _erase_between(first: ir.Operation | None, last: ir.Operation) -> None:
    """Erase `last` and what stands between `first` (None: the begin of the block) and it."""
    doomed: list[ir.Operation] = []
    for view in reversed(list(last.block.operations)):
        if view.operation == first:
            break
        if doomed or view.operation == last:
            doomed.append(view.operation)
    for op in doomed:
        op.erase()
