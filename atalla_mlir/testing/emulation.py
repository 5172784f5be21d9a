"""The machine's arithmetic on whole arrays, written from the numerics contract alone: no code of simulator or verifier.

Tests use it as a device that can be given faults. Arrays are float32 and hold BF16 values.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def bf16(values: npt.ArrayLike) -> Floats:
    """Round to BF16, nearest even, by way of float32."""
    with np.errstate(all="ignore"):
        return np.asarray(values).astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)


def tree(terms: Floats) -> Floats:
    """Adjacent pairs of the 32 terms of the first axis, five float32 levels."""
    assert len(terms) == 32
    for _ in range(5):
        terms = (terms[0::2] + terms[1::2]).astype(np.float32)
    return terms[0]


def gemm(left: Floats, right: Floats, *, block: int, skip: int | None = None) -> Floats:
    """[M, K] x [K, N] in 32-deep slices; `skip` is a slice that a faulty device forgets."""
    depth = left.shape[1]
    slices = []
    for start in range(0, depth, 32):
        a = np.zeros((left.shape[0], 32), np.float32)
        b = np.zeros((32, right.shape[1]), np.float32)
        count = min(32, depth - start)
        a[:, :count], b[:count] = left[:, start : start + count], right[start : start + count]
        products = a.T[:, :, None] * b[:, None, :]
        slices.append(bf16(tree(products.astype(np.float32))))
    if skip is not None:
        del slices[skip]
    return in_blocks(slices, block)


def in_blocks(terms: list[Floats], block: int) -> Floats:
    """Sequential BF16 additions in blocks, the sums of blocks added likewise."""
    sums = []
    for start in range(0, len(terms), block):
        partial = terms[start]
        for term in terms[start + 1 : start + block]:
            partial = bf16(partial + term)
        sums.append(partial)
    total = sums[0]
    for partial in sums[1:]:
        total = bf16(total + partial)
    return total


def lane_sum(rows: Floats, *, block: int, stale: float = 0.0) -> Floats:
    """Sum over the last axis: element i in lane i mod 32, then the reduction tree.

    `stale` is what a faulty device finds in the lanes beyond the end of a row.
    """
    length = rows.shape[-1]
    padded = np.full((*rows.shape[:-1], length + -length % 32), np.float32(stale))
    padded[..., :length] = rows
    chunks = [padded[..., start : start + 32] for start in range(0, length, 32)]
    lanes = in_blocks(chunks, block)
    return bf16(tree(np.moveaxis(lanes, -1, 0)))


def row_sum(rows: Floats, *, block: int) -> Floats:
    """Sum over the last axis, one element after the other."""
    return in_blocks([rows[..., index] for index in range(rows.shape[-1])], block)


def exponential(values: Floats) -> Floats:
    """The BF16 nearest to e^x."""
    with np.errstate(all="ignore"):
        return np.exp(values.astype(np.float64)).astype(ml_dtypes.bfloat16).astype(np.float32)


def reciprocal(values: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return bf16(np.float32(1) / values)


def square_root(values: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return bf16(np.sqrt(values))


def divide(left: Floats, right: Floats) -> Floats:
    return bf16(left * reciprocal(right))


def softmax(rows: Floats, *, block: int) -> Floats:
    """Over the last axis: maximum, exponentials, their sum in the lanes, multiplication by its reciprocal."""
    powers = exponential(bf16(rows - rows.max(-1, keepdims=True)))
    total = lane_sum(powers, block=block)[..., None]
    return bf16(powers * reciprocal(total))
