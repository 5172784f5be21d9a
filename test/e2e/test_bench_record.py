"""Kernels may not become slower than the checked-in record, nor faster than their bounds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.measure import measure
from bench.record import RECORDED, read_record
from bench.suite import Case, suite

CASES = {case.name: case for case in suite()}


def test_the_record_is_complete() -> None:
    assert sorted(read_record()) == sorted(RECORDED)
    assert CASES.keys() >= set(RECORDED)
    assert len(CASES) == len(suite()), "two cases have the same name"


@pytest.mark.parametrize("name", RECORDED)
def test_cycles_are_within_the_record_and_the_bound(name: str) -> None:
    recorded, case = read_record()[name], CASES[name]
    row = measure(case, "auto")
    assert row.cycles <= recorded, (
        f"{name} takes {row.cycles} cycles, recorded are {recorded}; "
        "when that is wanted, `python -m bench.run --record` stores the new cycles"
    )
    assert row.bound_cycles <= row.cycles
    assert row.compulsory_bytes <= row.dram_bytes
    assert 0 < row.startup_cycles < row.cycles


def test_the_suite_has_the_names_that_tools_look_for() -> None:
    assert {"gemm_64x64x64", "gemm_1024x1024x1024", "softmax_1024x4096", "layer_norm_1024x768"} <= CASES.keys()
    for name, case in CASES.items():
        if name.startswith("gemm_"):
            m, k, n = map(int, name.removeprefix("gemm_").split("x"))
            assert (case.shapes, case.build().get_parameter("weight").shape) == (((m, k),), (k, n))
            assert isinstance(case, Case)
