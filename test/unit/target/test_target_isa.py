"""The instruction table against the tables of the machine reference, typed again (2, 3, 5.2)."""

from __future__ import annotations

import pytest

from atalla_mlir.target import isa
from atalla_mlir.target.encoding import DmaShape
from atalla_mlir.target.isa import BY_MNEMONIC, Format, Unit
from atalla_mlir.target.registers import RegisterFile

FORMATS = {
    Format.R: {*range(1, 22), 49, 50},
    Format.I: {*range(22, 35), 46},
    Format.BR: {*range(35, 41)},
    Format.M: {*range(41, 45)},
    Format.MI: {45, 47, 48},
    Format.VV: {*range(51, 55)},
    Format.VI: {*range(55, 60), 78, 79},
    Format.VMV: {*range(60, 64)},
    Format.VMS: {*range(64, 68)},
    Format.VM: {68, 69},
    Format.SDMA: {70, 71},
    Format.VTS: {72},
    Format.MTS: {73},
    Format.STM: {74},
    Format.VS: {75, 76, 77},
}
UNITS = {
    Unit.EX1: {1, 2, *range(6, 14), 22, 23, *range(27, 41), 45, 46, 48},
    Unit.EX2: {4, 5, 14, 18, 20, 21, 25, 26, 74},
    Unit.EX3: {15, 16, 17, 19},
    Unit.EX4: {3, 24},
    Unit.EX5: {41, 42, 43, 44},
    Unit.LANE_ALU: {51, 52, 75, 76, *range(60, 68)},
    Unit.LANE_MUL: {53, 77},
    Unit.LANE_EXP: {55},
    Unit.REDUCTION: {57, 58, 59},
    Unit.GSAU: {54, 56},
    Unit.MTS: {72, 73},
    Unit.VLSU: {68, 69},
    Unit.SDMA: {70, 71},
    Unit.TRANSPOSE: {78, 79},
    Unit.NONE: {47, 49, 50},
}
# Scalar, vector and mask reads of one instruction of each row of the table in 5.2.
PORTS = {
    "add.s rcp.bf sqrt.bf stbf.s bfts.s": ((2, 0, 0), (1, 0, 0), (1, 0, 0), (1, 0, 0), (1, 0, 0)),
    "addi.s lw.s lhw.s jalr mv.stm": ((1, 0, 0),) * 5,
    "sw.s shw.s beq.s ble.s": ((2, 0, 0),) * 4,
    "lui.s jal nop.s halt.s": ((0, 0, 0),) * 4,
    "add.vv mgt.mvv add.vs mgt.mvs": ((0, 2, 1), (0, 2, 1), (1, 1, 1), (1, 1, 1)),
    "expi.vi rsum.vi rmin.vi rmax.vi": ((0, 1, 1),) * 4,
    "gemm.vv lw.vi": ((0, 1, 0), (0, 1, 1)),
    "vreg.ld vreg.st": ((2, 0, 0), (2, 1, 0)),
    "scpad.ld scpad.st": ((3, 0, 0),) * 2,
    "vmov.vts mv.mts": ((0, 1, 0), (0, 0, 1)),
    "tpus.vi tpop.vi": ((0, 1, 0), (0, 0, 0)),
}


def test_formats() -> None:
    table = {form: {row.opcode for row in isa.INSTRUCTIONS if row.format is form} for form in Format}
    assert table == FORMATS


def test_units() -> None:
    assert {unit: {row.opcode for row in isa.INSTRUCTIONS if row.unit is unit} for unit in Unit} == UNITS


@pytest.mark.parametrize("names", PORTS)
def test_read_ports(names: str) -> None:
    counts = tuple(tuple(BY_MNEMONIC[name].port_count(file) for file in RegisterFile) for name in names.split())
    assert counts == PORTS[names]


def test_what_is_written() -> None:
    nothing = {"sw.s", "shw.s", "nop.s", "halt.s", "vreg.st", "lw.vi", "tpus.vi"}
    assert {row.mnemonic for row in isa.INSTRUCTIONS if not row.writes} == nothing
    both = {"beq.s", "bne.s", "blt.s", "bge.s", "bgt.s", "ble.s", "scpad.ld", "scpad.st"}
    read_and_written = {row.mnemonic for row in isa.INSTRUCTIONS if set(row.reads) & set(row.writes)}
    assert read_and_written == both


def test_what_merges() -> None:
    lane_operations = {row.mnemonic for row in isa.INSTRUCTIONS if row.unit in isa.LANE_UNITS}
    assert {row.mnemonic for row in isa.INSTRUCTIONS if row.merges} == lane_operations - {
        "rsum.vi",
        "rmin.vi",
        "rmax.vi",
    }


def test_dma_shapes() -> None:
    assert DmaShape(pad=2, rows=32, cols=5, pitch=100).encode() == 2 << 30 | 31 << 25 | 4 << 20 | 99
    assert DmaShape(pad=0, rows=1, cols=1, pitch=1).encode() == 0
    for shape in (DmaShape(3, 7, 32, 32), DmaShape(0, 1, 2, 1 << 20), DmaShape(1, 32, 1, 2)):
        assert DmaShape.decode(shape.encode()) == shape
    with pytest.raises(ValueError, match=r"^dma pitch 31 does not fit in 32\.\.1048576$"):
        DmaShape(0, 1, 32, 31).encode()
