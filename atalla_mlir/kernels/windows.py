"""Kernels whose results each look at a window of an image, channels in the lanes (`codegen.window_plan`).

One loop over groups of neighbouring results: lines of the image come in through a ring in the pads, results go out
through another. In it nothing waits for a transfer by its register: a pad takes one after the other, so when a later
one has begun, an earlier one is complete. The last ones are waited for behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Buffer, Combine, Stage
from atalla_mlir.codegen.phase_plan import MAX_STAGES
from atalla_mlir.codegen.row_plan import SumOrder
from atalla_mlir.codegen.window_layout import WindowPlan
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.functions.bound import FunctionBound
from atalla_mlir.kernels.odometer import Reading
from atalla_mlir.kernels.rings import tile_name
from atalla_mlir.kernels.window_body import WindowBody
from atalla_mlir.kernels.window_images import WindowImage
from atalla_mlir.kernels.window_pads import WindowPads
from atalla_mlir.kernels.window_transfers import WindowTransfers


@dataclass(frozen=True)
class _State:
    """What an iteration leaves to the next one; `credit` and `waiting` count transfers and iterations."""

    fetch: Reading
    credit: ir.Value
    window: Reading
    send: Reading
    waiting: ir.Value
    written: list[ir.Value]
    sent: list[ir.Value]
    tokens: list[ir.Value]
    place: Reading | None = None
    """In the image that results are."""

    def pack(self) -> list[ir.Value]:
        readings = [*self.fetch.pack(), *self.window.pack(), *self.send.pack()]
        if self.place is not None:
            readings += self.place.pack()
        return [*readings, self.credit, self.waiting, *self.written, *self.sent, *self.tokens]


@dataclass
class WindowKernel:
    """Emits the iterations of a plan; `buffers` are the kernel's DRAM arguments by buffer.

    Results leave for DRAM, or they are an `image` that stays in the pads.
    """

    builder: Builder
    stages: Sequence[Stage]
    plan: WindowPlan
    buffers: dict[Buffer, ir.Value]
    block: ir.Block
    expansions: dict[Stage, FunctionBound] = field(default_factory=dict)
    image: WindowImage | None = None

    def emit(self) -> None:
        kept = self.image.windows.result.buffer if self.image is not None else None
        self.pads = WindowPads(self.builder, self.stages, self.plan, self.buffers, self.block, kept=kept)
        self.transfers = WindowTransfers(self.builder, self.plan, self.pads, self.buffers)
        self.pads.load_fixed()
        self.pads.fill_frame()
        state = self._begin()
        carried = state.pack()
        count = self.plan.iterations + (MAX_STAGES if self.pads.results else 0)
        left = self.builder.loop(
            count, carried, lambda _, values: self._iteration(self._unpack(values)).pack(), overlap=True
        )
        # what is behind a pad's last transfer in the code need not begin after it
        self.builder.wait(self._unpack(left).tokens)
        if self.image is not None:
            self.image.edges().emit()

    def sum_orders(self) -> dict[Stage, SumOrder]:
        """How each stage adds."""
        window = self.stages[0]
        return {window: self.plan.sum_order()} if window.combine is Combine.ADD else {}

    def _unpack(self, values: Sequence[ir.Value]) -> _State:
        rest, moves = iter(values), self.transfers

        def take(count: int) -> list[ir.Value]:
            return [next(rest) for _ in range(count)]

        fetch, window, send = (o.unpack(take(o.size)) for o in (moves.fetches, moves.windows, moves.sends))
        place = self.image.places.unpack(take(self.image.places.size)) if self.image is not None else None
        credit, waiting = take(2)
        count = len(self.pads.results)
        return _State(fetch, credit, window, send, waiting, take(count), take(count), list(rest), place)

    def _begin(self) -> _State:
        """Fetch what the first iterations look at."""
        plan, builder = self.plan, self.builder
        always = builder.index_constant(-1)
        pads = plan.pads

        def fetch(_: object, values: list[ir.Value]) -> list[ir.Value]:
            at = self.transfers.fetches.unpack(values[pads:])
            builder.wait(values[:pads])
            return [*self.transfers.fetch(at, None, "first"), *self.transfers.fetches.after(at, always).pack()]

        values = [*(builder.ready() for _ in range(pads)), *self.transfers.fetches.first().pack()]
        if plan.lead:
            values = builder.loop(plan.lead, values, fetch)
        builder.wait(values[:pads])
        zero = builder.index_constant(0)
        behind = [
            builder.index_constant(-MAX_STAGES * results.slot_bytes & results.mask) for results in self.pads.results
        ]
        tokens = [builder.ready() for _ in range(plan.transfers * pads + len(self.pads.results))]
        return _State(
            self.transfers.fetches.unpack(values[pads:]),
            zero,
            self.transfers.first_window(),
            self.transfers.sends.first(),
            builder.index_constant(-MAX_STAGES),
            [zero for _ in self.pads.results],
            behind,
            tokens,
            self.image.first() if self.image is not None else None,
        )

    # An iteration

    def _iteration(self, state: _State) -> _State:
        builder = self.builder
        earlier = iter(state.tokens)
        tokens: list[ir.Value] = []
        fetch, credit = state.fetch, state.credit
        for number in range(self.plan.transfers):
            idle, credit = self.transfers.spend(credit)
            # until a transfer is complete its address register must not be taken for anything else
            builder.wait([next(earlier) for _ in range(self.plan.pads)], orders=False)
            tokens += self.transfers.fetch(fetch, idle, tile_name(f"fetch{number}"))
            moves = builder.index_constant(-1) if idle is None else builder.differ(idle, -1)
            fetch = self.transfers.fetches.after(fetch, moves)
        body = WindowBody(builder, self.stages, self.plan, self.pads, self.expansions, state.window.offsets)
        place = state.place
        if self.image is not None and place is not None:
            body.emit(state.written, self.image.parts(place))
            place = self.image.places.after(place, builder.index_constant(-1))
        else:
            body.emit(state.written)
        is_waiting = builder.is_negative(state.waiting) if self.pads.results else None
        tokens += self.transfers.send(state.send, state.sent, list(earlier))
        step = [results.slot_bytes for results in self.pads.results]
        masks = [results.mask for results in self.pads.results]
        written, sent = (
            [builder.both(builder.plus(at, size), mask) for at, size, mask in zip(positions, step, masks, strict=True)]
            for positions in (state.written, state.sent)
        )
        window = self.transfers.windows.after(state.window, builder.index_constant(-1))
        send, waiting = state.send, state.waiting
        if is_waiting is not None:
            send = self.transfers.sends.after(send, builder.differ(is_waiting, -1))
            waiting = builder.plus(waiting, builder.both(is_waiting, 1))
        return _State(
            fetch,
            credit,
            window,
            send,
            waiting,
            written,
            sent,
            tokens,
            place,
        )
