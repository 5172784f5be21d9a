"""Bounds of networks: what the pads can keep, against a search over everything that could leave them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from atalla_mlir.codegen.network_bounds import Interval, Launch, least_spilled, network_bounds, pad_bytes
from atalla_mlir.target.machine import AX01

PADS = pad_bytes(AX01)


def fewest_by_search(intervals: Sequence[Interval], capacity: int) -> int:
    """All ways to give up some bytes of each interval, the cheapest that leaves no more than `capacity` anywhere."""

    def choices(rest: Sequence[Interval]) -> Iterator[tuple[int, ...]]:
        if not rest:
            yield ()
            return
        for kept in range(rest[0].size + 1):
            for others in choices(rest[1:]):
                yield (kept, *others)

    last = max((interval.read for interval in intervals), default=0)

    def fits(kept: tuple[int, ...]) -> bool:
        return all(
            sum(size for size, part in zip(kept, intervals, strict=True) if part.made <= at < part.read) <= capacity
            for at in range(last)
        )

    total = sum(interval.size for interval in intervals)
    return min(total - sum(kept) for kept in choices(intervals) if fits(kept))


_INTERVALS = st.builds(
    lambda made, length, size: Interval(made, made + length, size),
    st.integers(0, 4),
    st.integers(1, 4),
    st.integers(1, 3),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_INTERVALS, max_size=5), st.integers(0, 6))
def test_giving_up_what_is_wanted_last_is_the_best(intervals: list[Interval], capacity: int) -> None:
    assert least_spilled(intervals, capacity) == fewest_by_search(intervals, capacity)


def test_what_lies_between_kernels_need_not_move() -> None:
    first = Launch({"x": 100, "w": 60}, ("h",), {"dram": 10, "array": 7})
    second = Launch({"h": 40, "w": 80}, ("y",), {"dram": 10, "array": 5, "lane_alu": 9})
    bounds = network_bounds([first, second], {"y": 20}, AX01)
    assert bounds.compulsory_bytes == 100 + 80 + 20
    assert bounds.cycles == {"array": 12, "lane_alu": 9, "dram": -(-200 // 32)}
    assert bounds.bound_by == "array"


def test_a_result_that_a_kernel_reads_is_written_once() -> None:
    launches = [Launch({"x": 64}, ("h",), {}), Launch({"h": 64}, ("y",), {})]
    assert network_bounds(launches, {"h": 64, "y": 32}, AX01).compulsory_bytes == 64 + 64 + 32


def test_what_the_pads_cannot_hold_is_written_and_read() -> None:
    size = PADS + 1000
    launches = [Launch({"x": size}, ("h",), {}), Launch({"h": size}, ("g",), {}), Launch({"g": 10}, ("y",), {})]
    assert network_bounds(launches, {"y": 10}, AX01).compulsory_bytes == size + 2 * 1000 + 10


def test_only_what_is_still_wanted_takes_room() -> None:
    """A large value of which the last reader wants a little beside another large one."""
    large = PADS - 500
    launches = [
        Launch({"x": 1}, ("a",), {}),
        Launch({"a": large}, ("b",), {}),
        Launch({"b": large, "a": 600}, ("y",), {}),
    ]
    assert network_bounds(launches, {"y": 1}, AX01).compulsory_bytes == 1 + 2 * 100 + 1


def test_kernels_of_which_nothing_is_known_ask_for_nothing() -> None:
    assert network_bounds([Launch({}, ("y",), {})], {"y": 32}, AX01).compulsory_bytes == 32
