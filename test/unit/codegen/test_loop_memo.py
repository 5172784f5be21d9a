"""Equal loops are scheduled once: on other registers, objects and constants, but not with other dependences."""

from __future__ import annotations

from collections import OrderedDict

import pytest

from atalla_mlir.codegen import loop_memo
from atalla_mlir.codegen.loop_core import LoopCore
from atalla_mlir.codegen.loop_graph import LoopGraph, build_loop_graph
from atalla_mlir.codegen.loop_memo import Found
from atalla_mlir.codegen.machine_ir import M0, V0, Inst, Register, parse_memory
from atalla_mlir.codegen.modulo import ModuloSchedule, ModuloScheduler
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.registers import RegisterFile


def body(first: int, *, step: int = 1, name: str = "x", mnemonic: str = "add.vv", pad: int = 0) -> LoopGraph:
    """y[i] = x[i] + x[i], on registers numbered from `first`."""
    pointer = Register(RegisterFile.SCALAR, first)
    row, result = (Register(RegisterFile.VECTOR, first + number) for number in range(2))
    insts = [
        Inst(
            BY_MNEMONIC["vreg.ld"], (row, pointer, pointer, 31, pad), memory=parse_memory(f"read pad{pad}:{name}[?:?]")
        ),
        Inst(BY_MNEMONIC[mnemonic], (result, row, row, M0)),
        Inst(BY_MNEMONIC["vreg.st"], (result, pointer, pointer, 31, 2), memory=parse_memory("write pad2:y[?:?]")),
        Inst(BY_MNEMONIC["addi.s"], (pointer, pointer, step)),
    ]
    return build_loop_graph(insts, AX01)


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The II of every attempt at a schedule; nothing is known at first."""
    monkeypatch.setattr(loop_memo, "_ENTRIES", OrderedDict())
    attempts: list[int] = []
    original = LoopCore.place

    def place(self: LoopCore, interval: int) -> Found | None:
        attempts.append(interval)
        return original(self, interval)

    monkeypatch.setattr(LoopCore, "place", place)
    return attempts


def scheduled(graph: LoopGraph, banks: dict[Register, int] | None = None) -> ModuloSchedule:
    found = ModuloScheduler(graph, AX01, banks or {}).schedule(100)
    assert found is not None
    return found


def banks_of(graph: LoopGraph) -> dict[Register, int]:
    return {register: 0 for inst in graph.insts for register in inst.registers if register.pinned is None}


def test_equal_loops_are_searched_once(searches: list[int]):
    first = scheduled(body(100, step=3))
    assert searches
    searches.clear()
    second = scheduled(body(200, step=77, name="other"))
    assert not searches
    assert (second.interval, second.cycles) == (first.interval, first.cycles)


def test_banks_are_those_of_the_loops_own_registers(searches: list[int]):
    graphs = [body(100, step=5), body(300, step=6)]
    first, second = (scheduled(graph, banks_of(graph)) for graph in graphs)
    rows = [graph.insts[0].defs[0] for graph in graphs]
    assert first.banks[rows[0]] == second.banks[rows[1]]
    assert set(second.banks) <= {register for inst in graphs[1].insts for register in inst.registers}


@pytest.mark.parametrize("changed", [{"mnemonic": "mul.vv"}, {"pad": 1}, {"pad": 2, "name": "y"}])
def test_other_operations_pads_and_dependences_are_other_loops(changed: dict[str, str], searches: list[int]):
    scheduled(body(100, step=9))
    searches.clear()
    scheduled(body(100, step=9, **changed))  # pyright: ignore[reportArgumentType]
    again = len(searches)
    scheduled(body(500, step=9, **changed))  # pyright: ignore[reportArgumentType]
    assert len(searches) == again


def test_fixed_registers_are_not_exchanged(searches: list[int]):
    one, other = Register(RegisterFile.VECTOR, 1), Register(RegisterFile.VECTOR, 2)
    add = BY_MNEMONIC["add.vv"]
    scheduled(build_loop_graph([Inst(add, (one, V0, V0, M0)), Inst(add, (other, one, V0, M0))], AX01))
    searches.clear()
    scheduled(build_loop_graph([Inst(add, (one, V0, V0, M0)), Inst(add, (other, one, one, M0))], AX01))
    assert searches
