"""Parameter sets: what they refuse, what identifies them."""

from __future__ import annotations

import pytest

from atalla_mlir.errors import BadInputError
from atalla_mlir.target.machine import AX01, MACHINES, machine


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vector_lanes": 0}, "vector_lanes must be at least 1, got 0"),
        ({"vector_lanes": 24}, "vector_lanes must be a power of two, got 24"),
        ({"vector_lanes": 64}, "vector_lanes must be at most 32, got 64"),
        ({"pads": 5}, "pads must be at most 4, got 5"),
        ({"gemm_latency": -1}, "gemm_latency must not be negative, got -1"),
        ({"dcache_bytes": 128}, "dcache_bytes must hold 4 lines of 64 bytes, got 128"),
        ({"dram_bursts_per_cycle": 0.0}, "dram_bursts_per_cycle must be more than 0, got 0.0"),
    ],
)
def test_impossible_parameters_are_refused(options, message):
    with pytest.raises(BadInputError, match=f"^machine test: {message}$"):
        AX01.with_options(name="test", **options)


def test_an_unknown_parameter_is_named():
    with pytest.raises(BadInputError, match="^machine ax01 has no parameter lanes$"):
        AX01.with_options(lanes=3)


def test_changed_sets_say_so_in_their_name_and_digest():
    changed = AX01.with_options(pads=2)
    assert changed.name == "ax01+pads=2"
    assert changed.digest() != AX01.digest()


def test_all_sets_of_the_reference_exist():
    assert set(MACHINES) == {"ax01", "ax01-ddr4", "ax01-hbm3", "ax01-slow", "as-compat", "fs-static"}
    with pytest.raises(BadInputError, match="^no machine parameter set 'ax02'; there are ax01, "):
        machine("ax02")
