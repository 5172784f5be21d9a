"""The bound that recurrences set to II: the largest mean latency, per iteration, of a circle of dependences.

Dependences inside an iteration have no circles, so what a circle gains between two crossings into the next iteration is
a longest path there. With these as edges between the nodes that such crossings lead to, each of which counts one
iteration, the bound is the largest mean of a circle, which Karp's recurrence gives.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt

Edges = Sequence[tuple[int, int, int, int]]
"""(first, second, latency, distance)."""

NONE = -np.inf


def largest_mean(nodes: Collection[int], edges: Edges) -> int:
    """The least II at which no circle of `edges`, which join `nodes`, catches up with itself, at least 1."""
    edges = list(_single_crossings(edges, max(nodes, default=0) + 1))
    nodes = {node for first, second, _, _ in edges for node in (first, second)}
    crossings = [edge for edge in edges if edge[3]]
    targets = {node: at for at, node in enumerate(sorted({second for _, second, _, _ in crossings}))}
    if not targets:
        return 1
    gained = _longest_inside(nodes, [edge for edge in edges if not edge[3]], targets)
    matrix = np.full((len(targets), len(targets)), NONE)
    for first, second, latency, _ in crossings:
        column = matrix[:, targets[second]]
        np.maximum(column, gained[first] + latency, out=column)
    return max(1, _mean(matrix))


def _single_crossings(edges: Edges, free: int) -> Iterator[tuple[int, int, int, int]]:
    """The edges, those over several iterations by way of nodes of their own, from number `free` on."""
    for first, second, latency, distance in edges:
        while distance > 1:
            yield first, free, latency, 1
            first, latency, distance, free = free, 0, distance - 1, free + 1
        yield first, second, latency, distance


def _longest_inside(nodes: Collection[int], edges: Edges, starts: dict[int, int]) -> dict[int, npt.NDArray[np.float64]]:
    """For each node the longest paths to it from each of `starts`, inside an iteration."""
    following: dict[int, list[tuple[int, int]]] = {node: [] for node in nodes}
    waits = dict.fromkeys(nodes, 0)
    for first, second, latency, _ in edges:
        following[first].append((second, latency))
        waits[second] += 1
    paths = {node: np.full(len(starts), NONE) for node in nodes}
    for node, at in starts.items():
        paths[node][at] = 0
    ready = [node for node, count in waits.items() if not count]
    while ready:
        node = ready.pop()
        for second, latency in following[node]:
            np.maximum(paths[second], paths[node] + latency, out=paths[second])
            waits[second] -= 1
            if not waits[second]:
                ready.append(second)
    return paths


def _mean(matrix: npt.NDArray[np.float64]) -> int:
    """The largest mean of a circle in a strongly connected graph (Karp), rounded up."""
    size = len(matrix)
    gains = np.full((size + 1, size), NONE)
    gains[0, 0] = 0
    for length in range(size):
        gains[length + 1] = (gains[length][:, None] + matrix).max(axis=0)
    reached = np.isfinite(gains[size])
    if not reached.any():
        return 1
    last, before = gains[size][reached], gains[:size][:, reached]
    lengths = (size - np.arange(size))[:, None]
    with np.errstate(invalid="ignore"):
        means = np.where(np.isfinite(before), (last - before) / lengths, np.inf).min(axis=0)
    return int(np.ceil(means.max() - 1e-9))
