"""The native engine does what the reference engine does: values, traps, cycles, stall causes, counters and lints."""

from __future__ import annotations

import pytest

from atalla_mlir.sim.native_library import library_path
from atalla_mlir.sim.reference import ReferenceEngine
from atalla_mlir.target import isa
from atalla_mlir.target.machine import MACHINES
from atalla_mlir.testing.agreement import compare, natives
from atalla_mlir.testing.program_generator import DRAM_BYTES, PAD_ROWS, generate

pytestmark = pytest.mark.skipif(library_path() is None, reason="the native engine was not built: no C++ compiler")

PROGRAMS = 200
PER_TEST = 20


@pytest.mark.parametrize("first", range(0, PROGRAMS, PER_TEST))
def test_random_programs(first: int):
    for seed in range(first, first + PER_TEST):
        difference = compare(generate(seed), ReferenceEngine, natives())
        assert difference is None, str(difference)


@pytest.mark.parametrize("name", MACHINES)
def test_parameter_sets(name: str):
    machine = MACHINES[name].with_options(name=name, dram_bytes=DRAM_BYTES, pad_rows=PAD_ROWS)
    for seed in range(10_000, 10_008):
        difference = compare(generate(seed, machine), ReferenceEngine, natives(["avx2"]))
        assert difference is None, str(difference)


def test_a_difference_is_found_and_reduced():
    machine = MACHINES["ax01"].with_options(dram_bytes=DRAM_BYTES, pad_rows=PAD_ROWS)
    slower = {"slower": lambda m: ReferenceEngine(m.with_options(exp_latency=15))}
    differences = (compare(generate(seed, machine), ReferenceEngine, slower) for seed in range(40))
    found = next(difference for difference in differences if difference is not None)
    instructions = sum(word not in (0, isa.NOP.opcode) for words in found.program.packets for word in words)
    assert found.what in ("counters", "run")
    assert instructions <= 3
    assert "expi.vi" in str(found)
