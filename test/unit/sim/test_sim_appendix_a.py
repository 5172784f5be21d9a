"""The semantic test vectors of the machine reference's Appendix A, column `ax`, on the reference engine."""

from __future__ import annotations

import numpy as np
import pytest

from atalla_mlir.sim import TrapKind
from atalla_mlir.sim.numerics import from_bf16, round_to_bf16
from atalla_mlir.sim.reference import ReferenceEngine
from atalla_mlir.target.registers import RegisterFile
from atalla_mlir.testing.programs import Slot, program

X, V, M = RegisterFile.SCALAR, RegisterFile.VECTOR, RegisterFile.MASK
ONE, TWO, THREE = 0x3F800000, 0x40000000, 0x40400000
HALT: list[Slot] = [("halt.s",)]


def engine_with(x=None, v=None, m=None) -> ReferenceEngine:
    engine = ReferenceEngine()
    for index, value in (x or {}).items():
        engine.write_register(X, index, value)
    for index, value in (v or {}).items():
        engine.write_register(V, index, round_to_bf16(np.broadcast_to(np.asarray(value, np.float32), (32,))))
    for index, value in (m or {}).items():
        engine.write_register(M, index, value)
    return engine


def run(*packets: list[Slot], x=None, v=None, m=None, engine: ReferenceEngine | None = None) -> ReferenceEngine:
    engine = engine or engine_with(x, v, m)
    engine.load_code(0, program(*packets, HALT))
    result = engine.run(max_packets=1000)
    assert result.reason == "halt", result.trap
    return engine


def scalar_of(slot: Slot, x: dict[int, int]) -> int:
    return run([slot], x=x).read_scalar(1)


def values(engine: ReferenceEngine, index: int) -> list[float]:
    return from_bf16(engine.read_vector(index)).tolist()


@pytest.mark.parametrize(
    "packet",
    [[("addi.s", 1, 0, 5), ("addi.s", 2, 1, 1)], [("jal", 2, 40), ("addi.s", 1, 0, 7)]],
    ids=["read after write", "two instructions on EX1"],
)
def test_illegal_packets_are_rejected(packet):
    engine = ReferenceEngine()
    engine.load_code(0, program(packet, HALT))
    result = engine.run()
    assert result.reason == "trap"
    assert result.trap is not None
    assert result.trap.kind is TrapKind.ILLEGAL_PACKET
    assert engine.read_scalar(1) == 0
    assert engine.counters.packets == 0


def test_every_slot_of_a_halting_packet_executes():
    engine = ReferenceEngine()
    engine.load_code(0, program([("halt.s",), ("addi.s", 1, 0, 7)]))
    assert engine.run().reason == "halt"
    assert engine.read_scalar(1) == 7


def test_branches_compare_signed_old_values_and_then_increment():
    taken = run([("blt.s", 1, 0, 40, 0)], [("addi.s", 2, 0, 1)], x={1: 0xFFFFFFFF})
    assert taken.read_scalar(2) == 0
    equal = run([("beq.s", 1, 2, 40, 100)], [("addi.s", 3, 0, 1)], x={1: 3, 2: 3})
    assert equal.read_scalar(1) == 103
    assert equal.read_scalar(3) == 0


def test_jalr_reads_its_base_before_it_links():
    engine = run([("jalr", 1, 1, 0)], [("addi.s", 2, 0, 1)], x={1: 40})
    assert engine.pc == 40
    assert engine.read_scalar(1) == 20
    assert engine.read_scalar(2) == 0


