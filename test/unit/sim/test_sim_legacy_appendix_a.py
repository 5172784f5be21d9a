"""The semantic test vectors of the machine reference's Appendix A, column `fs`, on the legacy-fs engine."""

from __future__ import annotations

import numpy as np
import pytest

from atalla_mlir.errors import UnsupportedError
from atalla_mlir.sim import TrapKind, create_engine
from atalla_mlir.sim.legacy_fs import LegacyEngine
from atalla_mlir.target.registers import RegisterFile
from atalla_mlir.testing.programs import Slot, program

X, M = RegisterFile.SCALAR, RegisterFile.MASK
ONE, TWO, THREE = 0x3F800000, 0x40000000, 0x40400000
HALT: list[Slot] = [("halt.s",)]


def run(*packets: list[Slot], x=None, v=None, m=None, engine: LegacyEngine | None = None) -> LegacyEngine:
    engine = engine or LegacyEngine()
    for index, value in (x or {}).items():
        engine.write_register(X, index, value)
    for index, value in (v or {}).items():
        engine.state.v[index] = value
    for index, value in (m or {}).items():
        engine.write_register(M, index, value)
    engine.load_code(0, program(*packets, HALT))
    result = engine.run(max_packets=1000)
    assert result.reason == "halt", result.trap
    return engine


def trap_of(slot: Slot, x: dict[int, int]) -> TrapKind:
    engine = LegacyEngine()
    for index, value in x.items():
        engine.write_register(X, index, value)
    engine.load_code(0, program([slot], HALT))
    trap = engine.run().trap
    assert trap is not None
    return trap.kind


def test_slots_see_the_writes_of_earlier_slots():
    assert run([("addi.s", 1, 0, 5), ("addi.s", 2, 1, 1)]).read_scalar(2) == 6


def test_slots_after_a_jump_still_execute():
    engine = run([("jal", 2, 40), ("addi.s", 1, 0, 7)], HALT)
    assert engine.pc == 40
    assert (engine.read_scalar(1), engine.read_scalar(2)) == (7, 20)


def test_slots_after_a_halt_still_execute():
    engine = LegacyEngine()
    engine.load_code(0, program([("halt.s",), ("addi.s", 1, 0, 7)]))
    assert engine.run().reason == "halt"
    assert engine.read_scalar(1) == 7


def test_ordered_branches_are_unsigned():
    engine = run([("blt.s", 1, 0, 40, 0)], [("addi.s", 2, 0, 1)], x={1: 0xFFFFFFFF})
    assert engine.read_scalar(2) == 1


def test_branches_increment_after_comparing():
    assert run([("beq.s", 1, 2, 40, 100)], HALT, x={1: 3, 2: 3}).read_scalar(1) == 103


def test_jalr_reads_its_base_before_it_links():
    engine = run([("jalr", 1, 1, 0)], HALT, x={1: 40})
    assert (engine.pc, engine.read_scalar(1)) == (40, 20)


