"""The device's DRAM as a heap: where tensors, constants and values between kernels lie."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from atalla_mlir.errors import BadInputError, LimitError

ALIGNMENT_BYTES = 64


@dataclass(frozen=True)
class MemoryStats:
    """What a heap holds; bytes are those of blocks, which are multiples of 64."""

    allocated_bytes: int
    peak_allocated_bytes: int
    free_bytes: int
    largest_free_bytes: int
    num_blocks: int
    num_allocations: int
    num_frees: int


class Heap:
    """Blocks of a range of addresses; the smallest hole that fits is taken, and holes that touch become one."""

    def __init__(self, low: int, high: int) -> None:
        start = -(-low // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        self._holes = [(start, high - start)]
        """(address, bytes) of what is free, by address."""
        self._blocks: dict[int, int] = {}
        self._allocated = self._peak = self._num_allocations = self._num_frees = 0

    def allocate(self, size: int) -> int:
        """The address of `size` bytes; LimitError says what there is."""
        wanted = max(-(-size // ALIGNMENT_BYTES), 1) * ALIGNMENT_BYTES
        fitting = [index for index, (_, length) in enumerate(self._holes) if length >= wanted]
        if not fitting:
            stats = self.stats()
            raise LimitError(
                f"the device has no {wanted} bytes of DRAM in one piece: {stats.allocated_bytes} are in use by "
                f"{stats.num_blocks} tensors and kernels, {stats.largest_free_bytes} is the largest free piece"
            )
        index = min(fitting, key=lambda at: self._holes[at][1])
        address, length = self._holes[index]
        self._holes[index : index + 1] = [(address + wanted, length - wanted)] if length > wanted else []
        self._blocks[address] = wanted
        self._allocated += wanted
        self._peak = max(self._peak, self._allocated)
        self._num_allocations += 1
        return address

    def free(self, address: int) -> None:
        """Give back the block at `address`."""
        size = self._blocks.pop(address, None)
        if size is None:
            raise BadInputError(f"there is no block at {address:#x}")
        self._allocated -= size
        self._num_frees += 1
        index = bisect_left(self._holes, (address, 0))
        if index < len(self._holes) and address + size == self._holes[index][0]:
            size += self._holes.pop(index)[1]
        if index and sum(self._holes[index - 1]) == address:
            address, size = self._holes[index - 1][0], self._holes[index - 1][1] + size
            index -= 1
            self._holes.pop(index)
        self._holes.insert(index, (address, size))

    def reset_peak(self) -> None:
        """Count the peak from now on."""
        self._peak = self._allocated

    def stats(self) -> MemoryStats:
        """The state of the heap."""
        sizes = [length for _, length in self._holes]
        return MemoryStats(
            allocated_bytes=self._allocated,
            peak_allocated_bytes=self._peak,
            free_bytes=sum(sizes),
            largest_free_bytes=max(sizes, default=0),
            num_blocks=len(self._blocks),
            num_allocations=self._num_allocations,
            num_frees=self._num_frees,
        )