@pytest.mark.parametrize(
    ("slot", "x", "expected"),
    [
        (("lui.s", 1, 0x1FFFFFF), {}, 0xFFFFFF80),
        (("lui.s", 1, 1), {}, 0x80),
        (("srai.s", 1, 2, 33), {2: 0x80000000}, 0xC0000000),
        (("slli.s", 1, 2, 33), {2: 3}, 6),
        (("sll.s", 1, 2, 3), {2: 3, 3: 32}, 0),
        (("srl.s", 1, 2, 3), {2: 3, 3: 32}, 0),
        (("sra.s", 1, 2, 3), {2: 0x80000000, 3: 0xFFFFFFFF}, 0xFFFFFFFF),
        (("ori.s", 1, 2, -1), {2: 5}, 0xFFFFFFFF),
        (("sltui.s", 1, 2, -1), {2: 3}, 1),
        (("slti.s", 1, 2, -1), {2: 0xFFFFFFFE}, 1),
        (("divi.s", 1, 2, 2), {2: -7}, -3),
        (("modi.s", 1, 2, 3), {2: -7}, -1),
        (("modi.s", 1, 2, 2), {2: -7}, -1),
        (("div.s", 1, 2, 3), {2: 7, 3: 0}, -1),
        (("mod.s", 1, 2, 3), {2: 7, 3: 0}, 7),
        (("div.s", 1, 2, 3), {2: 0x80000000, 3: -1}, 0x80000000),
        (("mod.s", 1, 2, 3), {2: 0x80000000, 3: -1}, 0),
        (("mul.s", 1, 2, 2), {2: 0x12345}, 0x4B65F099),
        (("stbf.s", 1, 2, 0), {2: 3}, 0x40400000),
        (("stbf.s", 1, 2, 0), {2: -1}, 0xBF800000),
        (("stbf.s", 1, 2, 0), {2: 257}, 0x43800000),
        (("bfts.s", 1, 2, 0), {2: 0x406D0000}, 3),
        (("bfts.s", 1, 2, 0), {2: 0xC06D0000}, -3),
        (("bfts.s", 1, 2, 0), {2: 0x60AD0000}, 0x7FFFFFFF),
        (("bfts.s", 1, 2, 0), {2: 0xE0AD0000}, 0x80000000),
        (("bfts.s", 1, 2, 0), {2: 0x7FC00000}, 0x7FFFFFFF),
        (("add.bf", 1, 2, 3), {2: ONE, 3: TWO}, THREE),
        (("add.bf", 1, 2, 3), {2: 0x3F80, 3: 0x4000}, 0),
        (("rcp.bf", 1, 2, 0), {2: THREE}, 0x3EAB0000),
        (("rcp.bf", 1, 2, 0), {2: 0x80000000}, 0xFF800000),
        (("sqrt.bf", 1, 2, 0), {2: TWO}, 0x3FB50000),
        (("sqrt.bf", 1, 2, 0), {2: 0xBF800000}, 0xFFC00000),
        (("slt.bf", 1, 2, 3), {2: ONE, 3: TWO}, 1),
        (("slt.bf", 1, 2, 3), {2: 0x7FC00000, 3: TWO}, 0),
    ],
)
def test_scalar_arithmetic(slot, x, expected):
    assert scalar_of(slot, x) == expected & 0xFFFFFFFF


def test_half_word_accesses_touch_two_bytes_and_use_the_upper_half():
    engine = engine_with(x={2: 0xABCD1234})
    engine.write_dram(0x100, (0x11223344).to_bytes(4, "little"))
    run([("lhw.s", 1, 0x100, 0)], [("shw.s", 2, 0x100, 0)], [("lw.s", 3, 0x100, 0)], engine=engine)
    assert engine.read_scalar(1) == 0x33440000
    assert engine.read_scalar(3) == 0x1122ABCD


def test_exp_is_correctly_rounded():
    engine = run([("expi.vi", 2, 1, 0, 0)], v={1: [0, 1 / 8, 1 / 4, 3 / 8, 90, -np.inf] + [0] * 26})
    assert values(engine, 2)[:6] == [1.0, 1.1328125, 1.28125, 1.453125, np.inf, 0.0]


@pytest.mark.parametrize(
    ("imm", "mask", "expected"),
    [
        (0x40, 0, [496.0] * 32),
        (0x25, 0, [0.0] * 5 + [496.0] + [0.0] * 26),
        (0x05, 0, [0.0, 1.0, 2.0, 3.0, 4.0, 496.0, *range(6, 32)]),
        (0x40, 1, [6.0] * 32),
        (0x40, 2, [0.0] * 32),
    ],
)
def test_sum_placement_and_mask(imm, mask, expected):
    engine = run([("rsum.vi", 2, 1, imm, mask)], v={1: np.arange(32)}, m={1: 0xF})
    assert values(engine, 2) == expected


def test_maximum_of_nothing_is_minus_infinity():
    assert values(run([("rmax.vi", 2, 1, 0x40, 2)], v={1: 5.0}), 2) == [-np.inf] * 32


