"""The reference engine around the instructions: traps, breakpoints, snapshots, counters, memories, lints."""

from __future__ import annotations

import numpy as np
import pytest

from atalla_mlir.errors import BadInputError
from atalla_mlir.sim import TrapKind, create_engine
from atalla_mlir.sim.engine import Trap
from atalla_mlir.sim.reference import ReferenceEngine
from atalla_mlir.sim.semantics import BINDERS
from atalla_mlir.target import isa
from atalla_mlir.target.encoding import DmaShape, pack_packet
from atalla_mlir.target.isa import Unit
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.registers import RegisterFile
from atalla_mlir.testing.programs import Slot, program, word

X, V, M = RegisterFile.SCALAR, RegisterFile.VECTOR, RegisterFile.MASK
HALT: list[Slot] = [("halt.s",)]
GIB = 1 << 30


def engine_for(*packets: list[Slot], **scalars: int) -> ReferenceEngine:
    engine = ReferenceEngine()
    engine.load_code(0, program(*packets))
    for name, value in scalars.items():
        engine.write_register(X, int(name[1:]), value)
    return engine


def trap_of(*packets: list[Slot], **scalars: int) -> Trap:
    result = engine_for(*packets, **scalars).run(max_packets=1000)
    assert result.reason == "trap"
    assert result.trap is not None
    return result.trap


def test_every_instruction_of_the_table_has_semantics():
    assert set(BINDERS) == {instruction.mnemonic for instruction in isa.hardware_instructions()}


@pytest.mark.parametrize(
    ("slot", "scalars", "kind", "message"),
    [
        (("lw.s", 1, 2, 2), {"x2": 0}, TrapKind.MISALIGNED_ACCESS, "dram address 0x2 is not a multiple of 4 bytes"),
        (("shw.s", 1, 1, 2), {"x2": 0}, TrapKind.MISALIGNED_ACCESS, "dram address 0x1 is not a multiple of 2 bytes"),
        (
            ("vreg.ld", 1, 2, 3, 31, 0),
            {"x2": 8191 * 64, "x3": 1},
            TrapKind.PAD_RANGE,
            "row 8192 is outside the 8192 rows of pad 0",
        ),
        (
            ("vreg.st", 1, 2, 3, 31, 2),
            {"x3": -1},
            TrapKind.PAD_RANGE,
            "row 4294967295 is outside the 8192 rows of pad 2",
        ),
        (
            ("scpad.ld", 1, 2, 3),
            {"x1": 8161 * 64, "x3": DmaShape(1, 32, 32, 32).encode()},
            TrapKind.PAD_RANGE,
            "dma rows 8161..8192 are outside the 8192 rows of pad 1",
        ),
        (
            ("scpad.st", 1, 2, 3),
            {"x3": DmaShape(0, 2, 4, 4).encode() | 2},
            TrapKind.DMA_PITCH,
            "dma pitch of 3 elements is less than its 4 columns",
        ),
        (
            ("scpad.ld", 1, 2, 3),
            {"x2": 7},
            TrapKind.MISALIGNED_ACCESS,
            "dma address 0x7 is not a multiple of 2 bytes",
        ),
        (
            ("scpad.ld", 1, 2, 3),
            {"x2": 0xFFFFFFFE, "x3": DmaShape(0, 1, 2, 2).encode()},
            TrapKind.DRAM_RANGE,
            "dma bytes 0xFFFFFFFE..0x100000001 are outside the 4294967296 bytes of dram",
        ),
    ],
)
def test_bad_accesses_trap_with_their_reason(slot, scalars, kind, message):
    trap = trap_of([("nop.s",)], [("nop.s",), slot], HALT, **scalars)
    assert (trap.kind, trap.pc, trap.slot, trap.message) == (kind, 20, 1, message)
    assert trap.text.startswith(slot[0])


def test_access_outside_a_small_dram():
    engine = ReferenceEngine(AX01.with_options(dram_bytes=4096))
    engine.load_code(0, program([("lw.s", 1, 0, 2)], HALT))
    engine.write_register(X, 2, 4096)
    trap = engine.run().trap
    assert trap is not None
    assert trap.kind is TrapKind.DRAM_RANGE
    assert trap.message == "dram address 0x1000 is outside the 4096 bytes of dram"


