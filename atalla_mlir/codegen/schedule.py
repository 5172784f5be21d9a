"""List scheduling of blocks into packets.

Every block is scheduled for itself, cycle by cycle, against the dependence latencies and the units' state; a packet
is formed whenever something can issue, so there are no empty packets: the scoreboard interlocks. Instructions are
chosen by the longest chain that hangs on them; when a register file is nearly full, those that would fill it
further wait, except the oldest one, so that pressure never needs to exceed what program order needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import sub

from atalla_mlir.codegen.banks import KeptBank
from atalla_mlir.codegen.block_scheduling import BlocksCore
from atalla_mlir.codegen.blocks import merge_blocks
from atalla_mlir.codegen.kernel import LoopReport
from atalla_mlir.codegen.list_scheduler import BlockSchedule, release_cycles
from atalla_mlir.codegen.liveness import BlockLiveness, block_liveness
from atalla_mlir.codegen.local_values import name_local_values
from atalla_mlir.codegen.loops import COLD_PACKET_CYCLES, constant_values, trip_count
from atalla_mlir.codegen.machine_ir import Block, Function, Inst, Register
from atalla_mlir.codegen.pipelining import pipeline_loops
from atalla_mlir.codegen.pressure import NO_LIMITS, PRESSURE_LIMITS, exceeds, excess
from atalla_mlir.codegen.register_core import RegisterCore
from atalla_mlir.codegen.sinking import sink_constants
from atalla_mlir.target.encoding import PACKET_BYTES, SLOTS
from atalla_mlir.target.isa import Unit
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile

STEADY_ROUNDS = 3
"""Attempts to fit an iteration of a loop to what the one before leaves behind."""
PRESSURE_ROUNDS = 3
"""Attempts to schedule a block such that its values fit into the registers."""
TRANSFER_PACKETS = 4
"""Packets in which a transfer is waited for, its address is made and the next one issues."""
WAIT_CYCLES = (100, 80, 60)
"""By which a block may put off waiting for transfers of some rows to each pad: they take about as long."""
WAIT_SLACK = 2
"""Cycles that it may take longer for that."""
LONG_FILL = 160
"""Rows that code takes to or through the array from which on it avoids bank conflicts although it runs once."""
FEW_TRIPS = 6
"""Iterations of a loop from which on it pays little to keep its code small for a loop around it."""
DENSE_PACKET_CYCLES = 2
"""What a packet counts for in a loop whose code should stay small."""
NO_PLACE = -1
"""The place of a block that is not scheduled."""


@dataclass(frozen=True)
class ScheduledBlock:
    """A block as packets in slot order; `cycles` is the estimated time from the first issue to the last."""

    label: str
    packets: tuple[tuple[Inst, ...], ...]
    loop_depth: int
    cycles: int

    @property
    def control(self) -> Inst | None:
        """The control instruction of the last packet, if there is one."""
        return next((inst for inst in self.packets[-1] if inst.op.is_control), None) if self.packets else None


@dataclass(frozen=True)
class ScheduledFunction:
    """Packets over virtual registers.

    `function` holds the instructions after loops were pipelined, `banks` the banks that the packets count on, `loops`
    what became of the pipelined loops.
    """

    name: str
    blocks: tuple[ScheduledBlock, ...]
    function: Function
    banks: Mapping[Register, int]
    loops: tuple[LoopReport, ...]
    kept: tuple[KeptBank, ...] = ()
    """Of registers of kernels that were searched for long, with their banks."""

    @property
    def num_packets(self) -> int:
        return sum(len(block.packets) for block in self.blocks)


def schedule(
    function: Function, machine: Machine, *, pipeline: bool = True, spare: Mapping[RegisterFile, int] | None = None
) -> ScheduledFunction:
    """Packs the instructions of each block into legal packets, with `pipeline` also across iterations of loops.

    Overlapping iterations leave `spare` registers of each file more than usual, blocks a third of that; what fills and
    drains their pipeline then has registers of its own.
    Blocks that repeat are scheduled twice: the first round shows which registers are read together and so decides
    their banks, the second takes the banks as given and keeps conflicts out of the packets.
    """
    function.verify()
    function = sink_constants(merge_blocks(function))
    limits = {file: limit - (spare or {}).get(file, 0) // 3 for file, limit in PRESSURE_LIMITS.items()}
    tasks = _tasks(function, machine, limits)
    blocks = [task.schedule(None) for task in tasks]
    if not any(task.is_hot for task in tasks):
        return ScheduledFunction(function.name, tuple(blocks), function, {}, ())
    _fit_cache(function, machine, tasks, blocks, None)
    depths = [block.loop_depth for block in blocks]
    banks = RegisterCore([block.packets for block in blocks], depths, function.successors()).prefer_banks()
    reports: tuple[LoopReport, ...] = ()
    kept: tuple[KeptBank, ...] = ()
    if pipeline:
        costs = [(block.cycles, len(block.packets)) for block in blocks]
        liveness = [task.liveness for task in tasks]
        function, reports, kept = pipeline_loops(function, machine, banks, costs, liveness, spare or {})
    if reports:
        function = merge_blocks(function)
        if any((spare or {}).values()):
            function = name_local_values(function, banks)
        tasks = _tasks(function, machine, limits, tasks)
    blocks = [task.schedule(banks if task.minds_banks else None) for task in tasks]
    _fit_cache(function, machine, tasks, blocks, banks)
    return ScheduledFunction(function.name, tuple(blocks), function, banks, reports, kept)


def _fit_cache(
    function: Function,
    machine: Machine,
    tasks: Sequence[_BlockTask],
    blocks: list[ScheduledBlock],
    banks: Mapping[Register, int] | None,
) -> None:
    """Schedules the `blocks` of loops that exceed the instruction cache for fewer packets.

    What a loop inside repeats is fetched once in a while only, unless it repeats it a few times. That comes last, when
    banks are known.
    """
    nests = loop_nests(function)

    def own(depth: int, nest: range) -> list[int]:
        return [index for index in nest if function.blocks[index].loop_depth == depth]

    def exceeds_cache(nest: range) -> bool:
        return sum(len(blocks[index].packets) for index in nest) * PACKET_BYTES > machine.icache_bytes

    def pack(indices: Iterable[int]) -> None:
        for index in indices:
            blocks[index] = tasks[index].schedule_densely(banks, blocks[index])

    exceeding: list[range] = []
    for depth, nest in nests:
        if exceeds_cache(nest):
            pack(own(depth, nest))
            if exceeds_cache(nest):
                exceeding.append(nest)
    if banks is None or not exceeding:
        return
    constants = constant_values(function)
    brief = {
        index
        for depth, nest in nests
        if (trip_count(function.blocks[nest[-1]].control, constants) or FEW_TRIPS) < FEW_TRIPS
        for index in own(depth, nest)
    }
    for nest in exceeding:
        if exceeds_cache(nest):
            pack(brief.intersection(nest))


def loop_nests(function: Function) -> list[tuple[int, range]]:
    """The block numbers of each loop with its depth (1: in no other loop), outer loops first."""
    nests: list[tuple[int, range]] = []
    for depth in range(1, max((block.loop_depth for block in function.blocks), default=0) + 1):
        last = None
        for index, block in enumerate(function.blocks):
            if block.loop_depth < depth:
                continue
            if last is not None and last == index - 1:
                nests[-1] = depth, range(nests[-1][1].start, index + 1)
            else:
                nests.append((depth, range(index, index + 1)))
            last = index
    return nests


def _tasks(
    function: Function, machine: Machine, limits: Mapping[RegisterFile, int], known: Sequence[_BlockTask] = ()
) -> list[_BlockTask]:
    """A task for each block, one of `known` where that has the same block and liveness."""
    liveness = block_liveness([[(inst,) for inst in block.insts] for block in function.blocks], function.successors())
    by_label = {task.block.label: task for task in known}

    def known_task(block: Block, sets: BlockLiveness) -> _BlockTask | None:
        task = by_label.get(block.label)
        return task if task is not None and task.block is block and task.liveness == sets else None

    found = [known_task(*item) for item in zip(function.blocks, liveness, strict=True)]
    new = [at for at, block in enumerate(function.blocks) if found[at] is None and block.packets is None]
    core = BlocksCore([function.blocks[at] for at in new], [liveness[at] for at in new], machine)
    places = {at: number for number, at in enumerate(new)}
    return [
        task or _BlockTask(function.blocks[at], liveness[at], core, places.get(at, NO_PLACE), limits)
        for at, task in enumerate(found)
    ]


class _BlockTask:
    """A block with what is needed to schedule it, once or more: its place in `core` unless it is in packets already."""

    def __init__(
        self, block: Block, liveness: BlockLiveness, core: BlocksCore, number: int, limits: Mapping[RegisterFile, int]
    ) -> None:
        self.block, self.liveness = block, liveness
        self._core, self._number, self._limits = core, number, limits
        self._packet_cycles = _packet_cycles(block, core.machine)
        self._unbanked: ScheduledBlock | None = None

    @property
    def is_hot(self) -> bool:
        """Whether packets cost one cycle, so that bank conflicts matter."""
        return self._packet_cycles == 1

    @property
    def minds_banks(self) -> bool:
        """Whether packets keep to the banks: also of much code that fills and drains the pipelines of products, where
        conflicts add to the time to fetch it; elsewhere banks should be free for what is hot."""
        if self.is_hot or self.block.loop_depth:
            return self.is_hot
        return sum(inst.op.unit is Unit.GSAU for inst in self.block.insts) >= LONG_FILL

    def schedule(self, banks: Mapping[Register, int] | None) -> ScheduledBlock:
        """The packets, for registers in given banks."""
        if banks is not None:
            return self._schedule(banks)
        if self._unbanked is None:
            self._unbanked = self._schedule(None)
        return self._unbanked

    def _schedule(self, banks: Mapping[Register, int] | None) -> ScheduledBlock:
        block = self.block
        if block.packets is not None:
            return ScheduledBlock(block.label, block.packets, block.loop_depth, len(block.packets))
        best = self._run(NO_LIMITS, (), banks)
        limits = NO_LIMITS
        releases: Sequence[int] = ()
        if exceeds(best.peaks, self._limits):
            limits = self._limits
            releases = release_cycles(self._core.graph(self._number), best.issue_cycles, self._core.machine)
            for _ in range(PRESSURE_ROUNDS):
                best = self._run(limits, releases, banks)
                # what was begun early stays while the oldest goes on
                over = excess(best.peaks)
                if not any(over.values()):
                    break
                limits = {file: limit - 2 * over[file] for file, limit in limits.items()}
        cycles = best.cycles
        if block.repeats:
            best, cycles = self._steady(best, limits, banks)
        elif block.loop_depth:
            best = self._waiting_late(best, limits, releases, banks)
            cycles = best.cycles
        packets = tuple([tuple([block.insts[index] for index in packet]) for packet in best.packets])
        return ScheduledBlock(block.label, packets, block.loop_depth, cycles)

    def _steady(
        self, found: BlockSchedule, limits: Mapping[RegisterFile, int], banks: Mapping[Register, int] | None
    ) -> tuple[BlockSchedule, int]:
        """The schedule of a loop that knows what the iteration before leaves behind, and cycles from run to run.

        Packets issue in order: what would wait for the iteration before must not stand in front of what need not.
        """
        best, (waits, best_period) = found, self._waits_and_period(found)
        period = found.cycles
        # as late as possible: what was sent before the loop may still keep a pad busy
        late = period - TRANSFER_PACKETS * sum(inst.op.unit is Unit.SDMA for inst in self.block.insts)
        comes_late = [inst.op.unit is Unit.SDMA or inst.is_wait for inst in self.block.insts]
        for _ in range(STEADY_ROUNDS):
            releases = [max(late * is_late, wait - period) for is_late, wait in zip(comes_late, waits, strict=True)]
            found = self._run(limits, releases, banks)
            waits, reached = self._waits_and_period(found)
            if reached <= best_period:
                best, best_period = found, reached
        return best, best_period

    def _waits_and_period(self, found: BlockSchedule) -> tuple[list[int], int]:
        """When each instruction may issue in the next run, and cycles from one run to the next."""
        waits = self._core.carried_waits(self._number, found.issue_cycles)
        return waits, max(found.cycles, *map(sub, waits, found.issue_cycles))

    def _waiting_late(
        self,
        found: BlockSchedule,
        limits: Mapping[RegisterFile, int],
        releases: Sequence[int],
        banks: Mapping[Register, int] | None,
    ) -> BlockSchedule:
        """The schedule of a long block that does not wait at once for what was sent at the end of the one before.

        `releases` are those of the schedule `found`, which keeps to the `limits`.
        """
        waits = [inst.is_wait for inst in self.block.insts]
        if not any(waits) or all(inst.op.unit is not Unit.GSAU for inst in self.block.insts):
            return found
        # much comes behind some of them
        rooms = [max(0, found.cycles - height) for height in self._core.heights(self._number)]
        needed = excess(found.peaks)
        for late in (cycles for cycles in WAIT_CYCLES if 2 * cycles <= found.cycles):
            for put_off in ([late] * len(waits), [min(late, room) for room in rooms]):
                begins = list(releases) or [0] * len(waits)
                for index in (index for index, is_wait in enumerate(waits) if is_wait):
                    begins[index] = max(begins[index], put_off[index])
                later = self._run(limits, begins, banks)
                fits = all(more <= needed[file] for file, more in excess(later.peaks).items())
                if fits and later.cycles <= found.cycles + WAIT_SLACK:
                    return later
        return found

    def schedule_densely(self, banks: Mapping[Register, int] | None, sparse: ScheduledBlock) -> ScheduledBlock:
        """The block for a loop that exceeds the instruction cache: fewer packets at the price of some cycles.

        A block that repeats itself is fetched once in a while only, so it gives up less.
        """
        if self.block.packets is not None:
            return sparse
        usual, self._packet_cycles = self._packet_cycles, DENSE_PACKET_CYCLES
        dense = self._schedule(banks)
        self._packet_cycles = usual
        return dense if len(dense.packets) < len(sparse.packets) else sparse

    def _run(
        self, limits: Mapping[RegisterFile, int], releases: Sequence[int], banks: Mapping[Register, int] | None
    ) -> BlockSchedule:
        return self._core.schedule(self._number, limits, self._packet_cycles, releases, banks)


def _packet_cycles(block: Block, machine: Machine) -> int:
    """Cycles from one packet to the next: more than 1 where every packet must first be fetched from memory."""
    exceeds_cache = len(block.insts) > SLOTS * machine.icache_bytes // PACKET_BYTES
    return COLD_PACKET_CYCLES if block.loop_depth == 0 or exceeds_cache else 1
