"""Software pipelines: II against its bounds, constraints of the schedule, the same results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache

import pytest

from atalla_mlir.codegen.allocate import allocate
from atalla_mlir.codegen.coalesce import coalesce
from atalla_mlir.codegen.kernel import LoopReport
from atalla_mlir.codegen.kernel_search import LoopKernels
from atalla_mlir.codegen.layout import Item, Label, Packet
from atalla_mlir.codegen.loop_graph import build_loop_graph, recurrence_bound, resource_bounds
from atalla_mlir.codegen.loops import LoopContext, constant_values, find_counted_loop
from atalla_mlir.codegen.machine_ir import M0, V0, X0, Block, Function, Inst, Register, parse_memory
from atalla_mlir.codegen.modulo import ModuloSchedule, ModuloScheduler
from atalla_mlir.codegen.pipelining import Pipeline
from atalla_mlir.codegen.ramping import MaskedPipeline, mask_loop
from atalla_mlir.codegen.resources import Room, demand_of
from atalla_mlir.codegen.schedule import schedule
from atalla_mlir.target.encoding import DmaShape
from atalla_mlir.target.isa import BY_MNEMONIC, HALT, Instruction, Unit
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.packets import bank_conflict_cycles, lane_unit_conflict, packet_violations
from atalla_mlir.target.registers import RegisterFile
from atalla_mlir.testing.machine_code import RandomFunction, run_function, run_packets


@cache
def scalar(index: int) -> Register:
    return Register(RegisterFile.SCALAR, index)


@cache
def vector(index: int) -> Register:
    return Register(RegisterFile.VECTOR, index)


def inst(mnemonic: str, *operands: Register | int | str, memory: str = "", merges: bool = False) -> Inst:
    return Inst(BY_MNEMONIC[mnemonic], operands, merges, parse_memory(memory))


OFFSETS = [scalar(100 + number) for number in range(32)]
BASES = [scalar(200 + pad) for pad in range(4)]


def addition(rows: int) -> list[Inst]:
    """y = a + b on `rows` rows, the three tensors striped over all pads."""
    insts: list[Inst] = []
    for row in range(rows):
        a, b, y = (vector(3 * row + number) for number in range(3))
        insts.append(inst("vreg.ld", a, BASES[row % 4], OFFSETS[row], 31, row % 4, memory=f"read pad{row % 4}:a[0:1]"))
        other = (row + 2) % 4
        insts.append(inst("vreg.ld", b, BASES[other], OFFSETS[row], 31, other, memory=f"read pad{other}:b[0:1]"))
        insts.append(inst("add.vv", y, a, b, M0))
        last = (row + 1) % 4
        insts.append(inst("vreg.st", y, BASES[last], OFFSETS[row], 31, last, memory=f"write pad{last}:y[0:1]"))
    return insts


def modulo(insts: list[Inst], limit: int = 1000) -> ModuloSchedule:
    found = ModuloScheduler(build_loop_graph(insts, AX01), AX01, {}).schedule(limit)
    assert found is not None
    return found


def assert_constraints(found: ModuloSchedule) -> None:
    """Every edge holds, every cycle modulo II is a possible packet, and no unit is asked for more than it gives."""
    graph, interval = found.graph, found.interval
    for edge in graph.edges:
        if edge.second < len(graph.insts) > edge.first:
            ready = found.cycles[edge.first] + edge.latency - edge.distance * interval
            assert found.cycles[edge.second] >= ready, edge
    for row in found.rows():
        room = Room()
        for index in row:
            assert room.fits(demand_of(graph.insts[index]))
            room.take(demand_of(graph.insts[index]))
    lanes = Counter(
        (demand_of(graph.insts[index]).unit, (found.cycles[index] + offset) % interval)
        for index in range(len(graph.insts))
        if demand_of(graph.insts[index]).is_lane
        for offset in range(AX01.lane_interval_cycles)
    )
    assert max(lanes.values(), default=0) <= 1


@pytest.mark.parametrize(
    ("insts", "interval", "bound_by"),
    [
        (addition(2), 4, "scalar ports"),
        (addition(8), 16, "LANE_ALU"),
        ([inst("rcp.bf", scalar(1), X0, 0)], 13, "EX2"),
        ([inst("rsum.vi", vector(1), V0, 64, M0), inst("rsum.vi", vector(2), V0, 64, M0)], 11, "reductions in flight"),
        ([inst("vreg.ld", vector(1), X0, X0, 31, 0)], 3, "pad 0 reads"),
        ([inst("gemm.vv", vector(row), V0, 0, 0) for row in range(7)], 7, "GSAU"),
    ],
    ids=["add2", "add8", "reciprocal", "sums", "loads", "products"],
)
def test_interval_meets_the_resource_bound(insts: list[Inst], interval: int, bound_by: str):
    bounds = resource_bounds(insts, AX01)
    assert max(bounds, key=bounds.__getitem__) == bound_by
    found = modulo(insts)
    assert found.interval == found.resource_bound == interval
    assert_constraints(found)


def test_recurrences_bound_the_interval():
    total = vector(1)
    insts = [inst("add.vv", total, total, V0, M0), inst("mul.vv", total, total, V0, M0)]
    graph = build_loop_graph(insts, AX01)
    assert recurrence_bound(graph, 100) == 12
    assert modulo(insts).interval == 12


def test_a_merging_update_in_place_keeps_one_register():
    total, mask = vector(1), Register(RegisterFile.MASK, 1)
    insts = [inst("add.vv", total, V0, V0, mask, merges=True)]
    assert build_loop_graph(insts, AX01).in_place == {total}


def test_weights_of_the_next_tile_wait_for_this_ones_products():
    """R products and 32 pushes take R + 63 cycles: the array drains before its weights shift (5.5)."""
    rows = 16
    insts = [inst("lw.vi", 0, V0, 0, M0) for _ in range(32)]
    insts += [inst("gemm.vv", vector(row), V0, 0, 0) for row in range(rows)]
    assert modulo(insts).interval == rows + 63


def test_stores_to_an_object_that_is_read_stay_before_the_next_iterations_loads():
    load = inst("vreg.ld", vector(1), BASES[0], OFFSETS[0], 31, 0, memory="read pad0:x[0:1]")
    double = inst("add.vv", vector(2), vector(1), vector(1), M0)
    store = inst("vreg.st", vector(2), X0, OFFSETS[0], 31, 0, memory="write pad0:x[0:1]")
    found = modulo([load, double, store])
    assert found.interval >= 10 + 6 + 1
    independent = inst("vreg.st", vector(2), X0, OFFSETS[0], 31, 0, memory="write pad0:y[0:1]")
    assert modulo([load, double, independent]).interval == 3


def accumulation(rows: int, depth: int) -> Function:
    """Accumulates `rows` x 32 results over `depth` tiles, as a matrix product does."""
    entry = [inst("addi.s", offset, X0, number) for number, offset in enumerate(OFFSETS)]
    entry += [inst("lui.s", base, 8 * number) for number, base in enumerate(BASES)]
    sums = [vector(1000 + row) for row in range(rows)]
    entry += [inst("mul.vs", register, V0, X0, M0) for register in sums]
    counter, limit = scalar(1), scalar(2)
    entry += [inst("addi.s", counter, X0, 1), inst("addi.s", limit, X0, depth)]
    body: list[Inst] = []
    for row in range(32):
        weights = vector(row)
        body.append(inst("vreg.ld", weights, BASES[2], OFFSETS[31 - row], 31, 2, memory="read pad2:w[?:?]"))
        body.append(inst("lw.vi", 0, weights, 0, M0))
    for row in range(rows):
        left, product, pad = vector(100 + row), vector(300 + row), row % 2
        body.append(inst("vreg.ld", left, BASES[pad], OFFSETS[row // 2 % 32], 31, pad, memory=f"read pad{pad}:a[?:?]"))
        body.append(inst("gemm.vv", product, left, 0, 0))
        body.append(inst("add.vv", sums[row], sums[row], product, M0))
    body += [inst("addi.s", base, base, 64) for base in BASES[:3]]
    body.append(inst("blt.s", counter, limit, "tile", 1))
    leave = [
        inst("vreg.st", register, BASES[3], OFFSETS[row % 32], 31, 3, memory=f"write pad3:c[{row}:{row + 1}]")
        for row, register in enumerate(sums[:32])
    ]
    return Function("f", [Block("entry", entry), Block("tile", body, 1), Block("leave", [*leave, Inst(HALT, ())])])


@pytest.mark.parametrize(("rows", "interval"), [(32, 96), (64, 128), (96, 192), (128, 256)])
def test_a_matrix_product_reaches_the_machines_bound(rows: int, interval: int):
    function = accumulation(rows, 20)
    banks = schedule(function, AX01, pipeline=False).banks
    found = ModuloScheduler(build_loop_graph(function.blocks[1].insts[:-1], AX01), AX01, banks).schedule(1000)
    assert found is not None
    assert found.resource_bound == interval
    assert found.interval <= interval * 1.03


@pytest.mark.parametrize("rows", [32, 64, 128])
def test_a_pipelined_matrix_product_computes_the_same(rows: int):
    function = accumulation(rows, 20)
    code = schedule(function, AX01)
    (report,) = code.loops
    assert report.max_live[RegisterFile.VECTOR] < 240
    allocated = allocate(code, AX01)
    assert allocated.statistics.spills.num_registers == 0
    assert run_packets(allocated.items).observable() == run_function(function).observable()
    assert kernel_conflicts(allocated.items) <= 4


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 9])
def test_masked_iterations_leave_no_trace(depth: int):
    """In a nest the code of the product must stay small: the kernel fills and drains under masks."""
    function = accumulation(40, depth)
    function.blocks[1].loop_depth = 2
    loop = find_counted_loop(function.blocks[1], constant_values(function))
    assert loop is not None
    sums = frozenset(inst.defs[0] for inst in loop.body if inst.op.mnemonic == "add.vv")
    context = LoopContext(1000, 200, 300, dict.fromkeys(RegisterFile, 2), sums | {BASES[0]}, pushes_weights_first=True)
    masked = mask_loop(loop, context, 5000)
    assert masked is not None
    kernels = list(LoopKernels(masked.graph(AX01), AX01, {}, masked.next_index, context, 10).find(lambda: 999))
    assert kernels
    for kernel in kernels:
        pipelined = MaskedPipeline(masked, kernel).build()
        leave = function.blocks[2]
        moved = inst("vreg.st", V0, BASES[0], OFFSETS[0], 31, 0)
        after = Block(leave.label, [moved, *leave.insts])
        expected = Function("f", [function.blocks[0], function.blocks[1], after])
        blocks = [function.blocks[0], *pipelined.blocks, after]
        assert run_function(Function("f", blocks)).observable() == run_function(expected).observable()


def test_loops_that_store_cannot_be_masked():
    function = accumulation(32, 9)
    stores = inst("vreg.st", V0, BASES[3], OFFSETS[0], 31, 3)
    function.blocks[1].insts.insert(0, stores)
    loop = find_counted_loop(function.blocks[1], constant_values(function))
    assert loop is not None
    context = LoopContext(1000, 200, None, dict.fromkeys(RegisterFile, 0), frozenset(), pushes_weights_first=True)
    assert mask_loop(loop, context, 5000) is None


Contents = list[tuple[Instruction, tuple[int, ...]]]


def contents(packet: Packet) -> Contents:
    return [(slot.op, tuple(0 if isinstance(value, str) else value for value in slot.operands)) for slot in packet]


def kernel_conflicts(items: Sequence[Item]) -> int:
    """Cycles lost to register banks in kernels."""
    total, inside = 0, False
    for item in items:
        if isinstance(item, Label):
            inside = item.name.endswith(".kernel")
        elif inside:
            total += bank_conflict_cycles(contents(item))
    return total


@pytest.mark.parametrize("seed", range(16))
def test_random_loops_compute_the_same(seed: int):
    function = RandomFunction(seed, num_values=5 + seed % 8, max_trips=60).build(
        [6, 12, 25][seed % 3], loops=1 + seed % 2
    )
    expected = run_function(function).observable()
    coalesce(function)
    code = allocate(schedule(function, AX01), AX01)
    for item in code.items:
        if not isinstance(item, Label):
            slots = [
                (slot.op, tuple(0 if isinstance(value, str) else value for value in slot.operands)) for slot in item
            ]
            assert packet_violations(slots) == ()
            assert not lane_unit_conflict(slots)
    assert run_packets(code.items).observable() == expected


@pytest.mark.parametrize("trips", [1, 2, 5, 17, 18, 19, 20, 21, 27, 28, 29, 30, 47, 100])
def test_every_trip_count_runs_all_iterations(trips: int):
    """Short loops stay, longer ones have a prologue, a kernel and left-over iterations; all store each row once."""
    counter, limit, row = scalar(1), scalar(2), scalar(3)
    entry = [inst("addi.s", counter, X0, 1), inst("addi.s", limit, X0, trips), inst("addi.s", row, X0, 0)]
    body = [
        inst("vreg.ld", vector(1), X0, row, 31, 0, memory="read pad0:x[0:1]"),
        inst("expi.vi", vector(2), vector(1), 0, M0),
        inst("rsum.vi", vector(3), vector(2), 64, M0),
        inst("vreg.st", vector(3), X0, row, 31, 1, memory="write pad1:y[0:1]"),
        inst("addi.s", row, row, 1),
        inst("blt.s", counter, limit, "loop", 1),
    ]
    leave = [inst("vreg.st", vector(2), X0, row, 31, 2), Inst(HALT, ())]
    function = Function("f", [Block("entry", entry), Block("loop", body, 2), Block("leave", leave)])
    code = schedule(function, AX01)
    assert bool(code.loops) is (trips >= 18)
    got = run_packets(allocate(code, AX01).items)
    assert got.observable() == run_function(function).observable()
    assert len([key for key in got.rows if key[0] == 1]) == trips


def test_a_report_says_what_binds():
    report = LoopReport("l", 10, {"slots": 3, Unit.EX2.name: 9}, 10, 2, 1, 9, 20, {})
    assert report.bound_by == "recurrence"


@pytest.mark.parametrize("trips", [1, 4, 9, 30])
def test_transfers_keep_their_order_across_iterations(trips: int):
    """Load a tile, wait, double its rows, store the tile: each iteration uses the same pages."""
    dram, out, load_shape, store_shape = (scalar(number) for number in range(10, 14))
    loading, storing, counter, limit = (scalar(number) for number in range(14, 18))
    shapes = [DmaShape(pad, 2, 32, 32).encode() for pad in (0, 1)]
    entry = [
        inst("lui.s", register, word >> 7) for register, word in zip((load_shape, store_shape), shapes, strict=True)
    ]
    entry += [inst("lui.s", dram, 64), inst("lui.s", out, 128)]
    entry += [inst("lui.s", BASES[0], 8), inst("lui.s", BASES[1], 16)]
    entry += [inst("addi.s", OFFSETS[row], X0, row) for row in range(2)]
    entry += [inst("addi.s", counter, X0, 1), inst("addi.s", limit, X0, trips)]
    body = [
        inst("addi.s", loading, BASES[0], 0),
        inst("scpad.ld", loading, dram, load_shape, memory="write pad0:x[0:2], read dram:a[?:?]"),
        inst("addi.s", X0, loading, 0, memory="write pad0:x[0:2]"),
    ]
    for row in range(2):
        loaded, doubled = vector(row), vector(10 + row)
        body.append(inst("vreg.ld", loaded, BASES[0], OFFSETS[row], 31, 0, memory=f"read pad0:x[{row}:{row + 1}]"))
        body.append(inst("add.vv", doubled, loaded, loaded, M0))
        body.append(inst("vreg.st", doubled, BASES[1], OFFSETS[row], 31, 1, memory=f"write pad1:y[{row}:{row + 1}]"))
    body += [
        inst("addi.s", storing, BASES[1], 0),
        inst("scpad.st", storing, out, store_shape, memory="read pad1:y[0:2], write dram:b[?:?]"),
        inst("addi.s", X0, storing, 0, memory="write pad1:y[0:2]"),
        inst("addi.s", dram, dram, 128),
        inst("addi.s", out, out, 128),
        inst("blt.s", counter, limit, "loop", 1),
    ]
    blocks = [Block("entry", entry), Block("loop", body, 1), Block("leave", [Inst(HALT, ())])]
    function = Function("f", blocks)
    expected = run_function(function).observable()
    assert len(expected[1]) == trips
    code = schedule(function, AX01)
    assert run_packets(allocate(code, AX01).items).observable() == expected
    loop = find_counted_loop(function.blocks[1], constant_values(function))
    assert loop is not None
    context = LoopContext(1000, 20, None, dict.fromkeys(RegisterFile, 2), frozenset(), pushes_weights_first=True)
    for kernel in LoopKernels(build_loop_graph(loop.body, AX01), AX01, {}, 5000, context, trips).find(lambda: 999):
        pipeline = Pipeline(loop, kernel)
        if pipeline.num_trips >= 1:
            pipelined = Function("f", [blocks[0], *pipeline.build().blocks, blocks[2]])
            assert run_function(pipelined).observable() == expected