@pytest.mark.parametrize(
    ("slot", "x", "expected"),
    [
        (("lui.s", 1, 0x1FFFFFF), {}, 0xFFFFFF80),
        (("lui.s", 1, 1), {}, 0x80),
        (("li.s", 1, -2), {}, 0xFFFFFFFE),
        (("srai.s", 1, 2, 33), {2: 0x80000000}, 0xFFFFFFFF),
        (("slli.s", 1, 2, 33), {2: 3}, 0),
        (("sll.s", 1, 2, 3), {2: 3, 3: 32}, 0),
        (("sltui.s", 1, 2, -1), {2: 3}, 1),
        (("divi.s", 1, 2, 2), {2: -7}, -3),
        (("modi.s", 1, 2, 3), {2: -7}, 2),
        (("modi.s", 1, 2, 2), {2: -7}, 1),
        (("mul.s", 1, 2, 2), {2: 0x12345}, 0x4B65F099),
        (("stbf.s", 1, 2, 0), {2: 3}, 0x40400000),
        (("stbf.s", 1, 2, 0), {2: 0xFFFFFFFF}, 0x4F800000),
        (("stbf.s", 1, 2, 0), {2: 257}, 0x43808000),
        (("bfts.s", 1, 2, 0), {2: 0x406D0000}, 3),
        (("bfts.s", 1, 2, 0), {2: 0xC06D0000}, -3),
        (("add.bf", 1, 2, 3), {2: ONE, 3: TWO}, THREE),
        (("add.bf", 1, 2, 3), {2: 0x3F80, 3: 0x4000}, THREE),
        (("rcp.bf", 1, 2, 0), {2: THREE}, 0x3EAAAAAB),
        (("sqrt.bf", 1, 2, 0), {2: TWO}, 0x3FB504F3),
        (("sqrt.bf", 1, 2, 0), {2: 0xBF800000}, 0xFFC00000),
    ],
)
def test_scalar_arithmetic(slot, x, expected):
    assert run([slot], x=x).read_scalar(1) == expected & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("slot", "x"),
    [
        (("bfts.s", 1, 2, 0), {2: 0x60AD0000}),
        (("bfts.s", 1, 2, 0), {2: 0x7FC00000}),
        (("rcp.bf", 1, 2, 0), {2: 0}),
        (("div.s", 1, 2, 3), {2: 1}),
        (("mul.bf", 1, 2, 2), {2: 0x7F000000}),
        (("slli.s", 1, 2, -1), {2: 1}),
        (("vreg.ld", 1, 0, 0, 31, 2), {}),
    ],
)
def test_where_the_emulator_raises_the_program_traps(slot, x):
    assert trap_of(slot, x) is TrapKind.EMULATOR_ERROR


@pytest.mark.parametrize("slot", [("tpus.vi", 1), ("tpop.vi", 1)])
def test_the_transpose_unit_is_unknown(slot):
    assert trap_of(slot, {}) is TrapKind.UNDEFINED_OPCODE


def test_an_empty_slot_is_an_unknown_opcode():
    engine = LegacyEngine()
    engine.load_code(0, bytes(20))
    trap = engine.run().trap
    assert trap is not None
    assert trap.kind is TrapKind.UNDEFINED_OPCODE


def test_half_word_accesses_use_whole_entries():
    engine = LegacyEngine()
    engine.write_register(X, 2, 0xABCD1234)
    engine.load_words({0x100: 0x11223344})
    run([("lhw.s", 1, 0x100, 0)], [("shw.s", 2, 0x100, 0)], engine=engine)
    assert engine.read_scalar(1) == 0x33440000
    assert engine.state.memory == {0x100: 0x0000ABCD}


def test_a_half_word_stored_by_dma_is_not_seen_at_its_own_key():
    engine = LegacyEngine()
    engine.load_words({0x2002: 0x5555})
    engine.state.pads[0, 0, :2] = [1.0, 2.0]
    metadata = 1 << 20
    run([("scpad.st", 0, 3, 4)], [("lhw.s", 1, 2, 3)], x={3: 0x2000, 4: metadata}, engine=engine)
    assert engine.state.memory == {0x2000: 0x40003F80, 0x2002: 0x5555}
    assert engine.read_scalar(1) == 0x55550000


def test_exp_and_sums():
    engine = run([("expi.vi", 2, 1, 0, 0)], v={1: [0, 1 / 8, 1 / 4, 3 / 8, 90] + [0] * 27})
    assert engine.state.v[2, :5].tolist() == [1.0, 1.1328125, 1.28125, 1.453125, np.inf]
    engine = run(
        [("rsum.vi", 2, 1, 0x40, 0)],
        [("rsum.vi", 3, 1, 0x25, 0)],
        [("rsum.vi", 4, 1, 0x05, 0)],
        [("rsum.vi", 5, 1, 0x40, 1)],
        [("rsum.vi", 6, 1, 0x40, 2)],
        [("rmax.vi", 7, 1, 0x40, 2)],
        v={1: np.arange(32)},
        m={1: 0xF},
    )
    v = engine.state.v
    assert v[2].tolist() == [496.0] * 32
    assert v[3].tolist() == [0.0] * 5 + [496.0] + [0.0] * 26
    assert v[4].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 496.0, *map(float, range(6, 32))]
    assert (v[5, 0], v[6, 0], v[7, 0]) == (6.0, 0.0, -np.inf)