def test_pads_that_a_machine_does_not_have():
    engine = ReferenceEngine(AX01.with_options(pads=2))
    engine.load_code(0, program([("vreg.ld", 1, 0, 0, 31, 2)], HALT))
    trap = engine.run().trap
    assert trap is not None
    assert str(trap) == "pc 0x0 slot 0 'vreg.ld v1, x0, x0, 31, 2': pad 2 does not exist; the machine has 2 pads"


def test_a_trap_keeps_the_state_and_names_the_source_line():
    engine = engine_for([("addi.s", 5, 0, 7)], [("lw.s", 1, 2, 0)], HALT)
    engine.set_source_map({20: "model.py:12"})
    result = engine.run()
    assert result.trap is not None
    assert result.trap.source == "model.py:12"
    assert str(result.trap).endswith("is not a multiple of 4 bytes (model.py:12)")
    assert engine.read_scalar(5) == 7
    assert (result.pc, engine.pc, engine.counters.packets) == (20, 20, 1)


def test_undefined_opcodes_trap_only_when_they_are_reached():
    engine = ReferenceEngine()
    words = [word("nop.s"), 80, 0, 0]
    engine.load_code(0, program([("beq.s", 0, 0, 40, 0)]) + pack_packet(words) + program(HALT))
    assert engine.run().reason == "halt"
    engine.set_pc(20)
    trap = engine.run().trap
    assert trap is not None
    assert (trap.kind, trap.pc, trap.slot) == (TrapKind.UNDEFINED_OPCODE, 20, 1)


def test_empty_slots_are_accepted_and_not_counted():
    engine = ReferenceEngine()
    engine.load_code(0, pack_packet([0, word("addi.s", 1, 0, 3), 0, 0]) + program(HALT))
    assert engine.run().reason == "halt"
    assert engine.read_scalar(1) == 3
    assert engine.counters.slot_histogram == [0, 2, 0, 0, 0]


def test_li_s_has_no_encoding_of_its_own():
    engine = ReferenceEngine()
    engine.load_code(0, pack_packet([word("li.s", 1, 3), 0, 0, 0]))
    trap = engine.run().trap
    assert trap is not None
    assert trap.kind is TrapKind.UNDEFINED_OPCODE


def test_running_off_the_end_and_jumping_out_of_the_code_are_told_apart():
    assert trap_of([("nop.s",)]).kind is TrapKind.END_OF_CODE
    away = trap_of([("jal", 0, 400)])
    assert away.kind is TrapKind.PC_RANGE
    assert away.message == "there is no code at this pc; came from pc 0x0"
    askew = trap_of([("jalr", 0, 1, 7)])
    assert (askew.kind, askew.pc) == (TrapKind.PC_MISALIGNED, 7)


@pytest.mark.parametrize(
    ("packet", "part"),
    [
        ([("addi.s", 1, 0, 1), ("mul.s", 1, 2, 3)], "both write x1"),
        (
            [("add.vv", 1, 4, 5, 1), ("mul.vv", 2, 6, 7, 1), ("lw.vi", 0, 3, 0, 1)],
            "3 reads of mask registers",
        ),
        ([("scpad.ld", 1, 2, 3), ("add.s", 4, 5, 6)], "5 reads of scalar registers, at most 4"),
        ([("gemm.vv", 1, 2, 0, 0), ("lw.vi", 0, 3, 0, 1)], "unit GSAU"),
    ],
)
def test_illegal_packets_trap_before_anything_happens(packet, part):
    trap = trap_of(packet, HALT)
    assert trap.kind is TrapKind.ILLEGAL_PACKET
    assert part in trap.message


def test_a_load_and_a_store_of_one_packet_must_not_meet_in_memory():
    packet: list[Slot] = [("lw.s", 9, 0, 4), ("scpad.st", 1, 2, 3)]
    shape = DmaShape(0, 2, 4, 100).encode()
    for address in (0x1000, 0x1004, 0x10C8, 0x10CC):
        trap = trap_of(packet, HALT, x4=address, x2=0x1002, x3=shape)
        assert (trap.kind, trap.slot) == (TrapKind.MEMORY_CONFLICT, 1)
        assert trap.message == f"the load and the store of this packet meet in dram word 0x{address:X}"
    engine = engine_for(packet, HALT, x4=0x100C, x2=0x1002, x3=shape)
    assert engine.run().reason == "halt"


