"""Schedules near the bound: what is in the way of an instruction gives way, as little as possible of it."""

from __future__ import annotations

import math
from functools import cache

from atalla_mlir.codegen.loop_core import LoopCore
from atalla_mlir.codegen.loop_graph import LoopGraph, build_loop_graph, resource_bounds
from atalla_mlir.codegen.loop_memo import Found
from atalla_mlir.codegen.loop_placement import OrderChoice
from atalla_mlir.codegen.machine_ir import M0, M1, V0, X0, Inst, Register, parse_memory
from atalla_mlir.codegen.modulo import ModuloScheduler
from atalla_mlir.codegen.repair_placement import MASK_CYCLES, repair_order, windows, with_one_copy
from atalla_mlir.codegen.repair_table import RepairTable
from atalla_mlir.codegen.reservations import LoopDemands, ReservationTable
from atalla_mlir.codegen.tail_placement import late_readers
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.registers import RegisterFile

SCALARS = [Register(RegisterFile.SCALAR, index) for index in range(4)]
ROWS, ELEMENTS, STAGES = 8, 4, 3
NO_MATTER = OrderChoice()


@cache
def vector(index: int) -> Register:
    return Register(RegisterFile.VECTOR, index)


@cache
def mask(index: int) -> Register:
    return Register(RegisterFile.MASK, index)


def inst(mnemonic: str, *operands: Register | int) -> Inst:
    return Inst(BY_MNEMONIC[mnemonic], operands)


def load(index: int, pad: int, row: int) -> Inst:
    memory = parse_memory(f"read pad{pad}:scores[{row}:{row + 1}]")
    return Inst(BY_MNEMONIC["vreg.ld"], (vector(index), X0, X0, 31, pad), memory=memory)


def rows_of_softmax() -> LoopGraph:
    """Of each row of scores the elementwise maximum by compares and masked copies; then exponentials, all stored."""
    body: list[Inst] = []
    for row in range(ROWS):
        first = row * 8 * ELEMENTS
        for at in range(ELEMENTS):
            body.append(load(first + at, row % 4, at))
        highest = first + ELEMENTS
        body.append(load(highest, row % 4, 0))
        for at in range(1, ELEMENTS):
            compared = mask(row * ELEMENTS + at)
            body.append(inst("mlt.mvv", compared, vector(highest), vector(first + at), M0))
            body.append(Inst(BY_MNEMONIC["mul.vv"], (vector(highest), vector(first + at), V0, compared), merges=True))
        for at in range(ELEMENTS):
            less, made = vector(highest + 1 + 2 * at), vector(highest + 2 + 2 * at)
            body.append(inst("sub.vv", less, vector(first + at), vector(highest), M0))
            body.append(inst("expi.vi", made, less, 0, M1))
            memory = parse_memory(f"write pad{row % 4}:exponentials[{at}:{at + 1}]")
            body.append(Inst(BY_MNEMONIC["vreg.st"], (made, X0, X0, 31, row % 4), memory=memory))
    return build_loop_graph(body, AX01)


def demands_of(graph: LoopGraph) -> LoopDemands:
    vectors = {register for inst in graph.insts for register in inst.registers if register.file is RegisterFile.VECTOR}
    return LoopDemands(graph.insts, AX01, dict.fromkeys((v for v in vectors if v.pinned is None), 0))


def has_room(demands: LoopDemands, found: Found, shift: int) -> bool:
    table = ReservationTable(demands, found.interval, parts_operands=True)
    table.settle_banks(found.banks)
    cycles = [cycle + shift for cycle in found.cycles]
    # pads serve what comes first first
    for index in sorted(range(len(cycles)), key=lambda index: cycles[index] % found.interval):
        if table.first_fit(index, range(cycles[index], cycles[index] + 1)) is None:
            return False
        table.reserve(index, cycles[index])
    return True


def check(graph: LoopGraph, demands: LoopDemands, found: Found) -> None:
    """Dependences, resources, iterations in progress, and one copy of each value."""
    for edge in graph.edges:
        if max(edge.first, edge.second) >= len(graph.insts):
            continue
        time = found.cycles[edge.second] + edge.distance * found.interval - found.cycles[edge.first]
        assert time >= edge.latency, (graph.insts[edge.first], graph.insts[edge.second])
    # which cycle is the first of a kernel is chosen when all have their places
    assert any(has_room(demands, found, shift) for shift in range(found.interval))
    assert max(found.cycles) < STAGES * found.interval
    assert not late_readers(graph, found)


