"""What lies where in DRAM during a run: the buffers of a loadable, the launches during which each is alive, pad use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from atalla_mlir.loadable.format import DTYPE_BYTES, Loadable

INPUT, OUTPUT, CONSTANT, VALUE = "input", "output", "constant", "value"
"""Kinds of buffers. Constants are parameters, other constants and state; values pass from kernel to kernel."""


@dataclass(frozen=True)
class Buffer:
    """`size_bytes` at `address` that hold one value from launch `first` to launch `last`, both included."""

    name: str
    kind: str
    address: int
    size_bytes: int
    first: int
    last: int

    @property
    def end(self) -> int:
        return self.address + self.size_bytes

    def holds(self, address: int) -> bool:
        return self.address <= address < self.end

    def is_alive(self, launch: int) -> bool:
        return self.first <= launch <= self.last


@dataclass(frozen=True)
class MemoryMap:
    """The buffers of a program in the order of their addresses; launches are numbered from 0 over all entry points."""

    kernels: tuple[str, ...]
    """What each launch runs."""
    buffers: tuple[Buffer, ...]
    pad_rows: tuple[tuple[int, ...], ...]
    """For each launch the rows that its kernel allocates in each pad; empty when the compiler did not say."""
    rows_per_pad: int
    dram_bytes: int
    kept_bytes: tuple[int, ...] = ()
    """For each launch the bytes of values between its products, which stay in the pads instead of the arena."""

    @property
    def arena(self) -> tuple[int, int]:
        """Where values between kernels and results lie: they take turns in it."""
        places = [buffer for buffer in self.buffers if buffer.kind in (VALUE, OUTPUT)]
        if not places:
            return self.dram_bytes, self.dram_bytes
        return min(buffer.address for buffer in places), max(buffer.end for buffer in places)

    @property
    def arena_bytes(self) -> int:
        low, high = self.arena
        return high - low

    @property
    def live_bytes(self) -> tuple[int, ...]:
        """For each launch the bytes in the arena that are alive: no plan has a smaller arena than the most of these."""
        places = [buffer for buffer in self.buffers if buffer.kind in (VALUE, OUTPUT)]
        return tuple(
            sum(buffer.size_bytes for buffer in places if buffer.is_alive(launch))
            for launch in range(len(self.kernels))
        )

    def bytes_of(self, *kinds: str) -> int:
        """Bytes of the buffers of some kinds, as if none shared its place."""
        return sum(buffer.size_bytes for buffer in self.buffers if buffer.kind in kinds)

    @property
    def most_pad_rows(self) -> tuple[int, ...]:
        """For each pad the rows of the launch that allocates most."""
        return tuple(max(rows) for rows in zip(*filter(None, self.pad_rows), strict=True))

    def to_json(self) -> dict[str, Any]:
        """As docs/metrics.md defines it."""
        return {
            "dram_bytes": self.dram_bytes,
            "constant_bytes": self.bytes_of(CONSTANT),
            "input_bytes": self.bytes_of(INPUT),
            "arena_bytes": self.arena_bytes,
            "arena_live_bytes": max(self.live_bytes, default=0),
            "arena_unshared_bytes": self.bytes_of(VALUE, OUTPUT),
            "kept_bytes": sum(self.kept_bytes),
            "rows_per_pad": self.rows_per_pad,
            "pad_rows": list(self.most_pad_rows),
            "buffers": [asdict(buffer) for buffer in self.buffers],
            "launches": [
                {"kernel": kernel, "live_bytes": live, "pad_rows": list(rows), "kept_bytes": kept}
                for kernel, live, rows, kept in zip(
                    self.kernels, self.live_bytes, self.pad_rows, self.kept_bytes, strict=True
                )
            ],
        }


def memory_map(loadable: Loadable, *, rows_per_pad: int) -> MemoryMap:
    """What `meta.kernels` says about addresses, over the launches of all entry points in turn."""
    launches: Sequence[Mapping[str, Any]] = loadable.meta.get("kernels", ())
    code = loadable.meta.get("code", {})
    return MemoryMap(
        kernels=tuple(row["name"] for row in launches),
        buffers=tuple(sorted(_buffers(loadable, launches), key=lambda buffer: (buffer.address, buffer.first))),
        pad_rows=tuple(tuple(code.get(row["function"], {}).get("pad_rows", ())) for row in launches),
        rows_per_pad=rows_per_pad,
        dram_bytes=loadable.dram_size,
        kept_bytes=tuple(
            sum(nest["facts"].get("kept_bytes", 0) for nest in row.get("decisions", ())) for row in launches
        ),
    )


def _buffers(loadable: Loadable, launches: Sequence[Mapping[str, Any]]) -> Iterable[Buffer]:
    constants = loadable.meta.get("constants", ())
    for row in constants:
        yield Buffer(row["name"], CONSTANT, row["address"], row["bytes"], 0, max(len(launches) - 1, 0))
    loaded = [range(row["address"], row["address"] + max(row["bytes"], 1)) for row in constants]
    for entry in loadable.entries:
        own = [at for at, row in enumerate(launches) if row["entry"] == entry.name]
        if not own:
            continue
        inputs = {tensor.address for tensor in entry.inputs}
        for tensor in entry.inputs:
            size = _bytes(tensor.shape, tensor.strides, tensor.dtype)
            yield Buffer(tensor.name, INPUT, tensor.address, size, own[0], own[-1])
        results = {tensor.address: tensor.name for tensor in entry.outputs}
        stored = [buffer for buffer in _stored(launches, own) if buffer.address not in inputs]
        last = {buffer.address: at for at, buffer in enumerate(stored)}
        for at, buffer in enumerate(stored):
            if any(buffer.address in place for place in loaded):
                continue
            if buffer.address in results and last[buffer.address] == at:
                yield Buffer(buffer.name, OUTPUT, buffer.address, buffer.size_bytes, buffer.first, own[-1])
            else:
                yield buffer


def _stored(launches: Sequence[Mapping[str, Any]], own: Sequence[int]) -> list[Buffer]:
    """What the launches `own` of one entry point store, each until the last launch that reads it."""
    found: list[Buffer] = []
    for at in own:
        for tensor in (row for row in launches[at]["inputs"] if "image" not in row):
            read = next((k for k in reversed(range(len(found))) if found[k].holds(tensor["address"])), None)
            if read is not None:
                buffer = found[read]
                found[read] = Buffer(buffer.name, VALUE, buffer.address, buffer.size_bytes, buffer.first, at)
        for tensor in (row for row in launches[at]["outputs"] if "image" not in row):
            size = _bytes(tensor["shape"], tensor["strides"], tensor["dtype"])
            found.append(Buffer(tensor["value"], VALUE, tensor["address"], size, at, at))
    return found


def _bytes(shape: Sequence[int], strides: Sequence[int], dtype: str) -> int:
    """From the first to the last element."""
    if 0 in shape:
        return 0
    return (1 + sum((extent - 1) * stride for extent, stride in zip(shape, strides, strict=True))) * DTYPE_BYTES[dtype]
