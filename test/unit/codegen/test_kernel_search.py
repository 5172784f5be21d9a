"""Orders of placement, and kernels in which integers that live for long are copied."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import pytest

from atalla_mlir.codegen import kernel_search, loop_memo
from atalla_mlir.codegen.kernel import Kernel
from atalla_mlir.codegen.kernel_search import LoopKernels
from atalla_mlir.codegen.long_values import copy_in_place, split_long_values
from atalla_mlir.codegen.loop_graph import build_loop_graph
from atalla_mlir.codegen.loop_placement import OrderChoice, placement_order
from atalla_mlir.codegen.loops import LoopContext
from atalla_mlir.codegen.machine_ir import M0, M1, V0, X0, Inst, MemoryRef, Register
from atalla_mlir.codegen.modulo import ModuloSchedule, ModuloScheduler
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.registers import RegisterFile

SCALARS = [Register(RegisterFile.SCALAR, index) for index in range(8)]
VECTORS = [Register(RegisterFile.VECTOR, index) for index in range(64)]
ALL = LoopContext(1000, 20, None, dict.fromkeys(RegisterFile, 2), frozenset(), pushes_weights_first=True)


def _inst(mnemonic: str, *operands: Register | int) -> Inst:
    return Inst(BY_MNEMONIC[mnemonic], operands)


def _kernel(insts: list[Inst], interval: int, cycles: tuple[int, ...]) -> Kernel:
    graph = build_loop_graph(insts, AX01)
    return Kernel(ModuloSchedule(graph, interval, cycles, {"slots": 1}, 1), {}, 100)


def test_an_integer_that_is_read_late_is_copied_for_late_readers() -> None:
    value, early, late = SCALARS[:3]
    insts = [_inst("addi.s", value, X0, 1), _inst("addi.s", early, value, 2), _inst("addi.s", late, value, 3)]
    kernel = _kernel(insts, 10, (0, 3, 15))
    assert kernel.unroll == 2 and list(kernel.long_values()) == [value]
    split = split_long_values(kernel, 100)
    assert split is not None and split.next_index == 101
    (copy,) = split.copies.values()
    assert [str(inst) for inst in split.insts] == [
        str(inst) for inst in (insts[0], _inst("addi.s", copy, value, 0), insts[1], _inst("addi.s", late, copy, 3))
    ]


def test_a_copy_in_place_leaves_all_else_where_it_is() -> None:
    value, early, late = SCALARS[:3]
    insts = [_inst("addi.s", value, X0, 1), _inst("addi.s", early, value, 2), _inst("addi.s", late, value, 3)]
    kernel = _kernel(insts, 10, (0, 3, 15))
    found = copy_in_place(kernel, AX01, {value: 2}, frozenset(), 100)
    assert found is not None and found.unroll == 1
    schedule = found.schedule
    (copy,) = (inst.defs[0] for inst in schedule.graph.insts if inst.defs[0].index == 100)
    assert [inst.defs[0] for inst in schedule.graph.insts] == [value, copy, early, late]
    # copied when the value is there, before the next one is made and in time for its reader
    assert schedule.cycles[0] + AX01.ex1_latency <= schedule.cycles[1] <= min(9, 15 - AX01.ex1_latency)
    assert (schedule.cycles[0], *schedule.cycles[2:]) == (0, 3, 15)
    assert schedule.graph.insts[2].uses[0] is value and schedule.graph.insts[3].uses[0] is copy
    assert schedule.banks[copy] == 2


def test_no_cycle_has_room_for_a_copy() -> None:
    """Each packet takes one integer operation."""
    value, late, others = SCALARS[0], SCALARS[1], SCALARS[2:8]
    insts = [_inst("addi.s", value, X0, 1), _inst("addi.s", late, value, 3)]
    insts += [_inst("addi.s", other, X0, 1) for other in others]
    kernel = _kernel(insts, 8, (0, 9, 2, 3, 4, 5, 6, 7))
    assert kernel.unroll == 2
    assert copy_in_place(kernel, AX01, {}, frozenset(), 100) is None


def test_halving_finds_a_short_interval_below_the_limit() -> None:
    insts = [_inst("add.vv", VECTORS[at], V0, V0, M0) for at in range(40)]
    scheduler = ModuloScheduler(build_loop_graph(insts, AX01), AX01, {})
    found = LoopKernels.least_interval(scheduler, OrderChoice(seed=1), 200)
    assert found is not None and found.interval == scheduler.bound == 80
    assert LoopKernels.least_interval(scheduler, OrderChoice(seed=1), 80) is None


def test_what_is_no_integer_of_one_iteration_is_not_copied() -> None:
    row, carried = VECTORS[0], SCALARS[0]
    rows = [_inst("add.vv", row, V0, V0, M0), _inst("add.vv", VECTORS[1], row, V0, M0)]
    assert split_long_values(_kernel(rows, 10, (0, 15)), 100) is None
    steps = [_inst("addi.s", SCALARS[1], carried, 0), _inst("addi.s", carried, carried, 1)]
    assert split_long_values(_kernel(steps, 4, (9, 0)), 100) is None


def test_values_of_equal_loops_are_split_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_memo, "_ENTRIES", OrderedDict())
    tried: list[Kernel] = []

    def split(kernel: Kernel, first_index: int) -> None:
        tried.append(kernel)

    monkeypatch.setattr(kernel_search, "split_long_values", split)
    for first in (0, 8, 16):
        row, other = VECTORS[first : first + 2]
        kernel = _kernel([_inst("add.vv", row, V0, V0, M0), _inst("add.vv", other, row, V0, M0)], 10, (0, 15))
        kernels = LoopKernels(kernel.schedule.graph, AX01, {}, 100, ALL, 1000)
        assert kernels.split(kernel) is None
        later = _kernel(list(kernel.schedule.graph.insts), 10, (0, 15 + first))
        assert kernels.split(later) is None
    assert [kernel.schedule.cycles for kernel in tried] == [(0, 15), (0, 23), (0, 31)]


def test_parts_of_a_body_may_come_one_after_the_other() -> None:
    insts: list[Inst] = []
    for row in range(2):
        first, second = VECTORS[2 * row : 2 * row + 2]
        insts += [_inst("add.vv", first, V0, V0, M0), _inst("expi.vi", second, first, 0, M1)]
    graph = build_loop_graph(insts, AX01)
    assert placement_order(graph, 10, OrderChoice()) == [0, 2, 1, 3]
    assert placement_order(graph, 10, OrderChoice(by_parts=True)) == [0, 1, 2, 3]


@pytest.mark.parametrize("choice", [OrderChoice(seed=3), OrderChoice(by_parts=True, seed=5)])
def test_each_order_has_all_nodes(choice: OrderChoice) -> None:
    insts = [_inst("add.vv", VECTORS[at], VECTORS[at - 1] if at % 5 else V0, V0, M0) for at in range(1, 40)]
    order = placement_order(build_loop_graph(insts, AX01), 100, choice)
    assert order is not None and sorted(order) == list(range(len(insts)))


def test_a_spread_mixes_nodes_of_nearly_equal_height() -> None:
    """Chains of lane operations: what is higher by more than the spread stays ahead."""
    rows = [VECTORS[10 * chain : 10 * chain + 10] for chain in range(4)]
    insts = [_inst("add.vv", row[at], row[at - 1] if at else V0, V0, M0) for at in range(10) for row in rows]
    graph = build_loop_graph(insts, AX01)
    latency = AX01.distance(insts[0].op)
    orders = {
        spread: placement_order(graph, 100, OrderChoice(seed=2, spread=spread)) for spread in (1, 3, 4 * latency - 1)
    }
    level = {index: index // len(rows) for index in range(len(insts))}
    for spread in (1, 3):
        order = orders[spread]
        assert order is not None and [level[index] for index in order] == sorted(level.values())
    wide = orders[4 * latency - 1]
    assert wide is not None and [level[index] for index in wide] != sorted(level.values())
    assert orders[1] != orders[3]


def test_mixed_orders_find_a_kernel_where_the_usual_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    insts = [_inst("add.vv", VECTORS[at], V0, V0, M0) for at in range(8)]
    kernels = LoopKernels(build_loop_graph(insts, AX01), AX01, {}, 100, ALL, 1000)
    monkeypatch.setattr(LoopKernels, "_by_interval", lambda *_, **__: iter(()))
    found = list(kernels._by_interval_and_mixed(40, lambda: 40, thorough=True))
    assert [kernel.schedule.interval for kernel in found] == [16]
    assert not list(kernels._by_interval_and_mixed(40, lambda: 40, thorough=False))


def test_kernels_come_by_rising_interval() -> None:
    insts = [_inst("add.vv", VECTORS[at], V0, V0, M0) for at in range(8)]
    kernels = list(LoopKernels(build_loop_graph(insts, AX01), AX01, {}, 100, ALL, 10).find(lambda: 100))
    assert kernels[0].schedule.interval == 16
    assert kernels[-1].unroll == 1


def test_packets_that_read_a_bank_twice_take_longer() -> None:
    left, right = VECTORS[:2]
    insts = [_inst("add.vv", left, V0, V0, M0), _inst("add.vv", right, V0, V0, M0)]
    insts.append(_inst("mul.vv", VECTORS[2], left, right, M0))
    graph = build_loop_graph(insts, AX01)
    schedule = ModuloSchedule(graph, 20, (0, 2, 10), {"slots": 1}, 1)
    assert Kernel(schedule, {left: 0, right: 1}, 100).iteration_cycles(AX01) == 20
    assert Kernel(schedule, {left: 1, right: 1}, 100).iteration_cycles(AX01) == 22


@pytest.mark.parametrize(
    ("rows", "bursts", "hides"), [("rows^3", 10, True), ("rows^3", 18, False), ("rows", 10, False)]
)
def test_transfers_are_hidden_where_they_come_early_and_the_channel_has_time(
    rows: str, bursts: int, hides: bool
) -> None:
    load = replace(_inst("vreg.ld", VECTORS[0], X0, X0, 0), memory=(MemoryRef("pad0", rows, 0, 1, is_write=False),))
    bounds = {"slots": 1, "DRAM channel": bursts}
    assert ModuloSchedule(build_loop_graph([load], AX01), 20, (0,), bounds, 1).hides_transfers is hides


def test_lanes_may_wait_longer_than_they_must() -> None:
    """That is asked for where the array is busy with several slices: rows that want the same write port come late."""
    pushes = [_inst("lw.vi", VECTORS[0], 0, 0, M1) for _ in range(AX01.vector_lanes + 1)]
    insts = [*pushes, _inst("gemm.vv", VECTORS[1], VECTORS[0], V0, M1), _inst("add.vv", VECTORS[2], VECTORS[1], V0, M1)]
    insts.append(_inst("mul.vv", VECTORS[3], VECTORS[2], V0, M1))

    def latencies(wait: int) -> list[int]:
        edges = build_loop_graph(insts, AX01, lane_wait=wait).edges
        first = len(pushes)
        return [
            edge.latency
            for edge in edges
            if edge.first >= first and edge.second == edge.first + 1 and not edge.distance
        ]

    assert latencies(4) == [latency + 4 for latency in latencies(0)]


def test_vectors_that_an_earlier_loop_reads_keep_their_banks() -> None:
    """Here both that are read together have bank 1, one of them for good."""
    left, right = VECTORS[:2]
    insts = [_inst("mul.vv", VECTORS[2], left, right, M0)]
    banks = {left: 1, right: 1, VECTORS[2]: 0}
    found = ModuloScheduler(build_loop_graph(insts, AX01), AX01, banks, settled={left}).schedule(100)
    assert found is not None and left not in found.banks
    assert found.banks[right] != 1
    free = ModuloScheduler(build_loop_graph(insts, AX01), AX01, banks).schedule(100)
    assert free is not None and {left, right} <= free.banks.keys()
