"""The numerics contract (machine reference 4.3), each rule against an independent formulation."""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from atalla_mlir.sim import numerics
from atalla_mlir.sim.numerics import from_bf16, round_to_bf16
from atalla_mlir.sim.reference import ReferenceEngine
from atalla_mlir.target.machine import AX01, ReduceMode
from atalla_mlir.target.registers import RegisterFile
from atalla_mlir.testing.programs import program

ALL = np.arange(1 << 16, dtype=np.uint16)
NAN = (ALL & 0x7FFF) > 0x7F80
SPECIAL = np.array(
    [
        0x0000,
        0x8000,
        0x3F80,
        0xBF80,
        0x7F80,
        0xFF80,
        0x7FC0,
        0xFFC0,
        0x7F81,
        0xFFFF,
        0x0001,
        0x8001,
        0x7F7F,
        0xFF7F,
        0x0080,
    ],
    np.uint16,
)


def float32_patterns(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 32, count, dtype=np.uint64).astype(np.uint32)


def test_rounding_agrees_with_ml_dtypes_and_keeps_nan_signs():
    bits = np.concatenate(
        [float32_patterns(200_000, 1), np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFF800001], np.uint32)]
    )
    with np.errstate(invalid="ignore"):
        expected = bits.view(np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)
    assert np.array_equal(round_to_bf16(bits.view(np.float32)), expected)


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        (1.00390625, 0x3F80),  # a tie between two patterns goes to the even one
        (1.01171875, 0x3F82),
        (3.3961775e38, 0x7F80),  # the tie above the largest finite value overflows
        (3.3961774e38, 0x7F7F),
        (1e-45, 0x0000),
        (2.0**-134, 0x0000),  # half of the smallest subnormal is a tie to zero
        (4.6e-41, 0x0001),
        (-0.0, 0x8000),
    ],
)
def test_rounding_at_the_edges(value, pattern):
    assert int(round_to_bf16([value])[0]) == pattern


def test_widening_is_exact():
    again = round_to_bf16(from_bf16(ALL))
    assert np.array_equal(again[~NAN], ALL[~NAN])


def test_exp_inputs_keep_clear_of_rounding_boundaries():
    """float64 exp is good to one unit in 2^52; no result is nearer than 2^-40 to a BF16 rounding boundary."""
    with np.errstate(all="ignore"):
        values = np.exp(from_bf16(ALL[~NAN]).astype(np.float64))
    values = values[np.isfinite(values) & (values > 0) & (values != 1.0)]
    spacing = np.ldexp(1.0, np.maximum(np.frexp(values)[1] - 1, -126) - 7)
    steps = values / spacing
    with np.errstate(over="ignore"):
        clearance = np.abs(steps - np.floor(steps) - 0.5) / steps
    assert clearance.min() > 2.0**-40


def test_exp_table_against_exact_arithmetic():
    """Partial sums of the series in exact fractions, rounded by hand."""

    def exact_exp(x: Fraction) -> Fraction:
        total, term, n = Fraction(0), Fraction(1), 0
        while term and abs(term) > Fraction(1, 10**40):
            total, n = total + term, n + 1
            term = term * x / n
        return total

    rng = np.random.default_rng(2)
    patterns = [p for p in rng.integers(0, 1 << 16, 4000).tolist() if 0x3000 < (p & 0x7FFF) < 0x4120][:60]
    table = numerics.exp_table()
    for pattern in patterns:
        exact = exact_exp(Fraction(float(from_bf16([pattern])[0])))
        got = Fraction(float(np.uint32(table[pattern]).view(np.float32)))
        step = Fraction(2) ** (int(np.frexp(float(exact))[1]) - 8)
        assert abs(exact - got) <= step / 2


def test_exp_of_special_values():
    table = (numerics.exp_table() >> np.uint32(16)).astype(np.uint16)
    assert table[0x0000] == table[0x8000] == 0x3F80
    assert table[0x7F80] == 0x7F80
    assert table[0xFF80] == 0
    assert table[0x7F81] == 0x7FC0
    assert table[0xFFFF] == 0xFFC0