def test_compares_keep_inactive_bits():
    above = np.arange(32) - 15
    assert run([("mgt.mvv", 2, 1, 0, 0)], v={1: above}).read_register(M, 2) == 0xFFFF0000
    engine = run([("mgt.mvv", 2, 1, 0, 3)], v={1: above}, m={2: 0xF, 3: 0xFFFF0000})
    assert engine.read_register(M, 2) == 0xFFFF000F


def test_nan_compares_unequal_only():
    nan = {1: np.nan}
    assert run([("mneq.mvs", 2, 1, 5, 0)], v=nan, x={5: ONE}).read_register(M, 2) == 0xFFFFFFFF
    for compare in ("mgt.mvs", "mlt.mvs", "meq.mvs"):
        assert run([(compare, 2, 1, 5, 0)], v=nan, x={5: ONE}).read_register(M, 2) == 0


def test_register_zero_of_every_file_is_hard_wired():
    engine = run(
        [("mv.stm", 0, 1), ("addi.s", 0, 1, 3), ("add.vv", 0, 1, 1, 0)], [("mv.mts", 2, 0)], x={1: 5}, v={1: 1.0}
    )
    assert engine.read_scalar(2) == 0xFFFFFFFF
    assert engine.read_scalar(0) == 0
    assert values(engine, 0) == [0.0] * 32


def test_partial_row_load_clears_and_partial_row_store_keeps_the_other_lanes():
    engine = engine_with(v={1: np.arange(1, 33), 2: 7.0}, x={3: 2 * 64 + 17, 4: 3})
    engine.write_pad(2, 5, round_to_bf16(np.full((1, 32), 9.0)))
    run([("vreg.ld", 2, 3, 4, 3, 2)], [("vreg.st", 1, 3, 4, 3, 2)], engine=engine)
    assert values(engine, 2) == [9.0] * 4 + [0.0] * 28
    assert from_bf16(engine.read_pad(2, 5, 1))[0].tolist() == [1.0, 2.0, 3.0, 4.0] + [9.0] * 28


def pushes(first: int, count: int) -> list[list[Slot]]:
    return [[("lw.vi", 0, first + i, 0, 1)] for i in range(count)]


def one_hot(lane: int, value: float = 1.0) -> np.ndarray:
    vector = np.zeros(32, np.float32)
    vector[lane] = value
    return vector


def test_array_shifts_every_push_in_at_column_zero():
    registers = {n + 1: one_hot(0, n + 1) for n in range(32)} | {40: one_hot(0)}
    engine = run(*pushes(1, 32), [("gemm.vv", 41, 40, 0, 0)], v=registers)
    assert values(engine, 41) == list(range(32, 0, -1))
    engine = run(*pushes(1, 32), *pushes(1, 32), [("gemm.vv", 41, 40, 0, 0)], v=registers)
    assert values(engine, 41) == list(range(32, 0, -1))
    engine = run(*pushes(1, 4), [("gemm.vv", 41, 40, 0, 0)], v=registers)
    assert values(engine, 41) == [4, 3, 2, 1] + [0] * 28


def test_gemm_ignores_its_second_source_and_its_mask():
    engine = run(*pushes(1, 1), [("gemm.vv", 41, 40, 42, 3)], v={1: one_hot(0, 3.0), 40: one_hot(0), 42: 5.0})
    assert values(engine, 41) == [3.0] + [0.0] * 31


def test_identity_streamed_against_pushed_rows_transposes():
    matrix = np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)
    registers = {1 + n: matrix[n] for n in range(32)} | {40 + n: one_hot(n) for n in range(32)}
    stream: list[list[Slot]] = [[("gemm.vv", 80 + n, 40 + n, 0, 0)] for n in range(32)]
    engine = run(*[[("lw.vi", 0, 32 - n, 0, 1)] for n in range(32)], *stream, v=registers)
    result = np.array([engine.read_vector(80 + n) for n in range(32)])
    assert np.array_equal(result, round_to_bf16(matrix).T)


def test_copies_by_sub_keep_minus_zero_and_by_add_do_not():
    engine = run([("sub.vs", 2, 1, 0, 0), ("add.vs", 3, 1, 0, 1)], v={1: -0.0}, m={1: 0xFFFFFFFF})
    assert engine.read_vector(2).tolist() == [0x8000] * 32
    assert engine.read_vector(3).tolist() == [0x0000] * 32
