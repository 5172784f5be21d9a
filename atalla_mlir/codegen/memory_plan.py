"""Place buffers in DRAM: each lives from its first to its last use, and addresses are used again after that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT_BYTES = 64


@dataclass(frozen=True)
class LiveBuffer:
    """A buffer of `size_bytes` that must keep its content from step `first` to step `last`, both included."""

    name: str
    size_bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class MemoryPlan:
    """Addresses in the order of the buffers, and the end of the arena, in bytes."""

    addresses: tuple[int, ...]
    end: int


def align(address: int) -> int:
    return -(-address // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def plan_memory(buffers: Sequence[LiveBuffer], base: int) -> MemoryPlan:
    """First fit by decreasing size: each buffer takes the lowest gap that no buffer alive at the same time uses."""
    placed: list[tuple[LiveBuffer, int]] = []
    addresses: dict[int, int] = {}
    end = base
    for at in sorted(range(len(buffers)), key=lambda index: (-buffers[index].size_bytes, buffers[index].first, index)):
        buffer = buffers[at]
        taken = sorted(
            (address, address + other.size_bytes)
            for other, address in placed
            if other.first <= buffer.last and buffer.first <= other.last
        )
        address = align(base)
        for low, high in taken:
            if address + buffer.size_bytes <= low:
                break
            address = max(address, align(high))
        placed.append((buffer, address))
        addresses[at] = address
        end = max(end, address + buffer.size_bytes)
    return MemoryPlan(tuple(addresses[at] for at in range(len(buffers))), align(end))
