"""The native core of code generation does what Python does, number by number."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from atalla_mlir.codegen import loop_memo, native_library
from atalla_mlir.codegen.allocate import ALLOCATABLE, allocate
from atalla_mlir.codegen.banks import late_writes, loop_weight
from atalla_mlir.codegen.block_scheduling import BlocksCore
from atalla_mlir.codegen.coalesce import coalesce
from atalla_mlir.codegen.issue_waits import PassWaits, scheduled_pass_waits
from atalla_mlir.codegen.kernel import copy_value
from atalla_mlir.codegen.liveness import block_liveness
from atalla_mlir.codegen.loop_core import LoopCore
from atalla_mlir.codegen.loop_graph import (
    LoopEdge,
    LoopGraph,
    build_loop_graph,
    recurrence_in_place,
    resource_bounds,
)
from atalla_mlir.codegen.loop_memo import Found
from atalla_mlir.codegen.loop_placement import OrderChoice
from atalla_mlir.codegen.loop_roles import different_turns
from atalla_mlir.codegen.machine_ir import M0, X0, Block, Function, Inst, Register, parse_memory
from atalla_mlir.codegen.pressure import NO_LIMITS
from atalla_mlir.codegen.register_core import RegisterCore
from atalla_mlir.codegen.reservations import LoopDemands
from atalla_mlir.codegen.schedule import schedule
from atalla_mlir.errors import ConfigurationError
from atalla_mlir.target.encoding import DmaShape
from atalla_mlir.target.isa import BY_MNEMONIC, HALT
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.registers import FILES, RegisterFile
from atalla_mlir.testing.machine_code import RandomFunction

pytestmark = pytest.mark.skipif(
    native_library.library() is None, reason="the native core was not built: no C++ compiler"
)

VARIABLE = "ATALLA_CODEGEN_LIBRARY"
VERY_FEW = {file: numbers[:7] for file, numbers in ALLOCATABLE.items()}
FEW = {**VERY_FEW, RegisterFile.SCALAR: ALLOCATABLE[RegisterFile.SCALAR]}
BODIES = 48
INTERVALS = (1.0, 1.1, 1.4, 2.5)
"""Of the bound of the busiest resource."""


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], tuple[object, object]]:
    """Runs something with the native core and without it; what was found before does not count."""

    def run(action: Callable[[], object]) -> tuple[object, object]:
        results: list[object] = []
        for library in (None, ""):
            with monkeypatch.context() as patched:
                patched.setattr(loop_memo, "_ENTRIES", OrderedDict())
                if library is not None:
                    patched.setenv(VARIABLE, library)
                assert (native_library.library() is None) is (library is not None)
                results.append(action())
        return results[0], results[1]

    return run


Both = Callable[[Callable[[], object]], tuple[object, object]]


@pytest.mark.parametrize("seed", range(24))
def test_random_functions_become_the_same_packets(seed: int, both: Both):
    def compile_function() -> object:
        # a name for each register: those of two runs are different objects
        function = RandomFunction(seed, num_values=5 + 9 * (seed % 4), max_trips=60).build(
            [6, 25, 120][seed % 3], loops=seed % 4
        )
        coalesce(function)
        scheduled = schedule(function, AX01)
        banks = [(str(register), bank) for register, bank in scheduled.banks.items()]
        available = FEW if seed % 2 else ALLOCATABLE
        return allocate(scheduled, AX01, available).items, [block.cycles for block in scheduled.blocks], banks

    native, reference = both(compile_function)
    assert native == reference


def with_copies(function: Function, seed: int) -> Function:
    """The function with copies of some registers before they are read."""
    choose = random.Random(seed)
    index = max(register.index for register in function.registers())
    for block in function.blocks:
        insts: list[Inst] = []
        for inst in block.insts:
            read = [register for register in inst.uses if register not in inst.defs and not register.is_hard_wired]
            for register in [one for one in read if one.file is not RegisterFile.MASK and choose.randrange(3) == 0]:
                index += 1
                insts.extend(copy_value(copied := Register(register.file, index), register, lambda: copied))
                inst.replace_registers({register: copied})
            insts.append(inst)
        block.insts = insts
    return function


@pytest.mark.parametrize("seed", range(16))
def test_the_same_copies_are_removed(seed: int, both: Both):
    def coalesced() -> object:
        built = RandomFunction(seed, num_values=6 + 5 * (seed % 4), max_trips=60).build(80, loops=seed % 4)
        function = with_copies(built, seed)
        return coalesce(function), function.dump()

    native, reference = both(coalesced)
    assert native == reference
    assert native[0] > 0  # pyright: ignore[reportIndexIssue, reportUnknownVariableType]


class RandomBody:
    """A loop body that uses all units; with `moves` it has transfers, which with `ahead` nothing waits for."""

    def __init__(self, seed: int, *, moves: bool, ahead: bool) -> None:
        self._choose = random.Random(seed)
        self._mark = "^4" if ahead else ""
        self._waits = not ahead
        self._next = 100
        self._vectors = [self._new(RegisterFile.VECTOR) for _ in range(3)]
        self._masks = [M0]
        self._pointers = [self._new(RegisterFile.SCALAR) for _ in range(3)]
        self.insts: list[Inst] = []
        if moves:
            for pad in range(self._choose.randint(1, 2)):
                self._load_tile(pad)
        for _ in range(self._choose.randint(1, 4)):
            self._section()
        if moves:
            for _ in range(self._choose.randint(0, 2)):
                self._store_tile()
        for pointer in self._pointers:
            self._add("addi.s", pointer, pointer, self._choose.randint(1, 9))

    def _new(self, file: RegisterFile) -> Register:
        self._next += 1
        return Register(file, self._next)

    def _add(self, mnemonic: str, *operands: Register | int, memory: str = "", shape: DmaShape | None = None) -> None:
        self.insts.append(Inst(BY_MNEMONIC[mnemonic], operands, memory=parse_memory(memory), dma_shape=shape))

    def _load_tile(self, pad: int) -> None:
        address, rows, name = self._new(RegisterFile.SCALAR), self._choose.randint(1, 16), f"x{pad}"
        self._add("addi.s", address, self._choose.choice(self._pointers), 64)
        memory = f"write pad{pad}:{name}{self._mark}[0:{rows}], read dram:{name}[?:?]"
        self._add("scpad.ld", address, self._pointers[0], X0, memory=memory, shape=DmaShape(pad, rows, 32, 32))
        if self._waits:
            self._add("addi.s", X0, address, 0, memory=f"write pad{pad}:{name}[0:{rows}]")

    def _store_tile(self) -> None:
        address, rows = self._new(RegisterFile.SCALAR), self._choose.randint(1, 16)
        self._add("addi.s", address, self._pointers[1], 64)
        memory = f"read pad3:y{self._mark}[0:{rows}], write dram:y[?:?]"
        self._add("scpad.st", address, self._pointers[1], X0, memory=memory, shape=DmaShape(3, rows, 32, 32))
        if self._waits:
            self._add("addi.s", X0, address, 0, memory=f"write pad3:y[0:{rows}]")

    def _section(self) -> None:
        choose, vectors = self._choose, self._vectors
        for _ in range(choose.randint(1, 6)):
            pad = choose.randrange(2)
            offset, row = self._new(RegisterFile.SCALAR), self._new(RegisterFile.VECTOR)
            self._add("addi.s", offset, choose.choice(self._pointers), choose.randrange(64))
            memory = f"read pad{pad}:x{pad}{self._mark}[?:?]"
            self._add("vreg.ld", row, choose.choice(self._pointers), offset, 31, pad, memory=memory)
            vectors.append(row)
        if choose.randrange(3) == 0:
            for _ in range(choose.randint(2, 12)):
                self._add("lw.vi", 0, choose.choice(vectors), 0, M0)
        for _ in range(choose.randint(2, 12)):
            self._operation()
        for _ in range(choose.randint(1, 3)):
            row = choose.choice(vectors)
            self._add("vreg.st", row, self._pointers[2], X0, 31, 3, memory=f"write pad3:y{self._mark}[?:?]")

    def _operation(self) -> None:
        choose, mask = self._choose, self._choose.choice(self._masks)
        left, right = choose.choice(self._vectors[-6:]), choose.choice(self._vectors)
        result = self._new(RegisterFile.VECTOR)
        match choose.randrange(8):
            case 0:
                self._masks.append(self._new(RegisterFile.MASK))
                self._add("mgt.mvv", self._masks[-1], left, right, mask)
                return
            case 1:
                self._add("rsum.vi", result, left, 64, mask)
            case 2:
                self._add("expi.vi", result, left, 0, mask)
            case 3 | 4:
                self._add("mul.vv", result, left, right, mask)
            case 5:
                self._add("gemm.vv", result, left, 0, 0)
            case _:
                self._add("add.vv", result, left, right, mask)
        self._vectors.append(result)


def blocks_of(seed: int) -> Function:
    """Straight code and a loop with all units, in which little is known of some accesses to memory."""
    choose = random.Random(seed)
    body = RandomBody(seed, moves=seed % 3 > 0, ahead=seed % 3 == 2).insts
    accessing = [inst for inst in body if inst.memory]
    for inst in choose.sample(accessing, len(accessing) // 4):
        inst.memory = parse_memory("") if choose.randrange(2) else (*inst.memory, *parse_memory("write pad0:*[?:?]"))
    row, counter, trips = (Register(file, 1) for file in (RegisterFile.VECTOR, *2 * [RegisterFile.SCALAR]))
    turned = [Inst(BY_MNEMONIC[name], (row,)) for name in ("tpop.vi", "tpus.vi", "tpus.vi", "tpop.vi")]
    branch = Inst(BY_MNEMONIC["blt.s"], (counter, trips, "loop", 1))
    loop = Block("loop", [*turned[:2], *body, *turned[2:], branch], loop_depth=1)
    return Function("f", [Block("entry", [*body, *turned]), loop, Block("end", [Inst(HALT, ())])])


@pytest.mark.parametrize("seed", range(18))
def test_random_blocks_are_scheduled_alike(seed: int, both: Both):
    function = blocks_of(seed)
    liveness = block_liveness([[(inst,) for inst in block.insts] for block in function.blocks], function.successors())
    registers = [register for register in function.registers() if register.pinned is None]
    banks = {register: register.index % (2 if register.file is RegisterFile.MASK else 4) for register in registers}

    def schedules() -> object:
        core = BlocksCore(function.blocks, liveness, AX01)
        found: list[object] = []
        for number, block in enumerate(function.blocks):
            releases = [7 * index % 40 for index in range(len(block.insts))]
            runs = [
                core.schedule(number, limits, packet_cycles, begins, known)
                for limits in (NO_LIMITS, dict.fromkeys(RegisterFile, 6))
                for packet_cycles in (1, 3)
                for begins in ((), releases)
                for known in (None, banks)
            ]
            waits = core.carried_waits(number, runs[0].issue_cycles) if block.repeats else []
            found.append((runs, core.heights(number), waits))
        return found

    native, reference = both(schedules)
    assert native == reference


ORDERS = (
    OrderChoice(),
    OrderChoice(transfers_first=True),
    OrderChoice(seed=1),
    OrderChoice(by_parts=True),
    OrderChoice(by_parts=True, seed=2),
)
REPAIRS = (OrderChoice(), OrderChoice(seed=1, is_late=True), OrderChoice(seed=2, spread=7))
REPAIRS = (OrderChoice(), OrderChoice(seed=1, is_late=True), OrderChoice(seed=2, spread=7))


def attempts(body: Sequence[Inst]) -> list[Found | None]:
    """What every way of placing finds at some intervals, near the bound and far from it."""
    graph = build_loop_graph(body, AX01)
    registers = dict.fromkeys(register for inst in body for register in inst.registers if register.pinned is None)
    banks = {register: register.index % (2 if register.file is RegisterFile.MASK else 4) for register in registers}
    core = LoopCore(graph, LoopDemands(graph.insts, AX01, banks))
    bound = max(*resource_bounds(graph.insts, AX01).values(), graph.recurrence)
    moves = any(inst.op.mnemonic == "scpad.ld" for inst in body)
    found: list[Found | None] = []
    for interval in (int(factor * bound) for factor in INTERVALS):
        found.extend(core.place(interval, choice) for choice in ORDERS)
        found.extend(core.place_compactly(interval, slack) for slack in (0, 8))
        found.extend(core.place_by_repair(interval, choice, 3) for choice in REPAIRS)
        for is_eager in (True, False) if moves else ():
            turns = different_turns(graph, is_eager=is_eager)
            found.extend(core.place_forwards(interval, turn, is_eager=is_eager) for turn in turns)
    return found


@pytest.mark.parametrize("first", range(0, BODIES, 8))
def test_random_loops_get_the_same_places(first: int, both: Both):
    placed = 0
    for seed in range(first, first + 8):
        body = RandomBody(seed, moves=seed % 3 > 0, ahead=seed % 3 == 2).insts
        native, reference = both(lambda body=body: attempts(body))
        assert native == reference, seed
        assert isinstance(native, list)
        placed += sum(found is not None for found in native)  # pyright: ignore[reportUnknownVariableType]
    assert placed > 8


@pytest.mark.parametrize("seed", range(24))
def test_random_kernels_take_as_long(seed: int, both: Both):
    """Any cycles do: what comes too early waits. Some registers have no bank."""
    choose = random.Random(seed)
    graph = build_loop_graph(RandomBody(seed, moves=seed % 3 > 0, ahead=seed % 3 == 2).insts, AX01)
    registers = dict.fromkeys(register for inst in graph.insts for register in inst.registers)
    banks = {
        register: choose.randrange(FILES[register.file].banks)
        for register in registers
        if register.pinned is None and choose.randrange(8)
    }
    # far enough apart for packets to have an order of slots
    interval = 2 * len(graph.insts)
    cycles = [choose.randrange(3) * interval + 2 * at + choose.randrange(2) for at in range(len(graph.insts))]
    dense = [cycle // choose.choice((2, 4)) for cycle in cycles]

    def waits() -> list[PassWaits]:
        return [scheduled_pass_waits(graph, placed, interval, banks, AX01) for placed in (cycles, dense)]

    native, reference = both(waits)
    assert native == reference
    assert waits()[0].cycles >= interval // 2


@pytest.mark.parametrize("seed", range(40))
def test_recurrences_set_the_same_bound(seed: int, both: Both):
    choose = random.Random(seed)
    num_nodes = choose.randint(1, 24)
    edges: list[LoopEdge] = []
    for _ in range(choose.randint(1, 60)):
        first, second, distance = choose.randrange(num_nodes), choose.randrange(num_nodes), choose.randint(0, 3)
        # inside an iteration edges lead forwards
        distance = max(distance, int(first >= second))
        edges.append(LoopEdge(first, second, choose.randint(0, 40), distance, False))

    native, reference = both(lambda: LoopGraph((), num_nodes, tuple(edges), frozenset()).recurrence)
    assert native == reference


@pytest.mark.parametrize("seed", range(6))
def test_numbers_run_out_in_the_same_way(seed: int, both: Both):
    """So few numbers that registers give way, and costs that leave a choice of what to spill."""
    function = RandomFunction(seed, num_values=24).build(60, loops=2)
    blocks = [[(inst,) for inst in block.insts] for block in function.blocks]
    depths = [block.loop_depth for block in function.blocks]

    def colour() -> object:
        def costs(lengths: dict[Register, int]) -> dict[Register, float]:
            return {register: loop_weight(register.index % 3) / (1 + length) for register, length in lengths.items()}

        core = RegisterCore(blocks, depths, function.successors(), late_writes(blocks, depths, AX01))
        return core.prefer_banks(), core.colour(VERY_FEW, {}, costs)  # pyright: ignore[reportArgumentType]

    native, reference = both(colour)
    assert native == reference
    assert native[1][1]  # pyright: ignore[reportIndexIssue, reportUnknownVariableType]


def test_a_library_that_is_not_ours_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    other = tmp_path / "other.so"
    other.write_bytes(b"no library")
    monkeypatch.setenv(VARIABLE, str(other))
    with pytest.raises(ConfigurationError, match="does not load"):
        native_library.library()


def test_a_library_from_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch):
    native_library._installed.cache_clear()  # pyright: ignore[reportPrivateUsage]
    native_library._load.cache_clear()  # pyright: ignore[reportPrivateUsage]
    with monkeypatch.context() as patched:
        patched.setattr(native_library, "_digest_of_sources", lambda: "others")
        with pytest.warns(UserWarning, match="built from other sources"):
            assert native_library.library() is None
    native_library._installed.cache_clear()  # pyright: ignore[reportPrivateUsage]
    assert native_library.library() is not None


@pytest.mark.parametrize("seed", range(12))
def test_recurrences_of_bodies_without_copies(seed: int, both: Both):
    body = RandomBody(seed, moves=seed % 3 > 0, ahead=seed % 3 == 2).insts
    native, reference = both(lambda: recurrence_in_place(body, AX01))
    written = frozenset(register for inst in body for register in inst.defs)
    assert native == reference == build_loop_graph(body, AX01, written).recurrence