def test_a_push_into_a_transpose_unit_that_drains_traps():
    trap = trap_of(*[[("tpus.vi", 1)]] * 32, [("tpop.vi", 2)], [("tpus.vi", 1)], HALT)
    assert trap.kind is TrapKind.TRANSPOSE_ORDER


def test_transpose_unit():
    pushes: list[list[Slot]] = [[("tpus.vi", 1 + r)] for r in range(32)]
    pops: list[list[Slot]] = [[("tpop.vi", 100 + c)] for c in range(32)]
    engine = engine_for(*pushes, *pops, HALT)
    rows = np.random.default_rng(0).integers(0, 1 << 16, (32, 32)).astype(np.uint16)
    for r in range(32):
        engine.write_register(V, 1 + r, rows[r])
    assert engine.run().reason == "halt"
    assert np.array_equal([engine.read_vector(100 + c) for c in range(32)], rows.T)


def test_a_partly_filled_tile_is_followed_by_a_fresh_one():
    pops: list[list[Slot]] = [[("tpop.vi", 100 + c)] for c in range(32)]
    engine = engine_for([("tpus.vi", 1)], *pops, [("tpus.vi", 2)], [("tpop.vi", 150)], HALT)
    engine.write_register(V, 1, np.full(32, 0x3F80, np.uint16))
    engine.write_register(V, 2, np.full(32, 0x4000, np.uint16))
    engine.run()
    assert engine.read_vector(150).tolist() == [0x4000] + [0] * 31


def test_dma_moves_tiles_with_a_pitch():
    engine = engine_for([("scpad.ld", 4, 5, 6)], [("scpad.st", 4, 7, 8)], HALT, x4=64 * 3 + 5, x5=0x1002, x7=0x8000)
    engine.write_register(X, 6, DmaShape(3, 4, 5, 50).encode())
    engine.write_register(X, 8, DmaShape(3, 4, 5, 5).encode())
    memory = np.arange(400, dtype=np.uint16)
    engine.write_dram(0x1000, memory)
    engine.write_pad(3, 3, np.full((4, 32), 9, np.uint16))
    assert engine.run().reason == "halt"
    expected = np.array([[1 + 50 * r + c for c in range(5)] for r in range(4)], np.uint16)
    pad = engine.read_pad(3, 3, 4)
    assert np.array_equal(pad[:, :5], expected)
    assert (pad[:, 5:] == 9).all()
    assert np.array_equal(np.frombuffer(engine.read_dram(0x8000, 40), np.uint16).reshape(4, 5), expected)
    assert (engine.counters.dram_bytes_loaded, engine.counters.dram_bytes_stored) == (40, 40)


def test_dram_costs_nothing_where_it_is_not_used():
    engine = ReferenceEngine()
    engine.write_dram(4 * GIB - 4, b"abcd")
    assert engine.read_dram(4 * GIB - 8, 8) == b"\0\0\0\0abcd"
    assert engine.read_dram(2 * GIB, 1 << 20) == bytes(1 << 20)
    with pytest.raises(
        BadInputError, match="^dram bytes 0xFFFFFFFE..0x100000002 are outside the 4294967296 bytes of dram$"
    ):
        engine.write_dram(4 * GIB - 2, b"abcd")


LOOP: tuple[list[Slot], ...] = ([("addi.s", 2, 0, 4)], [("addi.s", 3, 3, 10)], [("blt.s", 1, 2, -20, 1)], HALT)


def test_breakpoints_stop_before_their_packet_and_are_stepped_over():
    engine = engine_for(*LOOP)
    stops = []
    while (result := engine.run(breakpoints=frozenset({20}))).reason == "breakpoint":
        stops.append((result.pc, engine.read_scalar(3)))
    assert result.reason == "halt"
    assert stops == [(20, 0), (20, 10), (20, 20), (20, 30), (20, 40)]
    assert engine.counters.packets == 1 + 2 * 5 + 1


def test_a_breakpoint_at_the_first_packet_stops_at_once():
    engine = engine_for(*LOOP)
    assert engine.run(breakpoints=frozenset({0})).reason == "breakpoint"
    assert engine.counters.packets == 0
    assert engine.run(breakpoints=frozenset({0})).reason == "halt"


def test_the_step_limit_is_a_trap_that_can_be_continued():
    engine = engine_for(*LOOP)
    result = engine.run(max_packets=3)
    assert result.reason == "limit"
    assert result.trap is not None
    assert str(result.trap) == "pc 0x14: stopped after the limit of 3 packets"
    assert engine.run().reason == "halt"


