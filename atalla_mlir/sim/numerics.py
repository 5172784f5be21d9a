"""The numerics contract of the Ax01 (machine reference 4.3) on arrays of bit patterns.

A BF16 value in flight is a 32-bit pattern whose upper half is the BF16 pattern and whose lower half is zero, in a
`uint32` array; its `float32` view is the exact value. Every operation is one IEEE float32 operation (or the tree that
the contract names) followed by `round_bits`.

NaN signs, which IEEE 754 leaves open, are defined so that every engine gives the same bits: an operation with NaN
operands gives the sign of the first of them in operand order, one that creates a NaN from numbers gives the negative
NaN (0xFFC0); in a tree the left neighbour is the first operand. Rounding keeps the sign and writes the payload 0x7FC0.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from atalla_mlir.target.machine import ReduceMode

Bits = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]

_HALF = np.uint32(0x7FFF)
_ONE = np.uint32(1)
_SIXTEEN = np.uint32(16)
_UPPER = np.uint32(0xFFFF0000)
_SIGN = np.uint32(0x80000000)
_MAGNITUDE = np.uint32(0x7FFFFFFF)
_INFINITY = np.uint32(0x7F800000)
_QUIET = np.uint32(0x7FC00000)
_CREATED_NAN = np.uint32(0xFFC00000)

NAN_BITS = 0xFFC00000
INFINITY_BITS = 0x7F800000
NEGATIVE_INFINITY_BITS = 0xFF800000


def is_nan_bits(bits: Bits) -> npt.NDArray[np.bool_]:
    return (bits & _MAGNITUDE) > _INFINITY


def round_bits(bits: Bits) -> Bits:
    """`bf()` of 4.3 on float32 patterns: nearest even to 8 significant bits, patterns with a zero lower half."""
    rounded = (bits + _HALF + ((bits >> _SIXTEEN) & _ONE)) & _UPPER
    nan = is_nan_bits(bits)
    return np.where(nan, (bits & _SIGN) | _QUIET, rounded) if nan.any() else rounded


def round_to_bf16(values: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """BF16 patterns of float32 values (4.3 rule 8, the host conversion)."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return (round_bits(bits) >> _SIXTEEN).astype(np.uint16)


def from_bf16(patterns: npt.ArrayLike) -> Floats:
    """The exact float32 values of BF16 patterns."""
    return (np.asarray(patterns, dtype=np.uint16).astype(np.uint32) << _SIXTEEN).view(np.float32)


def fix_nans(result: Floats, left: Floats, right: Floats) -> None:
    """Give the NaNs of `result = left op right` the sign of the contract, in place."""
    bits, a, b = result.view(np.uint32), left.view(np.uint32), right.view(np.uint32)
    nan = is_nan_bits(bits)
    first = np.where(is_nan_bits(a), a, np.where(is_nan_bits(b), b, _CREATED_NAN))
    bits[nan] = ((first & _SIGN) | _QUIET)[nan]


def add(left: Floats, right: Floats) -> Floats:
    """One float32 addition with defined NaNs; overflow is infinity, as IEEE says."""
    with np.errstate(all="ignore"):
        total = left + right
    if np.isnan(total).any():
        fix_nans(total, *np.broadcast_arrays(left, right))
    return total


def multiply(left: Floats, right: Floats) -> Floats:
    """One float32 multiplication with defined NaNs."""
    with np.errstate(all="ignore"):
        product = left * right
    if np.isnan(product).any():
        fix_nans(product, *np.broadcast_arrays(left, right))
    return product


def subtract(left: Floats, right: Floats) -> Floats:
    """One float32 subtraction with defined NaNs."""
    with np.errstate(all="ignore"):
        difference = left - right
    if np.isnan(difference).any():
        fix_nans(difference, *np.broadcast_arrays(left, right))
    return difference


def tree_sum(terms: Floats) -> Floats:
    """Sum over axis 0 by float32 additions of adjacent pairs, level by level (4.3 rules 4 and 5)."""
    while len(terms) > 1:
        terms = add(terms[0::2], terms[1::2])
    return terms[0]


