"""The cycle model: when each packet issues, and what every cycle without an issue is charged to.

Issue is in order, so the model walks packets and keeps availability times (of registers, units, ports, cache lines)
instead of stepping cycles. `docs/timing.md` has the rules in words, in the order in which this file applies them.
"""

from __future__ import annotations

from atalla_mlir.sim.engine import Lint, StallCause, TrapKind
from atalla_mlir.sim.packet import PreparedPacket
from atalla_mlir.sim.state import DmaAccess, State
from atalla_mlir.sim.timing.caches import DECODE_CYCLES, DataCache, InstructionCache
from atalla_mlir.sim.timing.channel import NEVER, Channel, Transfer
from atalla_mlir.sim.timing.pads import PadPort
from atalla_mlir.sim.timing.plan import CAUSE_INDEX, CAUSES, UNITS, WRITE_PRIORITY, PacketPlan, Special
from atalla_mlir.sim.timing.prediction import BranchTargetBuffer
from atalla_mlir.sim.timing.scoreboard import Scoreboard
from atalla_mlir.sim.timing.units import InFlight, TransposeTiming
from atalla_mlir.target.isa import Unit
from atalla_mlir.target.machine import ArrayInterlock, Machine

_ISSUE = CAUSE_INDEX[StallCause.ISSUE]
_MISPREDICT = CAUSE_INDEX[StallCause.MISPREDICT]
_FETCH = CAUSE_INDEX[StallCause.FETCH]
_UNIT_BUSY = CAUSE_INDEX[StallCause.UNIT_BUSY]
_ARRAY = CAUSE_INDEX[StallCause.ARRAY_INTERLOCK]
_DMA = CAUSE_INDEX[StallCause.DMA_WAIT]
_DATA_CACHE = CAUSE_INDEX[StallCause.DATA_CACHE]
_PAD_PORT = CAUSE_INDEX[StallCause.PAD_PORT]
_BANKS = CAUSE_INDEX[StallCause.BANK_CONFLICT]
_DRAIN = CAUSE_INDEX[StallCause.DRAIN]

# Plain integers: looking up members of an enumeration costs more than comparing them.
(
    _REDUCTION,
    _TILE_PUSH,
    _TILE_POP,
    _GEMM,
    _WEIGHT_PUSH,
    _DMA_LOAD,
    _DMA_STORE,
    _SCALAR_LOAD,
    _SCALAR_STORE,
    _ROW_LOAD,
    _ROW_STORE,
) = map(int, Special)

_SCALAR_LOAD_PRIORITY = WRITE_PRIORITY[Unit.EX5]
_TILE_PRIORITY = WRITE_PRIORITY[Unit.TRANSPOSE]

Problem = tuple[int, TrapKind, str]
"""Instruction of the packet, kind and message of a trap that timing found."""