def test_compares_keep_the_mirrored_old_bit_and_m0_is_writable():
    above = np.arange(32) - 15
    assert run([("mgt.mvv", 2, 1, 0, 0)], v={1: above}).read_register(M, 2) == 0xFFFF0000
    engine = run([("mgt.mvv", 2, 1, 0, 3)], v={1: above}, m={2: 0xF, 3: 0xFFFF0000})
    assert engine.read_register(M, 2) == 0xFFFF0000
    assert run([("mv.stm", 0, 1)], x={1: 5}).read_register(M, 0) == 5
    assert run([("mneq.mvs", 2, 1, 5, 0)], v={1: np.nan}, x={5: ONE}).read_register(M, 2) == 0xFFFFFFFF


def pushes(count: int) -> list[list[Slot]]:
    return [[("lw.vi", 0, 1 + i, 0, 0)] for i in range(count)]


def test_the_array_fills_left_to_right_once_and_then_shifts():
    vectors = {n + 1: np.eye(32, dtype=np.float32)[0] * (n + 1) for n in range(32)} | {40: np.eye(32)[0]}
    gemm: list[Slot] = [("gemm.vv", 41, 40, 0, 0)]
    assert run(*pushes(32), gemm, v=vectors).state.v[41].tolist() == list(range(1, 33))
    assert run(*pushes(32), *pushes(32), gemm, v=vectors).state.v[41].tolist() == list(range(32, 0, -1))
    assert run(*pushes(4), gemm, v=vectors).state.v[41].tolist() == [1, 2, 3, 4] + [0] * 28


def test_gemm_adds_its_second_source_unrounded():
    vectors = {1: np.eye(32)[0] * 3, 40: np.eye(32)[0], 42: 0.001}
    engine = run(*pushes(1), [("gemm.vv", 41, 40, 42, 3)], v=vectors)
    assert engine.state.v[41].tolist() == [float(np.float32(3) + np.float32(0.001))] + [float(np.float32(0.001))] * 31


def test_rows_are_routed_to_memory_by_address():
    engine = LegacyEngine()
    engine.state.v[1] = np.arange(32) + 0.25
    run([("vreg.st", 1, 3, 4, 3, 0)], [("vreg.ld", 2, 3, 4, 1, 1)], x={3: 0x1000, 4: 7}, engine=engine)
    assert engine.state.memory == {0x1000: 0x3FA03E80, 0x1004: 0x40504010}
    assert engine.state.v[2].tolist() == [0.25, 1.25] + [0.0] * 30


def test_copies_by_sub_keep_minus_zero_and_by_add_do_not():
    engine = run([("sub.vs", 2, 1, 0, 0)], [("add.vs", 3, 1, 0, 0)], v={1: -0.0})
    assert np.signbit(engine.state.v[2]).all()
    assert not np.signbit(engine.state.v[3]).any()


def test_memory_written_as_bytes_gets_the_overlapping_entries_of_the_image_writer():
    engine = LegacyEngine()
    engine.write_dram(0x100, bytes.fromhex("efcdab8967452301"))
    assert engine.state.memory == {0x100: 0x89ABCDEF, 0x102: 0x456789AB, 0x104: 0x01234567, 0x106: 0x0123}
    assert engine.read_dram(0x101, 5) == bytes.fromhex("cdab896745")


def test_there_is_no_cycle_model():
    engine = create_engine("legacy-fs")
    with pytest.raises(UnsupportedError, match="^the legacy-fs engine has no cycle model; run the reference or native"):
        engine.run(timing=True)
