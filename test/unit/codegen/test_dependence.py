"""Dependence graphs: edges and latencies of machine reference 5.4, 5.5 and 6.1."""

from __future__ import annotations

import pytest

from atalla_mlir.codegen.dependence import DependenceGraph, build_graph, dma_cycles
from atalla_mlir.codegen.machine_ir import M0, V0, X0, Inst, Register, parse_memory
from atalla_mlir.target.encoding import DmaShape
from atalla_mlir.target.isa import BY_MNEMONIC, HALT
from atalla_mlir.target.machine import AX01, machine
from atalla_mlir.target.registers import RegisterFile

A, B, C, D = (Register(RegisterFile.VECTOR, index) for index in range(4))
S, T = (Register(RegisterFile.SCALAR, index) for index in range(2))


def graph(*insts: Inst) -> DependenceGraph:
    return build_graph(insts, AX01)


def inst(mnemonic: str, *operands: Register | int | str, memory: str = "", merges: bool = False) -> Inst:
    return Inst(BY_MNEMONIC[mnemonic], operands, merges, parse_memory(memory))


@pytest.mark.parametrize(
    ("producer", "distance"),
    [
        (inst("addi.s", S, X0, 1), 3),
        (inst("mul.bf", S, X0, X0), 4),
        (inst("mul.s", S, X0, X0), 5),
        (inst("stbf.s", S, X0, 0), 4),
        (inst("rcp.bf", S, X0, 0), 14),
        (inst("div.s", S, X0, X0), 69),
        (inst("lw.s", S, 0, X0), 7),
        (inst("vmov.vts", S, V0, 0), 3),
    ],
)
def test_scalar_results_arrive_after_the_published_distance(producer: Inst, distance: int):
    assert graph(producer, inst("addi.s", T, S, 0)).successors[0] == {1: distance}


@pytest.mark.parametrize(
    ("producer", "distance"),
    [
        (inst("add.vv", A, V0, V0, M0), 6),
        (inst("mul.vs", A, V0, X0, M0), 6),
        (inst("expi.vi", A, V0, 0, M0), 18),
        (inst("rsum.vi", A, V0, 64, M0), 21),
        (inst("gemm.vv", A, V0, 0, 0), 49),
        (inst("vreg.ld", A, X0, X0, 31, 0), 10),
    ],
)
def test_vector_results_arrive_after_the_published_distance(producer: Inst, distance: int):
    assert graph(producer, inst("add.vv", B, A, V0, M0)).successors[0] == {1: distance}


def test_a_reader_may_share_the_packet_of_the_next_writer():
    edges = graph(inst("add.vv", B, A, V0, M0), inst("vreg.ld", A, X0, X0, 31, 0))
    assert edges.successors[0] == {1: 0}


def test_a_second_write_waits_for_the_first():
    edges = graph(inst("vreg.ld", A, X0, X0, 31, 0), inst("add.vv", A, V0, V0, M0))
    assert edges.successors[0] == {1: 10}


def test_a_merging_operation_waits_for_its_old_destination():
    mask = Register(RegisterFile.MASK, 1)
    edges = graph(inst("gemm.vv", A, V0, 0, 0), inst("mul.vs", A, V0, X0, mask, merges=True))
    assert edges.successors[0] == {1: 49}


def test_weights_shift_only_after_the_array_has_drained():
    pushes_and_products = (
        inst("lw.vi", 0, A, 0, M0),
        inst("gemm.vv", B, C, 0, 0),
        inst("gemm.vv", D, C, 0, 0),
        inst("lw.vi", 0, A, 0, M0),
    )
    edges = graph(*pushes_and_products)
    assert edges.successors[0] == {1: 1, 2: 1, 3: 1}
    assert edges.successors[1] == {3: 32}
    assert edges.successors[2] == {3: 32}


def test_transposes_stay_in_order():
    edges = graph(inst("tpus.vi", A), inst("tpus.vi", B), inst("tpop.vi", C))
    assert edges.successors[0] == {1: 9}
    assert edges.successors[1] == {2: 9}


def test_rows_of_one_object_are_told_apart():
    edges = graph(
        inst("vreg.st", A, X0, S, 31, 0, memory="write pad0:y[0:1]"),
        inst("vreg.ld", B, X0, S, 31, 0, memory="read pad0:y[1:2]"),
        inst("vreg.ld", C, X0, S, 31, 0, memory="read pad0:y[0:1]"),
        inst("vreg.ld", D, X0, S, 31, 0),
    )
    assert edges.successors[0] == {2: 1, 3: 1}
    assert edges.successors[1] == edges.successors[2] == {}


def test_rows_wait_for_the_transfer_that_fills_them():
    transfer = inst("scpad.ld", S, X0, T, memory="write pad0:x[0:32], read dram:x[0:2048]")
    transfer.dma_shape = DmaShape(0, 32, 32, 32)
    edges = graph(transfer, inst("vreg.ld", A, X0, X0, 31, 0, memory="read pad0:x[31:32]"))
    assert edges.successors[0] == {1: 2 + 224 + 2}


def test_waits_hold_up_later_accesses_but_not_earlier_reads():
    edges = graph(
        inst("vreg.ld", A, X0, S, 31, 0, memory="read pad0:x[?:?]"),
        inst("addi.s", X0, T, 0, memory="wait pad0:*[?:?]"),
        inst("vreg.ld", B, X0, S, 31, 0, memory="read pad0:x[?:?]"),
        inst("vreg.st", C, X0, S, 31, 0, memory="write pad0:x[?:?]"),
    )
    assert edges.successors[0] == {3: 1}
    assert edges.successors[1] == {2: 1, 3: 1}


@pytest.mark.parametrize(
    ("mnemonic", "shape", "parameters", "cycles"),
    [
        ("scpad.ld", DmaShape(0, 32, 32, 32), "ax01", 2 + 32 * 7),
        ("scpad.ld", DmaShape(0, 4, 16, 64), "ax01", 2 + 4 * 6),
        ("scpad.st", DmaShape(0, 32, 32, 32), "ax01", 2 + 32 * 3 + 6),
        ("scpad.ld", DmaShape(0, 32, 32, 32), "ax01-hbm3", 2 + 64 + 48),
        ("scpad.ld", None, "ax01", 2 + 32 * 7),
    ],
)
def test_duration_of_transfers(mnemonic: str, shape: DmaShape | None, parameters: str, cycles: int):
    transfer = inst(mnemonic, S, X0, T)
    transfer.dma_shape = shape
    assert dma_cycles(transfer, machine(parameters)) == cycles


def test_control_comes_last_and_halt_alone():
    assert graph(inst("addi.s", S, X0, 1), inst("jal", X0, "end")).successors[0] == {1: 0}
    assert graph(inst("addi.s", S, X0, 1), Inst(HALT, ())).successors[0] == {1: 1}