class TimingModel:
    """Cycles of the packets that `issue` is told about, in order.

    A launch begins with cold caches and branch prediction. Cycles are numbered from the first launch on; `cycles` is
    the number of cycles that have been charged so far, and the charges of all causes sum to it.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._charged = [0] * len(CAUSES)
        self._cursor = 0
        """The first cycle that is not charged yet: one after the last issue."""
        self._arrival = DECODE_CYCLES
        self._arrival_cause = _FETCH
        self._in_launch = False
        self._board = Scoreboard()
        # units
        self._free = [0] * UNITS
        self._reductions = InFlight(machine.reductions_in_flight)
        self._credits = InFlight(machine.gsau_credits)
        self._array_stalls = machine.array_interlock is ArrayInterlock.STALL
        self._array_free = 0
        """The first cycle in which weights may shift."""
        self._transpose = TransposeTiming(machine)
        self._busy_until = 0
        """No result that goes nowhere (hard-wired registers) is under way from this cycle on."""
        # memories
        self._ports = [PadPort(machine) for _ in range(machine.pads)]
        self._channel = Channel(machine, self._ports)
        self._icache = InstructionCache(machine, self._channel)
        self._dcache = DataCache(machine, self._channel)
        self._btb = BranchTargetBuffer(machine)
        self._lints: dict[tuple[str, int], Lint] = {}

    # Results

    @property
    def cycles(self) -> int:
        return self._cursor

    @property
    def stalls(self) -> dict[str, int]:
        return {cause.value: cycles for cause, cycles in zip(CAUSES, self._charged, strict=True)}

    @property
    def lints(self) -> tuple[Lint, ...]:
        return tuple(self._lints.values())

    # Launches

    def start_launch(self) -> None:
        """Let what is under way end, then start with cold caches and prediction."""
        if self._in_launch:
            self._drain(self._cursor)
        self._icache.invalidate()
        self._dcache.invalidate()
        self._btb.clear()

    def _drain(self, earliest: int) -> None:
        """Charge the cycles until the core is done (5.6) and make the next packet the first of a fetch."""
        for pad in range(len(self._ports)):
            self._channel.finish(pad)
        self._board.release(self._channel.register_ready)
        done = max(
            earliest,
            self._busy_until,
            self._transpose.free_at,
            max(self._board.ready),
            max(self._free),
            max(self._channel.free, default=0),
            max((port.idle_at for port in self._ports), default=0),
        )
        done = self._dcache.flush(done)
        self._charged[_DRAIN] += done - self._cursor
        self._cursor = done
        self._arrival, self._arrival_cause = done + DECODE_CYCLES, _FETCH
        self._in_launch = False

    # Issue

    def issue(self, packet: PreparedPacket, state: State) -> Problem | None:
        """Account one packet that has just executed; `state` tells the addresses and the next PC that came out."""
        plan = packet.plan
        if not isinstance(plan, PacketPlan):
            plan = PacketPlan(self._machine, packet.pc, packet.instructions, halts=packet.halts)
            packet.plan = plan
        ready = self._board.ready
        if self._channel.register_ready:
            self._board.release(self._channel.register_ready)
        cycle = self._fetch(plan)
        for register in plan.registers:
            if ready[register] > cycle:
                cycle = self._wait_registers(plan, cycle)
                break
        free = self._free
        for unit, _ in plan.units:
            if free[unit] > cycle:
                cycle = self._wait(_UNIT_BUSY, cycle, free[unit])
        for kind, position, a, _ in plan.specials:
            if kind >= _ROW_LOAD:
                if self._ports[a].full_until > cycle or self._channel.transfers[a] is not None:
                    cycle = self._wait_row(plan, kind, a, cycle, state.pad_row[a])
            elif kind == _WEIGHT_PUSH and not self._array_stalls:
                problem = self._check_array(plan, position, cycle)
                if problem is not None:
                    self._cursor = cycle
                    return problem
            else:
                cycle = self._wait_special(plan, kind, a, cycle, state)
        if plan.bank_cycles:
            cycle = self._wait(_BANKS, cycle, cycle + plan.bank_cycles)
        self._retire(plan, cycle, state)
        return None

    def _wait(self, cause: int, cycle: int, until: int) -> int:
        """Charge the cycles before `until` to a cause."""
        if until <= cycle:
            return cycle
        self._charged[cause] += until - cycle
        return until

    def _retire(self, plan: PacketPlan, cycle: int, state: State) -> None:
        """The packet issues in `cycle`: occupy units and registers and predict what follows."""
        self._in_launch = True
        self._charged[_ISSUE] += 1
        following = cycle + 1
        self._cursor = self._arrival = following
        board, free = self._board, self._free
        ready, late, writes = board.ready, board.late, board.writes
        for register, delay, bank, pending in plan.writes:
            written = cycle + delay
            late[register] = 0
            if written in writes[bank]:
                board.enter(register, bank, pending, written)
            else:
                writes[bank][written] = pending
                ready[register] = written + 1
        for unit, interval in plan.units:
            free[unit] = cycle + interval
        for kind, _, a, b in plan.specials:
            self._start_special(plan, kind, a, b, cycle, state)
        if plan.dropped_delay:
            self._busy_until = max(self._busy_until, following + plan.dropped_delay)
        if plan.is_control and self._btb.mispredicts(plan.pc, state.next_pc):
            self._arrival, self._arrival_cause = following + self._machine.mispredict_penalty_cycles, _MISPREDICT
        board.forget_before(cycle)
        if plan.halts:
            self._drain(following + 1)

    # Front end

    def _fetch(self, plan: PacketPlan) -> int:
        """The first cycle in which the packet is in decode 2, everything before charged."""
        cursor, arrival = self._cursor, self._arrival
        cycle = self._wait(self._arrival_cause, cursor, arrival) if arrival > cursor else cursor
        icache = self._icache
        tags = icache.tags
        if not tags:
            return cycle
        lines = len(tags)
        if (
            cycle < icache.settled
            or tags[plan.first_line % lines] != plan.first_line
            or tags[plan.last_line % lines] != plan.last_line
        ):
            request = max(arrival - DECODE_CYCLES, cursor - 1)
            return self._wait(_FETCH, cycle, icache.arrival(plan.pc, cycle, request))
        return cycle

    def _wait_registers(self, plan: PacketPlan, cycle: int) -> int:
        """Wait for every register of the packet, in charging order."""
        board = self._board
        for register, cause in zip(plan.registers, plan.register_causes, strict=True):
            until = board.ready[register]
            if until == NEVER:
                self._channel.finish(board.held[register])
                board.release(self._channel.register_ready)
                until = board.ready[register]
            if until <= cycle:
                continue
            if board.late[register]:
                cycle = self._wait(cause, cycle, min(board.nominal[register], until))
                cause = board.late[register]
            cycle = self._wait(cause, cycle, until)
        return cycle

    # Instructions with rules of their own: the wait before issue, and what issue starts

    def _wait_special(self, plan: PacketPlan, kind: int, a: int, cycle: int, state: State) -> int:
        """For all kinds but row accesses."""
        if kind == _GEMM:
            return self._wait(_UNIT_BUSY, cycle, self._credits.free())
        if kind == _WEIGHT_PUSH:
            return self._wait_array(plan, cycle)
        if kind == _REDUCTION:
            return self._wait(_UNIT_BUSY, cycle, self._reductions.free(ahead=a))
        if kind in (_DMA_LOAD, _DMA_STORE):
            return self._wait_dma(cycle, state.dma.pad)
        if kind in (_SCALAR_LOAD, _SCALAR_STORE):
            return self._wait(_DATA_CACHE, cycle, self._dcache.queue_free)
        return self._wait(_UNIT_BUSY, cycle, self._transpose.queue_free)

    def _start_special(self, plan: PacketPlan, kind: int, a: int, b: int, cycle: int, state: State) -> None:
        following = cycle + 1
        if kind == _ROW_LOAD:
            self._start_row_load(a, b, cycle, state.pad_row[a])
        elif kind == _ROW_STORE:
            self._ports[a].write(following, state.pad_row[a])
        elif kind == _GEMM:
            self._array_free = cycle + self._machine.array_drain_cycles
            self._credits.enter(cycle + self._machine.gemm_latency)
        elif kind == _REDUCTION:
            self._reductions.enter(following + b + self._machine.reduction_latency)
        elif kind == _SCALAR_LOAD:
            self._start_scalar_load(a, following, state.scalar_address)
        elif kind == _SCALAR_STORE:
            self._dcache.access(following, state.scalar_address, is_store=True)
        elif kind in (_DMA_LOAD, _DMA_STORE):
            self._start_dma(plan, kind, a, cycle, state)
        elif kind == _TILE_PUSH:
            self._transpose.push(following)
        elif kind == _TILE_POP:
            self._start_tile_pop(a, following)

    # The array

    def _wait_array(self, plan: PacketPlan, cycle: int) -> int:
        if self._array_free > cycle:
            self._lint_array(plan, cycle)
        return self._wait(_ARRAY, cycle, self._array_free)

    def _check_array(self, plan: PacketPlan, position: int, cycle: int) -> Problem | None:
        """`array_interlock` other than stall: a trap, or nothing but a lint."""
        if self._array_free <= cycle:
            return None
        if self._machine.array_interlock is ArrayInterlock.IGNORE:
            self._lint_array(plan, cycle)
            return None
        early = self._array_free - cycle
        return (
            position,
            TrapKind.ARRAY_INTERLOCK,
            f"weights shift {early} cycles too early under an activation in flight",
        )

    def _lint_array(self, plan: PacketPlan, cycle: int) -> None:
        self._lint(
            "array order",
            plan.pc,
            f"lw.vi comes {self._array_free - cycle} cycles before the last gemm.vv has crossed the array; "
            "the hardware may have no interlock",
        )

    def _lint(self, kind: str, pc: int, message: str) -> None:
        self._lints.setdefault((kind, pc), Lint(kind, pc, message))

    # Pads and their transfers

    def _wait_row(self, plan: PacketPlan, kind: int, pad: int, cycle: int, row: int) -> int:
        port = self._ports[pad]
        cycle = self._wait(_PAD_PORT, cycle, port.full_until)
        transfer = self._channel.transfers[pad]
        if transfer is not None:
            self._channel.advance(cycle)
            if transfer.covers(row) and self._channel.transfers[pad] is transfer:
                self._lint_transfer(plan, kind, pad, row, transfer)
                if transfer.is_load and kind == _ROW_LOAD:
                    self._channel.land(pad, row)
                    cycle = self._wait(_DMA, cycle, port.landed[row])
        return cycle

    def _lint_transfer(self, plan: PacketPlan, kind: int, pad: int, row: int, transfer: Transfer) -> None:
        if kind == _ROW_LOAD and not transfer.is_load:
            return
        access = "vreg.ld reads" if kind == _ROW_LOAD else "vreg.st writes"
        which = "scpad.ld" if transfer.is_load else "scpad.st"
        self._lint(
            "pad row order",
            plan.pc,
            f"{access} row {row} of pad {pad} while a {which} of that row is in flight; "
            "read the address register of the transfer first",
        )

    def _start_row_load(self, pad: int, register: int, cycle: int, row: int) -> None:
        port, arrives = self._ports[pad], cycle + 1
        if port.landed[row] > arrives and self._channel.transfers[pad] is not None:
            port.landed[row] = max(port.landed[row], port.backlog_landed)
        accepted = port.read(arrives, row)
        latency = self._machine.pad_read_latency
        if register:
            self._board.enter_computed(register, pad, accepted + latency + 1, arrives + latency + 1, _PAD_PORT)
        else:
            self._busy_until = max(self._busy_until, accepted + latency + 2)

    def _wait_dma(self, cycle: int, pad: int) -> int:
        if self._channel.transfers[pad] is not None:
            self._channel.finish(pad)
            self._board.release(self._channel.register_ready)
        return self._wait(_DMA, cycle, self._channel.free[pad])

    def _start_dma(self, plan: PacketPlan, kind: int, register: int, cycle: int, state: State) -> None:
        dma, board = state.dma, self._board
        if kind == _DMA_STORE:
            self._lint_unlanded(plan, cycle, dma)
        transfer = Transfer(is_load=kind == _DMA_LOAD, first_row=dma.row, rows=dma.rows, register=register)
        if register:
            board.ready[register], board.late[register], board.nominal[register] = NEVER, _DMA, 0
            board.held[register] = dma.pad
        self._channel.start(dma.pad, cycle, transfer, dma.cols)

    def _lint_unlanded(self, plan: PacketPlan, cycle: int, dma: DmaAccess) -> None:
        landed = self._ports[dma.pad].landed
        begin = cycle + self._machine.sdma_startup_cycles
        for row in range(dma.row, dma.row + dma.rows):
            if landed[row] > begin:
                self._lint(
                    "pad row order",
                    plan.pc,
                    f"scpad.st reads row {row} of pad {dma.pad} before a vreg.st has reached it; "
                    "the hardware may not wait",
                )
                return

    # Scalar memory and the transpose unit

    def _start_scalar_load(self, register: int, arrives: int, address: int) -> None:
        offered = self._dcache.access(arrives, address, is_store=False)
        if register:
            nominal = arrives + self._machine.dcache_hit_cycles + 1
            self._board.enter_computed(register, _SCALAR_LOAD_PRIORITY, offered + 1, nominal, _DATA_CACHE)
        else:
            self._busy_until = max(self._busy_until, offered + 2)

    def _start_tile_pop(self, register: int, arrives: int) -> None:
        offered = self._transpose.pop(arrives)
        if register:
            self._board.enter_computed(register, _TILE_PRIORITY, offered + 1, offered + 1, 0)
        else:
            self._busy_until = max(self._busy_until, offered + 2)
