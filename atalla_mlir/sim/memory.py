"""Sparse byte-addressed DRAM: costs memory only where it was written, whatever its size."""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

PAGE_BITS = 16
_PAGE_BYTES = 1 << PAGE_BITS
# Anonymous mappings are not backed before they are touched; NORESERVE keeps strict overcommit settings out of it.
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


class Dram:
    """`size_bytes` bytes of zeros at first; remembers which pages were written, for snapshots."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._map = _anonymous_map(size_bytes)
        self.bytes: npt.NDArray[np.uint8] = np.frombuffer(self._map, dtype=np.uint8)
        self.halves: npt.NDArray[np.uint16] = self.bytes[: size_bytes & ~1].view("<u2")
        self.words: npt.NDArray[np.uint32] = self.bytes[: size_bytes & ~3].view("<u4")
        self._touched: set[int] = set()

    def touch(self, first: int, last: int) -> None:
        """Remember that bytes `first`..`last` are written."""
        self._touched.update(range(first >> PAGE_BITS, (last >> PAGE_BITS) + 1))

    def read(self, address: int, size: int) -> bytes:
        return self.bytes[address : address + size].tobytes()

    def write(self, address: int, data: npt.NDArray[np.uint8]) -> None:
        if data.size:
            self.touch(address, address + data.size - 1)
            self.bytes[address : address + data.size] = data

    def tile(self, address: int, rows: int, cols: int, pitch: int) -> npt.NDArray[np.uint16]:
        """A writable view of BF16 elements, `pitch` elements from row to row; the caller checked the range."""
        return np.ndarray((rows, cols), np.dtype("<u2"), self._map, address, (2 * pitch, 2))

    def snapshot(self) -> dict[int, bytes]:
        return {page: self.read(page << PAGE_BITS, _PAGE_BYTES) for page in sorted(self._touched)}

    def restore(self, pages: dict[int, bytes]) -> None:
        for page in self._touched - pages.keys():
            self.bytes[page << PAGE_BITS : (page + 1) << PAGE_BITS] = 0
        for page, data in pages.items():
            start = page << PAGE_BITS
            self.bytes[start : start + len(data)] = np.frombuffer(data, dtype=np.uint8)
        self._touched = set(pages)


def _anonymous_map(size_bytes: int) -> mmap.mmap:
    if hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE)
    return mmap.mmap(-1, size_bytes)
