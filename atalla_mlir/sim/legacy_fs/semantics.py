"""What the emulator does for vector, mask and scratchpad instructions, and the table of all 77.

Slots run one after the other, each seeing the writes of the ones before it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from atalla_mlir.sim.legacy_fs.scalar import SCALAR, Semantics, emulator_error
from atalla_mlir.sim.legacy_fs.state import (
    LANES,
    PAD_ROWS,
    PADS,
    Floats,
    LegacyState,
    bits_of,
    float_of,
    lanes_of,
    mask_of,
    rounded,
    truncated,
)
from atalla_mlir.target.encoding import DmaShape

ROW_BYTES = 64
# Routing of row accesses to memory by address (machine reference 2.10).
FRAME_REGISTER = 33
FRAME_BYTES = 768
FIRST_MEMORY_ADDRESS = 0x1000


def _lanes(operation: Callable[[Floats, Floats], Floats], *, scalar: bool) -> Semantics:
    """Inactive lanes keep their float32."""

    def run(s: LegacyState, _pc: int, vd: int, vs1: int, other: int, mask: int) -> None:
        right = np.full(LANES, float_of(s.x[other]), np.float32) if scalar else s.v[other]
        result = rounded(operation(rounded(s.v[vs1]), rounded(right)))
        s.write_vector(vd, np.where(lanes_of(s.m[mask]), result, s.v[vd]))

    return run


def _exp(s: LegacyState, _pc: int, vd: int, vs1: int, _imm: int, mask: int) -> None:
    s.write_vector(vd, np.where(lanes_of(s.m[mask]), rounded(np.exp(rounded(s.v[vs1]))), s.v[vd]))


def _sum(values: Floats) -> np.float32:
    total = np.float32(0.0)
    for value in values:
        total = total + value
    return np.float32(total)


def _minimum(values: Floats) -> np.float32:
    return np.float32(np.fmin.reduce(values, initial=np.inf))


def _maximum(values: Floats) -> np.float32:
    return np.float32(np.fmax.reduce(values, initial=-np.inf))


def _reduction(reduce: Callable[[Floats], np.float32]) -> Semantics:
    def run(s: LegacyState, _pc: int, vd: int, vs1: int, imm: int, mask: int) -> None:
        result = reduce(rounded(s.v[vs1])[lanes_of(s.m[mask])])
        target = np.zeros(LANES, np.float32) if imm & 0x60 else s.v[vs1].copy()
        if imm & 0x40:
            target[:] = result
        else:
            target[imm & 0x1F] = result
        s.write_vector(vd, target)

    return run


def _compare(operation: Callable[[Floats, Floats], npt.NDArray[np.bool_]], *, scalar: bool) -> Semantics:
    """On the raw float32; inactive lane i keeps the old bit 31 - i."""

    def run(s: LegacyState, _pc: int, vmd: int, vs1: int, other: int, mask: int) -> None:
        right = np.full(LANES, float_of(s.x[other]), np.float32) if scalar else s.v[other]
        old = lanes_of(s.m[vmd])[::-1]
        s.m[vmd] = mask_of(np.where(lanes_of(s.m[mask]), operation(s.v[vs1], right), old))

    return run


def _gemm(s: LegacyState, _pc: int, vd: int, vs1: int, vs2: int, _mask: int) -> None:
    """The host's float32 product, rounded, plus vs2 in float32; the mask is ignored."""
    product = rounded(s.v[vs1]) @ rounded(s.weights)
    s.write_vector(vd, rounded(product) + s.v[vs2])


def _push_weights(s: LegacyState, _pc: int, _vd: int, vs1: int, _imm: int, _mask: int) -> None:
    """The first 32 pushes fill columns left to right, later ones shift right and go into column 0."""
    if s.pushes < LANES:
        s.weights[:, s.pushes] = s.v[vs1]
        s.pushes += 1
        return
    s.weights[:, 1:] = s.weights[:, :-1].copy()
    s.weights[:, 0] = s.v[vs1]


def _is_memory_address(s: LegacyState, address: int) -> bool:
    frame = s.x[FRAME_REGISTER]
    in_frame = frame >= FIRST_MEMORY_ADDRESS and frame - FRAME_BYTES <= address <= frame
    return in_frame or address >= FIRST_MEMORY_ADDRESS


