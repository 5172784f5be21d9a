"""The last operations of an iteration, placed anew where one of their terms is kept for too long."""

from __future__ import annotations

from atalla_mlir.codegen.loop_graph import LoopGraph, build_loop_graph
from atalla_mlir.codegen.loop_memo import Found
from atalla_mlir.codegen.machine_ir import AHEAD_MARK, M0, X0, Inst, Register, parse_memory
from atalla_mlir.codegen.reservations import LoopDemands
from atalla_mlir.codegen.tail_placement import late_readers, shorten_tail, tail_of
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.registers import RegisterFile

ROWS, INTERVAL = 4, 40


def row(number: int) -> list[Inst]:
    """A row is loaded, doubled and stored."""
    loaded, doubled = (Register(RegisterFile.VECTOR, 2 * number + at) for at in range(2))
    load = Inst(BY_MNEMONIC["vreg.ld"], (loaded, X0, X0, 31, number), memory=parse_memory(f"read pad{number}:a[0:1]"))
    store = Inst(
        BY_MNEMONIC["vreg.st"],
        (doubled, X0, X0, 31, number),
        memory=parse_memory(f"write pad{number}:b{AHEAD_MARK}2[0:1]"),
    )
    return [load, Inst(BY_MNEMONIC["add.vv"], (doubled, loaded, loaded, M0)), store]


def body() -> LoopGraph:
    return build_loop_graph([inst for number in range(ROWS) for inst in row(number)], AX01)


def found(graph: LoopGraph, first_sum: int) -> Found:
    """Rows come one by one; the sum of the first one is as late as that."""
    cycles: list[int] = []
    for number in range(ROWS):
        add = first_sum if number == 0 else 10 + 4 * number
        cycles += [number, add, add + 6]
    return Found(INTERVAL, tuple(cycles), {})


def shortened(graph: LoopGraph, before: Found) -> Found:
    return shorten_tail(graph, LoopDemands(graph.insts, AX01, {}), before)


def test_sums_and_stores_are_the_tail():
    graph = body()
    assert tail_of(graph) == {index for index in range(3 * ROWS) if index % 3}


def test_a_sum_that_comes_too_late_gets_its_place_before_the_others():
    graph = body()
    before = found(graph, first_sum=INTERVAL + 4)
    assert late_readers(graph, before) == {1}
    after = shortened(graph, before)
    assert not late_readers(graph, after)
    assert [after.cycles[index] for index in range(0, 3 * ROWS, 3)] == list(range(ROWS))
    for edge in graph.edges:
        if max(edge.first, edge.second) < len(after.cycles):
            time = after.cycles[edge.second] + edge.distance * INTERVAL - after.cycles[edge.first]
            assert time >= edge.latency, edge


def test_nothing_comes_before_its_iteration():
    """A square of what the iteration before left could be made at -6, in the time of its own."""
    total, square = (Register(RegisterFile.VECTOR, at) for at in range(2))
    insts = [
        Inst(BY_MNEMONIC["mul.vv"], (square, total, total, M0)),
        Inst(BY_MNEMONIC["add.vv"], (total, total, total, M0)),
    ]
    graph = build_loop_graph(insts, AX01)
    before = Found(12, (5, 0), {})
    assert late_readers(graph, before) == tail_of(graph) == {0}
    assert shortened(graph, before) is before


def test_what_keeps_nothing_too_long_stays():
    graph = body()
    before = found(graph, first_sum=INTERVAL - 1)
    assert shortened(graph, before) is before


def test_stores_that_find_no_slot_of_their_pad_again_leave_the_schedule_as_it_is():
    # rows that the next iteration loads: their stores keep their places, more of them at once than a pad takes
    kept: list[Inst] = []
    for number in range(8):
        loaded = Register(RegisterFile.VECTOR, 100 + number)
        place = f"pad0:c{number}[0:1]"
        kept.append(Inst(BY_MNEMONIC["vreg.ld"], (loaded, X0, X0, 31, 0), memory=parse_memory(f"read {place}")))
        kept.append(Inst(BY_MNEMONIC["vreg.st"], (loaded, X0, X0, 31, 0), memory=parse_memory(f"write {place}")))
    graph = build_loop_graph([inst for number in range(ROWS) for inst in row(number)] + kept, AX01)
    early = found(body(), first_sum=INTERVAL + 4)
    cycles = [cycle for number in range(8) for cycle in (4 + number, 22 + number)]
    before = Found(INTERVAL, (*early.cycles, *cycles), {})
    assert late_readers(graph, before) == {1}
    assert shortened(graph, before) is before
