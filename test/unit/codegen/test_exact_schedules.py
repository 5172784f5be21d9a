"""Small loops against an exact solver: schedules are possible, and few are longer than the machine makes them."""

from __future__ import annotations

import random
from collections import defaultdict
from functools import cache

import pytest
from ortools.sat.python import cp_model

from atalla_mlir.codegen.contention import contention_bound
from atalla_mlir.codegen.loop_graph import LoopGraph, build_loop_graph, recurrence_bound, resource_bounds, unit_name
from atalla_mlir.codegen.machine_ir import M0, V0, X0, Inst, Register, parse_memory
from atalla_mlir.codegen.modulo import ModuloScheduler
from atalla_mlir.codegen.reservations import BRANCH, MAX_QUEUED_CYCLES, LoopDemands
from atalla_mlir.codegen.resources import demand_of, unit_interval
from atalla_mlir.target.encoding import SLOTS
from atalla_mlir.target.isa import BY_MNEMONIC, LANE_OPS_PER_PACKET, Unit
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.registers import FILES, RegisterFile

MAX_CYCLES = 240
"""Of one iteration, which no small body needs."""
BODIES = range(60)


class ExactModel:
    """Whether a body can repeat every `interval` cycles, as constraints over the issue cycle of each instruction.

    The branch of the loop stands in the last cycle, which says nothing: all cycles can be moved together.
    """

    def __init__(self, graph: LoopGraph, interval: int) -> None:
        self.graph, self.interval, self.model = graph, interval, cp_model.CpModel()
        self.cycles = [self.model.new_int_var(0, MAX_CYCLES, f"cycle{node}") for node in range(graph.num_nodes)]
        self.rows = [self._row_of(self.cycles[index]) for index in range(len(graph.insts))]
        self.waits = [
            self.model.new_int_var(0, MAX_QUEUED_CYCLES if inst.op.unit is Unit.VLSU else 0, "wait")
            for inst in graph.insts
        ]
        self._order()
        self._packets()
        self._units()

    def is_possible(self) -> bool:
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        status = solver.solve(self.model)
        assert status in (cp_model.OPTIMAL, cp_model.FEASIBLE, cp_model.INFEASIBLE)
        return status != cp_model.INFEASIBLE

    def _row_of(self, cycle: cp_model.LinearExprT) -> list[cp_model.IntVar]:
        """For each cycle of the interval, whether `cycle` falls onto it."""
        row = [self.model.new_bool_var("row") for _ in range(self.interval)]
        stage = self.model.new_int_var(0, 2 * MAX_CYCLES // self.interval, "stage")
        self.model.add_exactly_one(row)
        self.model.add(cycle == self.interval * stage + sum(at * here for at, here in enumerate(row)))
        return row

    def _order(self) -> None:
        for edge in self.graph.edges:
            wait = self.waits[edge.first] if edge.is_result else 0
            ready = self.cycles[edge.first] + edge.latency + wait - edge.distance * self.interval
            self.model.add(self.cycles[edge.second] >= ready)

    def _packets(self) -> None:
        demands = [demand_of(inst) for inst in self.graph.insts]
        for at in range(self.interval):
            branch = BRANCH if at == self.interval - 1 else None
            here = [(demand, row[at]) for demand, row in zip(demands, self.rows, strict=True)]
            limits = [
                (SLOTS, lambda demand: 1),
                (LANE_OPS_PER_PACKET, lambda demand: int(demand.is_lane)),
                (FILES[RegisterFile.SCALAR].read_ports, lambda demand: demand.scalar_ports),
                (FILES[RegisterFile.VECTOR].read_ports, lambda demand: demand.vector_ports),
                (FILES[RegisterFile.MASK].read_ports, lambda demand: demand.mask_ports),
            ]
            for limit, needs in limits:
                left = limit - (needs(branch) if branch else 0)
                self.model.add(sum(needs(demand) * issued for demand, issued in here) <= left)
            for unit in {demand.unit for demand in demands}:
                left = 0 if branch and branch.unit == unit else 1
                self.model.add(sum(issued for demand, issued in here if demand.unit == unit) <= left)

    def _units(self) -> None:
        busy: dict[str, list[tuple[list[cp_model.IntVar], int]]] = defaultdict(list)
        flying: list[tuple[list[cp_model.IntVar], int]] = []
        for index, inst in enumerate(self.graph.insts):
            name = unit_name(inst, demand_of(inst).unit)
            row = self.rows[index]
            if inst.op.unit is Unit.VLSU:
                row = self._row_of(self.cycles[index] + self.waits[index])
            busy[name].append((row, unit_interval(inst, AX01)))
            if inst.op.unit is Unit.REDUCTION:
                flying.append((row, AX01.distance(inst.op)))
        for members in busy.values():
            self._at_most(1, members)
        self._at_most(AX01.reductions_in_flight, flying)

    def _at_most(self, limit: int, members: list[tuple[list[cp_model.IntVar], int]]) -> None:
        """At any time at most `limit` of the members, each lasting for its number of cycles."""
        for at in range(self.interval):
            lasting = [row[(at - age) % self.interval] for row, length in members for age in range(length)]
            self.model.add(sum(lasting) <= limit)


def exact_interval(graph: LoopGraph, limit: int) -> int:
    """The smallest II that the machine allows."""
    bound = max(*resource_bounds(graph.insts, AX01).values(), recurrence_bound(graph, limit))
    return next(interval for interval in range(bound, limit + 1) if ExactModel(graph, interval).is_possible())


def random_body(seed: int) -> list[Inst]:
    """Some loads, operations that depend on each other, also over iterations, and stores."""
    choose = random.Random(seed)
    scalars = [Register(RegisterFile.SCALAR, number) for number in range(20)]
    vectors = [Register(RegisterFile.VECTOR, number) for number in range(20)]

    def inst(mnemonic: str, *operands: Register | int, memory: str = "") -> Inst:
        return Inst(BY_MNEMONIC[mnemonic], operands, False, parse_memory(memory))

    body: list[Inst] = []
    known = [V0, vectors[choose.randrange(4, 12)]]  # the second comes from the iteration before when it is written
    for number in range(choose.randint(1, 4)):
        pad = choose.randrange(4)
        body.append(inst("vreg.ld", vectors[number], X0, scalars[number], 31, pad, memory=f"read pad{pad}:x[0:1]"))
        known.append(vectors[number])
    for number in range(choose.randint(2, 7)):
        result, left, right = vectors[4 + number], choose.choice(known), choose.choice(known)
        match choose.randrange(5):
            case 0:
                body.append(inst("mul.vv", result, left, right, M0))
            case 1:
                body.append(inst("expi.vi", result, left, 0, M0))
            case 2:
                body.append(inst("gemm.vv", result, left, 0, 0))
            case _:
                body.append(inst("add.vv", result, left, right, M0))
        known.append(result)
        if choose.randrange(3) == 0:
            body.append(inst("addi.s", scalars[number], scalars[number], 1))
    for _ in range(choose.randint(1, 3)):
        pad = choose.randrange(4)
        body.append(inst("vreg.st", choose.choice(known), X0, scalars[19], 31, pad, memory=f"write pad{pad}:y[0:1]"))
    return body


@cache
def intervals(seed: int) -> tuple[int, int]:
    """II found for a body, and the smallest that the machine allows."""
    graph = build_loop_graph(random_body(seed), AX01)
    found = ModuloScheduler(graph, AX01, {}).schedule(200)
    assert found is not None
    return found.interval, exact_interval(graph, found.interval)


@pytest.mark.parametrize("seed", BODIES)
def test_schedules_are_possible_and_near_the_best(seed: int) -> None:
    found, best = intervals(seed)
    assert best <= found <= best + 2


@pytest.mark.parametrize("seed", BODIES)
def test_no_schedule_is_below_the_bounds(seed: int) -> None:
    graph = build_loop_graph(random_body(seed), AX01)
    assert contention_bound(graph, LoopDemands(graph.insts, AX01, {})) <= intervals(seed)[1]


def test_most_schedules_are_the_best() -> None:
    """The others fill the scalar ports of every cycle, which takes a better search than for the first fit."""
    assert sum(found == best for found, best in map(intervals, BODIES)) >= 0.8 * len(BODIES)


def test_a_recurrence_is_as_long_as_its_operations() -> None:
    first, second = Register(RegisterFile.VECTOR, 1), Register(RegisterFile.VECTOR, 2)
    add = BY_MNEMONIC["add.vv"]
    graph = build_loop_graph([Inst(add, (first, V0, second, M0)), Inst(add, (second, first, V0, M0))], AX01)
    assert exact_interval(graph, 50) == recurrence_bound(graph, 50) == 2 * AX01.distance(add)
    assert not ExactModel(graph, 2 * AX01.distance(add) - 1).is_possible()
