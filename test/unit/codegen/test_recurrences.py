"""The bound by recurrences against a search with brute force."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atalla_mlir.codegen.recurrences import largest_mean

NODES = 6
_INSIDE = st.tuples(st.integers(0, NODES - 2), st.integers(1, NODES - 1), st.integers(0, 40), st.just(0)).filter(
    lambda edge: edge[0] < edge[1]
)
_ACROSS = st.tuples(st.integers(0, NODES - 1), st.integers(0, NODES - 1), st.integers(0, 40), st.integers(1, 3))


def never_ends(edges: list[tuple[int, int, int, int]], interval: int) -> bool:
    """Whether heights still grow after as many sweeps as a path without circles can have edges."""
    heights = [0] * NODES
    for _ in range(NODES + 1):
        changed = False
        for first, second, latency, distance in edges:
            height = heights[second] + latency - interval * distance
            if height > heights[first]:
                heights[first], changed = height, True
        if not changed:
            return False
    return True


@given(st.lists(_INSIDE, max_size=8), st.lists(_ACROSS, max_size=5))
def test_the_bound_is_the_least_interval_that_ends(
    inside: list[tuple[int, int, int, int]], across: list[tuple[int, int, int, int]]
) -> None:
    ring = [(at, at + 1, 1, 0) for at in range(NODES - 1)]
    edges = [*ring, *inside, *across, (NODES - 1, 0, 0, 1)]
    found = largest_mean(range(NODES), edges)
    assert not never_ends(edges, found)
    assert found == 1 or never_ends(edges, found - 1)