def test_a_loop_is_placed_near_its_bound():
    """Other orders find places, too, but keep values until the next iteration has made its own."""
    graph = rows_of_softmax()
    demands = demands_of(graph)
    core, bound = LoopCore(graph, demands), max(resource_bounds(graph.insts, AX01).values())
    assert bound == 2 * ROWS * (2 * ELEMENTS - 1)
    interval = bound + 8
    orders = [OrderChoice(seed=seed, spread=spread) for seed in range(3) for spread in (1, 3, 7)]
    others = [found for found in (core.place(interval, choice) for choice in orders) if found]
    assert others and all(late_readers(graph, found) for found in others)
    repaired = [found for found in (core.place_by_repair(interval, choice, STAGES) for choice in orders) if found]
    assert repaired
    for found in repaired:
        check(graph, demands, found)


def test_masks_are_not_kept_for_long():
    graph = rows_of_softmax()
    core = LoopCore(graph, demands_of(graph))
    found = core.place_by_repair(2 * ROWS * (2 * ELEMENTS + 1), NO_MATTER, STAGES)
    assert found is not None
    makers = {inst.defs[0]: cycle for inst, cycle in zip(graph.insts, found.cycles, strict=True) if inst.defs}
    kept = [
        cycle - makers[register]
        for inst, cycle in zip(graph.insts, found.cycles, strict=True)
        for register in inst.uses
        if register.file is RegisterFile.MASK and register in makers
    ]
    assert len(kept) == ROWS * (ELEMENTS - 1) and max(kept) <= MASK_CYCLES


def test_nothing_issues_outside_its_window():
    graph = build_loop_graph([load(0, 0, 0), inst("add.vv", vector(1), vector(0), vector(0), M0)], AX01)
    latency = next(edge.latency for edge in graph.edges)
    found = windows(graph, 8, 2)
    assert found is not None
    assert found.lows == [0, latency] and found.highs == [15 - latency, 15]
    assert windows(graph, latency, 1) is None
    # without a window there is no place
    assert LoopCore(graph, demands_of(graph)).place_by_repair(latency, NO_MATTER, 1) is None


def test_the_next_value_waits_for_the_last_reader():
    graph = build_loop_graph([load(0, 0, 0), inst("add.vv", vector(1), vector(0), vector(0), M0)], AX01)
    added = set(with_one_copy(graph).edges) - set(graph.edges)
    assert [(edge.first, edge.second, edge.latency, edge.distance) for edge in added] == [(1, 0, 1, 1)]


def test_rows_are_placed_one_after_the_other():
    graph = rows_of_softmax()
    order = repair_order(graph, 200, NO_MATTER)
    assert order is not None and sorted(order) == list(range(graph.num_nodes))


def test_the_lightest_of_a_full_packet_gives_way():
    insts = [inst("gemm.vv", vector(9), vector(0), 0, 0), inst("expi.vi", vector(10), vector(1), 0, M0)]
    insts += [inst("vmov.vts", *SCALARS[:1], vector(2), 3), inst("sub.vv", vector(11), vector(3), V0, M0)]
    insts += [inst("addi.s", SCALARS[1], SCALARS[2], 1)]
    graph = build_loop_graph(insts, AX01)
    table = RepairTable(demands_of(graph), 8)
    for index in range(3):
        table.reserve(index, 0)
    assert table.obstacles(4, 0, [1] * 5) == set()
    table.reserve(3, 0)
    assert table.obstacles(4, 0, [3, 4, 2, 9, 1]) == {2}
    assert table.obstacles(4, 0, [3, 4, 3, 9, 1]) == {0}
    # the other cycle of its unit
    assert table.obstacles(4, 1, [1] * 5) == set()


def test_an_operand_that_shares_its_bank_loses_its_lighter_readers():
    pair = inst("add.vv", vector(8), vector(0), vector(1), M0)
    insts = [inst("expi.vi", vector(9 + at), vector(at % 2), 0, M0) for at in range(3)]
    graph = build_loop_graph([*insts, pair], AX01)
    table = RepairTable(demands_of(graph), 12)
    table.settle_banks({vector(0): 1, vector(1): 1})
    for index, cycle in enumerate((0, 2, 4)):
        table.reserve(index, cycle)
    assert table.first_fit(3, range(12)) is None
    # two read the first operand, one reads the second
    assert table.obstacles(3, 6, [1] * 4) == {1}
    assert table.obstacles(3, 6, [1, 5, 1, 1]) == {0, 2}


def test_without_a_limit_of_stages_nothing_is_repaired():
    graph = rows_of_softmax()
    scheduler = ModuloScheduler(graph, AX01, {})
    assert scheduler.repair(scheduler.bound, NO_MATTER) is None
    limited = scheduler.limited(STAGES)
    longer = math.ceil(1.3 * scheduler.bound)
    found = limited.repair(longer, NO_MATTER)
    assert found is not None and found.interval == longer and found.num_stages <= STAGES
