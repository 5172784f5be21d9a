"""The checked-in record of exact cycles: `python -m bench.run --record` writes it, a test reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

RECORD = Path(__file__).parent / "cycles.json"
RECORDED = (
    "gemm_64x64x64",
    "gemm_33x33x33",
    "gemm_1x256x512",
    "bmm_4x64x64x64",
    "linear_bias_relu_32x64x128",
    "add_128x128",
    "sum_of_rows_128x128",
    "softmax_32x128",
    "layer_norm_32x64",
    "transpose_64x64",
)
"""Cases that compile and run within a second or two on the reference engine."""


def read_record() -> dict[str, int]:
    """Cycles by name of the case."""
    return json.loads(RECORD.read_text(encoding="utf-8"))


def write_record(cycles: Mapping[str, int]) -> None:
    RECORD.write_text(json.dumps(dict(cycles), indent=2) + "\n", encoding="utf-8")