def gemm(activation: Floats, weights: Floats) -> Bits:
    """`bf(sum over k of activation[k] * weights[k, j])` for each j."""
    return round_bits(tree_sum(multiply(activation[:, None], weights)).view(np.uint32))


def reduce_sum(terms: Floats, mode: ReduceMode) -> int:
    """`rsum.vi` of already masked terms as a 32-bit pattern; `tree16` rounds every level to BF16 (4.6)."""
    if mode is ReduceMode.TREE32:
        return int(round_bits(tree_sum(terms[:, None]).view(np.uint32))[0])
    while len(terms) > 1:
        terms = round_bits(add(terms[0::2], terms[1::2]).view(np.uint32)).view(np.float32)
    return int(terms.view(np.uint32)[0])


def reduce_extreme(terms: Bits, active: npt.NDArray[np.bool_], *, largest: bool) -> int:
    """`rmin.vi` / `rmax.vi`: the first lane that no other active lane beats; NaN lanes take no part."""
    identity = NEGATIVE_INFINITY_BITS if largest else INFINITY_BITS
    candidates = np.where(active & ~is_nan_bits(terms), terms, np.uint32(identity))
    values = candidates.view(np.float32)
    return int(candidates[values.argmax() if largest else values.argmin()])


@cache
def exp_table() -> npt.NDArray[np.uint32]:
    """The correctly rounded BF16 of e^x as a 32-bit pattern, for every BF16 pattern x (4.3 rule 3).

    float64 `exp` is off by less than an ulp, so rounding it to BF16 can only go wrong next to a rounding boundary;
    `test_sim_numerics.py` shows with exact arithmetic that no input comes near enough.
    """
    patterns = np.arange(1 << 16, dtype=np.uint32) << _SIXTEEN
    with np.errstate(all="ignore"):
        values = np.exp(patterns.view(np.float32).astype(np.float64))
    table = _round_double(values)
    nan = is_nan_bits(patterns)
    table[nan] = (patterns[nan] & _SIGN) | _QUIET
    table.setflags(write=False)
    return table


def _round_double(values: npt.NDArray[np.float64]) -> Bits:
    """Non-negative float64 values rounded once to BF16, nearest even, as 32-bit patterns.

    A detour over float32 would round twice. The spacing of BF16 at a value with exponent e is 2^(e - 7), not below
    2^-133, the smallest subnormal.
    """
    with np.errstate(all="ignore"):
        exponents = np.maximum(np.frexp(values)[1] - 1, -126)
        spacing = np.ldexp(1.0, exponents - 7)
        rounded = np.where(np.isfinite(values), np.rint(values / spacing) * spacing, values)
        return rounded.astype(np.float32).view(np.uint32)


def bf16_to_integer(bits: int) -> int:
    """`bfts.s`: truncation toward zero, saturating; NaN gives 0x7FFFFFFF. The result is a 32-bit pattern."""
    pattern = bits & 0xFFFF0000
    if pattern & 0x7FFFFFFF > INFINITY_BITS:
        return 0x7FFFFFFF
    value = float(np.uint32(pattern).view(np.float32))
    if value >= 2147483648.0:
        return 0x7FFFFFFF
    if value < -2147483648.0:
        return 0x80000000
    return int(value) & 0xFFFFFFFF


def integer_to_bf16(value: int) -> int:
    """`stbf.s`: a signed 32-bit integer rounded once to BF16, nearest even, as a 32-bit pattern."""
    signed = value - (1 << 32) if value & 0x80000000 else value
    magnitude = abs(signed)
    drop = max(magnitude.bit_length() - 8, 0)
    kept, rest = magnitude >> drop, magnitude & ((1 << drop) - 1)
    half = (1 << drop) >> 1
    if drop and (rest > half or (rest == half and kept & 1)):
        kept += 1
    bits = int(np.float32(kept << drop).view(np.uint32))
    return bits | (0x80000000 if signed < 0 else 0)