def loop_tree(terms: np.ndarray) -> np.float32:
    level = [np.float32(t) for t in terms]
    while len(level) > 1:
        level = [np.float32(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


def test_gemm_is_the_adjacent_pair_tree_in_float32():
    rng = np.random.default_rng(3)
    activation = from_bf16(round_to_bf16(rng.standard_normal(32)))
    weights = from_bf16(round_to_bf16(rng.standard_normal((32, 32))))
    expected = [loop_tree(activation * weights[:, j]) for j in range(32)]
    assert np.array_equal(numerics.gemm(activation, weights) >> 16, round_to_bf16(expected))


@pytest.mark.parametrize("mode", list(ReduceMode))
def test_sum_modes(mode):
    terms = from_bf16(round_to_bf16(np.random.default_rng(4).standard_normal(32) * 100))
    level = terms
    while len(level) > 1:
        level = level[0::2] + level[1::2]
        if mode is ReduceMode.TREE16:
            level = from_bf16(round_to_bf16(level))
    assert numerics.reduce_sum(terms, mode) >> 16 == int(round_to_bf16(level)[0])


@pytest.mark.parametrize("largest", [False, True])
def test_extremes_ignore_nan_and_keep_the_first_of_equal_lanes(largest):
    terms = np.array([0x7FC0, 0x8000, 0x0000, 0x7FC0], np.uint32) << np.uint32(16)
    active = np.ones(4, bool)
    assert numerics.reduce_extreme(terms, active, largest=largest) == 0x80000000
    nothing = numerics.reduce_extreme(terms, np.array([True, False, False, True]), largest=largest)
    assert nothing == (0xFF800000 if largest else 0x7F800000)


def test_integers_round_once():
    cases = {0: 0, 257: 0x4380, 258: 0x4381, 259: 0x4382, 0x01010001: 0x4B81, 0x7FFFFFFF: 0x4F00, 0x80000000: 0xCF00}
    for value, pattern in cases.items():
        assert numerics.integer_to_bf16(value) >> 16 == pattern, hex(value)


def lanes_of(op: str, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    engine = ReferenceEngine()
    engine.write_register(RegisterFile.VECTOR, 1, left)
    engine.write_register(RegisterFile.VECTOR, 2, right)
    engine.load_code(0, program([(op, 3, 1, 2, 0)], [("halt.s",)]))
    assert engine.run().reason == "halt"
    return engine.read_vector(3)


@pytest.mark.parametrize("op", ["add.vv", "sub.vv", "mul.vv"])
def test_lane_arithmetic_on_special_values(op):
    """Every pair of special values, in blocks of 32: rounded float32 results, and the defined NaN signs."""
    pairs = np.array([(a, b) for a in SPECIAL for b in SPECIAL], np.uint16)
    pairs = np.concatenate([pairs, np.zeros((-len(pairs) % 32, 2), np.uint16)])
    numpy_op = {"add.vv": np.add, "sub.vv": np.subtract, "mul.vv": np.multiply}[op]
    for block in pairs.reshape(-1, 32, 2):
        left, right = block[:, 0].copy(), block[:, 1].copy()
        with np.errstate(all="ignore"):
            exact = numpy_op(from_bf16(left), from_bf16(right))
        got = lanes_of(op, left, right)
        for a, b, value, pattern in zip(left.tolist(), right.tolist(), exact, got.tolist(), strict=True):
            if np.isnan(value):
                nans = [p for p in (a, b) if p & 0x7FFF > 0x7F80]
                assert pattern == (((nans[0] & 0x8000) | 0x7FC0) if nans else 0xFFC0)
            else:
                assert pattern == int(round_to_bf16([value])[0])


def test_the_engines_gemm_equals_the_definition_also_with_infinities_and_nan():
    rng = np.random.default_rng(5)
    engine = ReferenceEngine()
    engine.load_code(
        0, program(*[[("lw.vi", 0, 1 + n, 0, 0)] for n in range(32)], [("gemm.vv", 41, 40, 0, 0)], [("halt.s",)])
    )
    for trial in range(20):
        patterns = rng.integers(0, 1 << 16, (33, 32)).astype(np.uint16)
        if trial % 2:
            patterns = round_to_bf16(from_bf16(patterns & 0xBFFF | 0x3800) % 8)
        engine.reset()
        for n in range(32):
            engine.write_register(RegisterFile.VECTOR, 1 + n, patterns[n])
        engine.write_register(RegisterFile.VECTOR, 40, patterns[32])
        engine.run()
        weights = from_bf16(patterns[:32][::-1]).T
        expected = numerics.gemm(from_bf16(patterns[32]), weights) >> np.uint32(16)
        assert np.array_equal(engine.read_vector(41), expected)


def test_more_pushes_than_the_window_holds():
    lanes = 32
    engine = ReferenceEngine()
    engine.load_code(
        0,
        program(
            [("lw.vi", 0, 1, 0, 0), ("addi.s", 1, 1, 1)],
            [("blt.s", 1, 2, -20, 0)],
            [("gemm.vv", 3, 4, 0, 0)],
            [("halt.s",)],
        ),
    )
    engine.write_register(RegisterFile.VECTOR, 1, round_to_bf16(np.eye(lanes)[0]))
    engine.write_register(RegisterFile.VECTOR, 4, round_to_bf16(np.eye(lanes)[0] * 2))
    engine.write_register(RegisterFile.SCALAR, 2, 2500)
    assert engine.run().reason == "halt"
    assert from_bf16(engine.read_vector(3)).tolist() == [2.0] * lanes


@pytest.mark.parametrize("lanes", [8, 16])
def test_machines_with_fewer_lanes(lanes):
    machine = AX01.with_options(vector_lanes=lanes, physical_lanes=lanes // 2, pad_rows=64)
    engine = ReferenceEngine(machine)
    rng = np.random.default_rng(6)
    rows = round_to_bf16(rng.standard_normal((lanes + 1, lanes)))
    pushes = [[("lw.vi", 0, 1 + n, 0, 0)] for n in range(lanes)]
    code = [
        *pushes,
        [("gemm.vv", 41, 40, 0, 0)],
        [("rsum.vi", 42, 40, 0x40, 0)],
        [("vreg.st", 41, 50, 51, lanes - 1, 1)],
    ]
    engine.load_code(0, program(*code, [("halt.s",)]))
    for n in range(lanes):
        engine.write_register(RegisterFile.VECTOR, 1 + n, rows[n])
    engine.write_register(RegisterFile.VECTOR, 40, rows[lanes])
    engine.write_register(RegisterFile.SCALAR, 50, 5 * machine.row_bytes)
    assert engine.run(timing=True).reason == "halt"
    expected = numerics.gemm(from_bf16(rows[lanes]), from_bf16(rows[:lanes][::-1]).T) >> np.uint32(16)
    assert np.array_equal(engine.read_pad(1, 5, 1)[0], expected)
    total = numerics.reduce_sum(from_bf16(rows[lanes]), ReduceMode.TREE32) >> 16
    assert engine.read_vector(42).tolist() == [total] * lanes
