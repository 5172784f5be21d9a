"""The heap in device DRAM: blocks do not overlap, holes join, what does not fit is said."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atalla_mlir.errors import BadInputError, LimitError
from atalla_mlir.host.eager.memory import ALIGNMENT_BYTES, Heap

LOW, HIGH = 0x1000, 0x1000 + 64 * ALIGNMENT_BYTES


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(st.integers(1, 12 * ALIGNMENT_BYTES), st.integers(-64, -1)), max_size=80))
def test_blocks_do_not_overlap_and_everything_comes_back(steps: list[int]) -> None:
    heap, live = Heap(LOW, HIGH), dict[int, int]()
    for step in steps:
        if step < 0 and live:
            address = sorted(live)[step % len(live)]
            heap.free(address)
            del live[address]
        elif step > 0:
            largest = heap.stats().largest_free_bytes
            try:
                address = heap.allocate(step)
            except LimitError:
                assert largest < step
                continue
            assert address % ALIGNMENT_BYTES == 0
            assert address >= LOW and address + step <= HIGH
            assert all(address + step <= other or other + size <= address for other, size in live.items())
            live[address] = step
        stats = heap.stats()
        assert stats.num_blocks == len(live) == stats.num_allocations - stats.num_frees
        assert stats.allocated_bytes + stats.free_bytes == HIGH - LOW
    for address in live:
        heap.free(address)
    assert heap.stats().largest_free_bytes == HIGH - LOW
    assert heap.stats().allocated_bytes == 0


def test_the_smallest_hole_that_fits_is_taken() -> None:
    heap = Heap(LOW, HIGH)
    blocks = [heap.allocate(size * ALIGNMENT_BYTES) for size in (8, 1, 2, 1)]
    heap.free(blocks[0])
    heap.free(blocks[2])
    assert heap.allocate(2 * ALIGNMENT_BYTES) == blocks[2]


def test_the_peak_counts_from_its_reset() -> None:
    heap = Heap(LOW, HIGH)
    heap.free(heap.allocate(20 * ALIGNMENT_BYTES))
    assert heap.stats().peak_allocated_bytes == 20 * ALIGNMENT_BYTES
    heap.reset_peak()
    heap.allocate(1)
    assert heap.stats().peak_allocated_bytes == ALIGNMENT_BYTES


def test_errors_say_what_there_is() -> None:
    heap = Heap(LOW, HIGH)
    heap.allocate(60 * ALIGNMENT_BYTES)
    with pytest.raises(LimitError, match="no 320 bytes of DRAM in one piece: 3840 are in use .* 256 is the largest"):
        heap.allocate(5 * ALIGNMENT_BYTES)
    with pytest.raises(BadInputError, match="no block at 0x1040"):
        heap.free(0x1040)