def test_snapshots_bring_everything_back():
    engine = engine_for(*LOOP)
    engine.write_dram(0x5000, b"before")
    engine.write_pad(1, 7, np.full((1, 32), 5, np.uint16))
    engine.run(max_packets=4)
    saved = engine.snapshot()
    first = (engine.run(), engine.counters, engine.read_scalar(3))
    engine.write_dram(0x5000, b"after!")
    engine.write_dram(0x99000, b"other")
    engine.write_pad(1, 7, np.zeros((1, 32), np.uint16))
    engine.restore(saved)
    assert engine.read_dram(0x5000, 6) == b"before"
    assert engine.read_dram(0x99000, 5) == bytes(5)
    assert (engine.read_pad(1, 7, 1) == 5).all()
    assert (engine.run(), engine.counters, engine.read_scalar(3)) == first


def test_reset_keeps_dram_and_code():
    engine = engine_for(*LOOP)
    engine.write_dram(0x100, b"kept")
    engine.run(timing=True)
    engine.reset()
    assert engine.read_dram(0x100, 4) == b"kept"
    assert engine.counters.packets == engine.counters.cycles == engine.read_scalar(3) == 0
    assert engine.read_register(M, 0) == 0xFFFFFFFF
    assert engine.run().reason == "halt"


def test_counters():
    engine = engine_for(
        [("vreg.ld", 1, 0, 0, 31, 0), ("gemm.vv", 2, 3, 0, 0), ("add.vv", 4, 5, 6, 1)],
        [("nop.s",)],
        [("sw.s", 1, 0, 0), ("mul.s", 5, 6, 7)],
        HALT,
    )
    assert engine.run().reason == "halt"
    counters = engine.counters
    assert (counters.packets, counters.instructions, counters.slot_histogram) == (4, 6, [1, 1, 1, 1, 0])
    assert counters.units[Unit.VLSU] == counters.units[Unit.GSAU] == counters.units[Unit.EX5] == 1
    assert (counters.gemm_rows, counters.dram_bytes_stored) == (1, 4)


def test_code_that_is_loaded_again_replaces_and_keeps_the_counts():
    engine = engine_for([("addi.s", 1, 0, 1)], HALT)
    engine.run()
    engine.load_code(0, program([("addi.s", 1, 0, 2)]))
    engine.set_pc(0)
    engine.run()
    assert engine.read_scalar(1) == 2
    assert engine.counters.packets == 4


@pytest.mark.parametrize(("base", "size"), [(10, 20), (0, 19), (-20, 20)])
def test_code_must_be_whole_packets(base, size):
    with pytest.raises(BadInputError):
        ReferenceEngine().load_code(base, bytes(size))


def test_data_passed_between_scalar_stores_and_dma_is_reported():
    shape = DmaShape(0, 2, 4, 8).encode()
    engine = engine_for([("sw.s", 1, 0x10, 2)], [("scpad.ld", 4, 2, 3)], HALT, x2=0x1000, x3=shape)
    engine.run()
    (lint,) = engine.lints
    assert (lint.kind, lint.pc) == ("scalar store to scpad.ld", 20)
    beside = engine_for([("sw.s", 1, 0x8, 2)], [("scpad.ld", 4, 2, 3)], HALT, x2=0x1000, x3=shape)
    beside.run()
    assert beside.lints == ()


def test_data_passed_between_dma_stores_and_scalar_loads_is_reported_within_a_launch_only():
    shape = DmaShape(0, 2, 4, 8).encode()
    engine = engine_for([("scpad.st", 4, 2, 3)], [("lhw.s", 1, 0x12, 2)], HALT, x2=0x1000, x3=shape)
    engine.run()
    assert [lint.kind for lint in engine.lints] == ["scpad.st to scalar load"]
    split = engine_for([("scpad.st", 4, 2, 3)], HALT, [("lhw.s", 1, 0x12, 2)], HALT, x2=0x1000, x3=shape)
    split.run()
    split.set_pc(40)
    split.run()
    assert split.lints == ()


def test_unknown_engines_are_refused_with_the_names():
    with pytest.raises(BadInputError, match="^no engine 'fast'; there are auto, reference, native, legacy-fs$"):
        create_engine("fast")
