"""Packet legality and timing figures against machine reference 5.1 to 5.3 and 6.1."""

from __future__ import annotations

import pytest

from atalla_mlir.mc.decode import decode_packets
from atalla_mlir.mc.parse import assemble
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.packets import SlotContent, bank_conflict_cycles, lane_unit_conflict, packet_violations


def slots(text: str) -> list[SlotContent]:
    (packet,) = decode_packets(assemble(f"{{ {text} }}", check=False).code)
    return [(item.op, item.operands) for item in packet if item is not None and item.op.mnemonic != "nop.s"]


LEGAL = [
    "vreg.ld v1, x4, x1, 31, 0 ; gemm.vv v2, v3, v0, m0 ; add.vv v4, v5, v6, m1",
    "vreg.ld v1, x4, x1, 31, 0 ; vreg.ld v2, x8, x2, 31, 1",
    "add.vv v1, v2, v3, m0 ; mul.vv v4, v5, v6, m1",
    "add.s x1, x2, x3 ; mul.s x4, x5, x6",
    "add.vv v2, v1, v3, m0 ; vreg.ld v1, x4, x1, 31, 0",  # a read, then a write in a higher slot
]
ILLEGAL = {
    "addi.s x1, x0, 5 ; mul.s x2, x1, x1": "slot 1 (mul.s) reads x1, which slot 0 writes",
    "addi.s x1, x0, 5 ; mul.s x1, x2, x3": "slots 0 and 1 (mul.s) both write x1",
    "jal x2, 40 ; addi.s x1, x0, 7": "2 instructions for unit EX1, which takes 1",
    "vreg.ld v1, x4, x1, 31, 0 ; vreg.st v2, x8, x2, 31, 0": "2 instructions for unit VLSU of pad 0, which takes 1",
    "add.vv v1, v2, v3, m0 ; mul.vv v4, v5, v6, m1 ; expi.vi v7, v8, 0, m0": "3 lane operations, at most 2",
    "add.vv v1, v2, v3, m0 ; mul.vv v4, v5, v6, m1 ; lw.vi v0, v7, 0, m1": "3 reads of mask registers, at most 2",
    "vreg.ld v1, x4, x1, 31, 0 ; vreg.ld v2, x8, x2, 31, 1 ; lw.s x9, 0(x3)": "5 reads of scalar registers, at most 4",
    "scpad.ld x1, x2, x3 ; scpad.st x4, x5, x6": "2 instructions for unit SDMA, which takes 1",
}


@pytest.mark.parametrize("text", LEGAL)
def test_legal(text: str) -> None:
    assert packet_violations(slots(text)) == ()


@pytest.mark.parametrize(("text", "reason"), ILLEGAL.items())
def test_illegal(text: str, reason: str) -> None:
    assert reason in packet_violations(slots(text))


def test_register_zero_never_counts_as_a_dependence() -> None:
    assert packet_violations(slots("addi.s x0, x0, 5 ; mul.s x2, x0, x0")) == ()


@pytest.mark.parametrize(
    ("text", "cycles"),
    [
        ("add.vv v1, v16, v17, m2", 0),
        ("add.vv v1, v16, v20, m2", 2),
        ("add.vv v1, v4, v5, m2 ; mul.vv v2, v6, v7, m3", 0),
        ("add.vv v1, v4, v5, m2 ; mul.vv v2, v6, v7, m4", 2),
        ("add.vv v1, v4, v8, m2 ; mul.vv v2, v12, v16, m3", 4),
        ("add.s x1, x0, x0", 2),
    ],
)
def test_bank_conflicts(text: str, cycles: int) -> None:
    assert bank_conflict_cycles(slots(text)) == cycles


def test_lane_units() -> None:
    assert not lane_unit_conflict(slots("add.vv v1, v2, v3, m0 ; mul.vv v4, v5, v6, m1"))
    assert lane_unit_conflict(slots("add.vv v1, v2, v3, m0 ; mgt.mvv m2, v5, v6, m1"))
    assert lane_unit_conflict(slots("rsum.vi v1, v2, 64, m0 ; sub.vv v4, v5, v6, m1"))


DISTANCES = {
    "add.s": (3, 1),
    "lui.s": (3, 1),
    "add.bf": (4, 3),
    "mul.s": (5, 4),
    "stbf.s": (4, 3),
    "rcp.bf": (14, 13),
    "div.s": (69, 68),
    "lw.s": (7, 1),
    "vmov.vts": (3, 1),
    "add.vv": (6, 2),
    "mul.vs": (6, 2),
    "expi.vi": (18, 2),
    "rsum.vi": (21, 2),
    "gemm.vv": (49, 1),
    "vreg.ld": (10, 3),
}


@pytest.mark.parametrize(("mnemonic", "expected"), DISTANCES.items())
def test_distances_and_intervals(mnemonic: str, expected: tuple[int, int]) -> None:
    row = BY_MNEMONIC[mnemonic]
    assert (AX01.distance(row), AX01.interval(row)) == expected