def _pad_row(s: LegacyState, rs1: int, rs2: int, sid: int) -> Floats:
    if sid >= PADS:
        raise emulator_error(f"scratchpad {sid}")
    return s.pads[sid, ((s.x[rs1] // ROW_BYTES) + s.x[rs2]) % PAD_ROWS]


def _load_row(s: LegacyState, _pc: int, vd: int, rs1: int, rs2: int, num_cols: int, sid: int) -> None:
    cols = num_cols + 1
    values = np.zeros(LANES, np.float32)
    if _is_memory_address(s, s.x[rs1]):
        halves = np.array([s.read_half(s.x[rs1] + 2 * i) for i in range(cols)], np.uint32)
        values[:cols] = (halves << np.uint32(16)).view(np.float32)
    else:
        values[:cols] = _pad_row(s, rs1, rs2, sid)[:cols]
    s.write_vector(vd, values)


def _store_row(s: LegacyState, _pc: int, vd: int, rs1: int, rs2: int, num_cols: int, sid: int) -> None:
    values = s.v[vd, : num_cols + 1]
    if _is_memory_address(s, s.x[rs1]):
        for i, half in enumerate(truncated(values).tolist()):
            s.write_half(s.x[rs1] + 2 * i, half)
    else:
        _pad_row(s, rs1, rs2, sid)[: num_cols + 1] = values


def _transfer(s: LegacyState, rs1: int, rs2: int, rs3: int) -> tuple[DmaShape, int, int] | None:
    """Shape, first row and address; None for a pad that the emulator does not have (it ignores those)."""
    shape = DmaShape.decode(s.x[rs3])
    if shape.pad >= PADS:
        return None
    if shape.pitch < shape.cols:
        raise emulator_error(f"pitch {shape.pitch} is less than the {shape.cols} columns")
    return shape, s.x[rs1] // ROW_BYTES, s.x[rs2]


def _load_tile(s: LegacyState, _pc: int, rs1: int, rs2: int, rs3: int) -> None:
    if (transfer := _transfer(s, rs1, rs2, rs3)) is None:
        return
    shape, first, address = transfer
    for row in range(shape.rows):
        start = address + 2 * row * shape.pitch
        halves = np.array([s.read_half(start + 2 * col) for col in range(shape.cols)], np.uint32)
        s.pads[shape.pad, (first + row) % PAD_ROWS, : shape.cols] = (halves << np.uint32(16)).view(np.float32)


def _store_tile(s: LegacyState, _pc: int, rs1: int, rs2: int, rs3: int) -> None:
    if (transfer := _transfer(s, rs1, rs2, rs3)) is None:
        return
    shape, first, address = transfer
    for row in range(shape.rows):
        start = address + 2 * row * shape.pitch
        values = truncated(s.pads[shape.pad, (first + row) % PAD_ROWS, : shape.cols]).tolist()
        for col, half in enumerate(values):
            s.write_half(start + 2 * col, half)


def _lane_to_scalar(s: LegacyState, _pc: int, rd: int, vs1: int, imm: int) -> None:
    s.write_scalar(rd, bits_of(s.v[vs1, imm]))


def _mask_to_scalar(s: LegacyState, _pc: int, rd: int, vms: int) -> None:
    s.write_scalar(rd, s.m[vms])


def _scalar_to_mask(s: LegacyState, _pc: int, vmd: int, rs1: int) -> None:
    s.m[vmd] = s.x[rs1]


_COMPARES = {"mgt": np.greater, "mlt": np.less, "meq": np.equal, "mneq": np.not_equal}
_LANES = {"add": np.add, "sub": np.subtract, "mul": np.multiply}

SEMANTICS: dict[str, Semantics] = {
    **SCALAR,
    **{f"{name}.vv": _lanes(op, scalar=False) for name, op in _LANES.items()},
    **{f"{name}.vs": _lanes(op, scalar=True) for name, op in _LANES.items()},
    "gemm.vv": _gemm,
    "expi.vi": _exp,
    "lw.vi": _push_weights,
    "rsum.vi": _reduction(_sum),
    "rmin.vi": _reduction(_minimum),
    "rmax.vi": _reduction(_maximum),
    **{f"{name}.mvv": _compare(op, scalar=False) for name, op in _COMPARES.items()},
    **{f"{name}.mvs": _compare(op, scalar=True) for name, op in _COMPARES.items()},
    "vreg.ld": _load_row,
    "vreg.st": _store_row,
    "scpad.ld": _load_tile,
    "scpad.st": _store_tile,
    "vmov.vts": _lane_to_scalar,
    "mv.mts": _mask_to_scalar,
    "mv.stm": _scalar_to_mask,
}
"""The 77 instructions of the emulator; it knows neither `tpop.vi` nor `tpus.vi`."""
