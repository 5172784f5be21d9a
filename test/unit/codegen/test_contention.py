"""Bounds of loops in which a unit's operations wait for something that waits for them."""

from __future__ import annotations

from atalla_mlir.codegen.contention import contention_bound
from atalla_mlir.codegen.dependence import dma_cycles
from atalla_mlir.codegen.loop_graph import LoopGraph, build_loop_graph, resource_bounds
from atalla_mlir.codegen.machine_ir import M1, V0, Inst, Register, parse_memory
from atalla_mlir.codegen.modulo import ModuloScheduler
from atalla_mlir.codegen.reservations import MAX_QUEUED_CYCLES, LoopDemands
from atalla_mlir.target.encoding import DmaShape
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.registers import RegisterFile

BASE, ADDRESS, SHAPE = (Register(RegisterFile.SCALAR, number) for number in range(3))


def bound_of(graph: LoopGraph) -> int:
    return contention_bound(graph, LoopDemands(graph.insts, AX01, {}))


def products(rows: int) -> LoopGraph:
    """32 rows of weights, which replace those of the iteration before, and `rows` products with them."""
    body = [Inst(BY_MNEMONIC["lw.vi"], (0, V0, 0, M1)) for _ in range(AX01.vector_lanes)]
    results = [Register(RegisterFile.VECTOR, number) for number in range(rows)]
    body += [Inst(BY_MNEMONIC["gemm.vv"], (result, V0, 0, 0)) for result in results]
    return build_loop_graph(body, AX01)


def stores(rows: int) -> LoopGraph:
    """`rows` rows of a pad, and their transfer to DRAM, which the next iteration waits for."""
    offsets = [Register(RegisterFile.SCALAR, 10 + row) for row in range(rows)]
    store = BY_MNEMONIC["vreg.st"]
    body = [
        Inst(store, (V0, BASE, offset, 31, 1), memory=parse_memory(f"write pad1:y[{row}:{row + 1}]"))
        for row, offset in enumerate(offsets)
    ]
    memory = parse_memory(f"read pad1:y[0:{rows}], write dram:y[?:?]")
    shape = DmaShape(pad=1, rows=rows, cols=32, pitch=32)
    body.append(Inst(BY_MNEMONIC["scpad.st"], (BASE, ADDRESS, SHAPE), memory=memory, dma_shape=shape))
    return build_loop_graph(body, AX01)


def test_weights_are_replaced_after_the_last_product():
    graph = products(40)
    assert max(*resource_bounds(graph.insts, AX01).values(), graph.recurrence) == 32 + 40
    # the array is empty so long before the first of the next weights
    assert bound_of(graph) == 32 + 40 - 1 + AX01.array_drain_cycles
    assert ModuloScheduler(graph, AX01, {}).schedule(32 + 40 - 2 + AX01.array_drain_cycles) is None
    found = ModuloScheduler(graph, AX01, {}).schedule(1000)
    assert found is not None and found.interval == bound_of(graph)


def test_rows_are_stored_one_by_one_between_two_transfers():
    graph = stores(32)
    transfer = dma_cycles(graph.insts[-1], AX01) + 2
    stored = 31 * AX01.pad_row_interval - MAX_QUEUED_CYCLES
    assert bound_of(graph) == transfer + stored + 1
    found = ModuloScheduler(graph, AX01, {}).schedule(1000)
    assert found is not None and found.interval == bound_of(graph)


def test_nothing_in_a_circle_sets_no_bound():
    rows = [Register(RegisterFile.VECTOR, number) for number in range(20)]
    graph = build_loop_graph([Inst(BY_MNEMONIC["add.vv"], (row, V0, V0, M1)) for row in rows], AX01)
    assert bound_of(graph) == 1
