"""What a loadable holds: entries with their tensors, segments of code and data, and a description in plain values.

The constructors check everything that can be checked without the machine code itself, so a `Loadable` that exists is
consistent, whether it comes from the compiler or from a file. Addresses are bytes: of instruction space for code, of
DRAM for data (the machine keeps them apart).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from itertools import pairwise
from typing import Any, NamedTuple

from atalla_mlir.errors import BadInputError
from atalla_mlir.target.encoding import PACKET_BYTES

__all__ = [
    "DRAM_LIMIT_BYTES",
    "DTYPE_BYTES",
    "FORMAT_VERSION",
    "MAX_RANK",
    "Damage",
    "Entry",
    "Loadable",
    "LoadableError",
    "Segment",
    "SegmentKind",
    "TensorSpec",
    "Version",
]


class Version(NamedTuple):
    """A version of the file format; docs/loadable.md says what changes which number."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


FORMAT_VERSION = Version(1, 0)

DRAM_LIMIT_BYTES = 1 << 32
MAX_RANK = 8
"""Dimensions of an entry's tensor that its fixed-size record can hold."""

DTYPE_BYTES = {
    "bf16": 2,
    "f16": 2,
    "f32": 4,
    "f64": 8,
    "i1": 1,
    "i8": 1,
    "u8": 1,
    "i16": 2,
    "i32": 4,
    "i64": 8,
}
"""Element types of tensors and their size in DRAM; `i1` is one byte, 0 or 1. The order is part of the file format."""


class Damage(Enum):
    """What is wrong with a loadable, for callers that react to it; people read the message."""

    NOT_A_LOADABLE = "not a loadable"
    TRUNCATED = "truncated"
    WRONG_VERSION = "wrong version"
    WRONG_MACHINE = "wrong machine"
    CORRUPTED = "corrupted"
    INVALID = "invalid"


class LoadableError(BadInputError):
    """A file is not a loadable that this version can run, or the parts of a loadable contradict each other."""

    def __init__(self, message: str, damage: Damage = Damage.INVALID) -> None:
        super().__init__(message)
        self.damage = damage


class SegmentKind(StrEnum):
    """Which of the two address spaces a segment lies in."""

    CODE = "code"
    DATA = "data"


def _check_name(name: str, what: str) -> None:
    if not name:
        raise LoadableError(f"{what} has an empty name")
    if "\0" in name:
        raise LoadableError(f"{what} '{name!r}' has a NUL in its name")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise LoadableError(f"{what} {name!r} has a name that UTF-8 cannot hold") from None


def _check_unique(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise LoadableError(f"two {what} are called '{name}'")
        seen.add(name)


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of an entry: where it lies in DRAM and what the model calls it.

    `strides` count elements of `dtype`, the type in DRAM; `model_dtype` is the type that the model's user sees.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    address: int
    model_dtype: str

    def __post_init__(self) -> None:
        what = f"tensor '{self.name}'"
        _check_name(self.name, "a tensor")
        for dtype in (self.dtype, self.model_dtype):
            if dtype not in DTYPE_BYTES:
                known = ", ".join(DTYPE_BYTES)
                raise LoadableError(f"{what} has the unknown element type '{dtype}'; there are {known}")
        if len(self.shape) != len(self.strides):
            raise LoadableError(f"{what} has {len(self.shape)} dimensions but {len(self.strides)} strides")
        if len(self.shape) > MAX_RANK:
            raise LoadableError(f"{what} has {len(self.shape)} dimensions; a loadable holds at most {MAX_RANK}")
        if any(not 0 <= value < DRAM_LIMIT_BYTES for value in (*self.shape, *self.strides)):
            raise LoadableError(f"{what} has shape {self.shape} and strides {self.strides}; both must be in 0..2^32-1")
        if self.address % self.item_bytes:
            raise LoadableError(f"{what} of {self.dtype} is at {self.address:#x}, not a multiple of {self.item_bytes}")
        if not 0 <= self.address <= DRAM_LIMIT_BYTES - self.extent_bytes:
            raise LoadableError(f"{what} at address {self.address:#x} with {self.extent_bytes} bytes ends beyond 4 GiB")

    @property
    def item_bytes(self) -> int:
        return DTYPE_BYTES[self.dtype]

    @property
    def extent_bytes(self) -> int:
        """Bytes from the first element to the end of the last one; 0 for a tensor without elements."""
        if 0 in self.shape:
            return 0
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        return (last + 1) * self.item_bytes

    @property
    def end(self) -> int:
        return self.address + self.extent_bytes


@dataclass(frozen=True)
class Entry:
    """A device function that the host can start, with its tensors in argument order."""

    name: str
    pc: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __post_init__(self) -> None:
        _check_name(self.name, "an entry")
        _check_unique((spec.name for spec in self.inputs), f"inputs of entry '{self.name}'")
        _check_unique((spec.name for spec in self.outputs), f"outputs of entry '{self.name}'")


@dataclass(frozen=True)
class Segment:
    """Bytes of one address space. `data` is kept as a view, never copied; a segment without data is zeros of `size`."""

    kind: SegmentKind
    address: int
    data: memoryview = field(default_factory=lambda: memoryview(b""))
    size: int = -1
    """Bytes in memory; by default the size of `data`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", SegmentKind(self.kind))
        view = memoryview(self.data)
        object.__setattr__(self, "data", view if view.format == "B" and view.ndim == 1 else view.cast("B"))
        if self.size < 0:
            object.__setattr__(self, "size", len(self.data))
        self._check()

    def _check(self) -> None:
        if not self.size:
            raise LoadableError(f"the {self.kind} segment at {self.address:#x} is empty")
        if len(self.data) not in (0, self.size):
            raise LoadableError(f"{self} has {len(self.data)} bytes of data; a segment has all of its bytes or none")
        if not 0 <= self.address <= DRAM_LIMIT_BYTES - self.size:
            raise LoadableError(f"{self} ends beyond 4 GiB")
        if self.kind is not SegmentKind.CODE:
            return
        if self.is_zero_fill:
            raise LoadableError(f"{self} has no contents")
        if self.address % PACKET_BYTES or self.size % PACKET_BYTES:
            raise LoadableError(f"{self} is not made of whole packets of {PACKET_BYTES} bytes")

    def __str__(self) -> str:
        return f"the {self.kind} segment at {self.address:#x} of {self.size} bytes"

    @property
    def is_zero_fill(self) -> bool:
        return not len(self.data)

    @property
    def end(self) -> int:
        return self.address + self.size


def _check_overlaps(segments: Sequence[Segment]) -> None:
    for before, after in pairwise(segments):
        if before.kind is after.kind and after.address < before.end:
            raise LoadableError(f"{before} overlaps {after}")


@dataclass(frozen=True)
class Loadable:
    """A program for the device. `meta` is JSON data whose keys docs/loadable.md describes; segments are kept sorted.

    `dram_size` is the DRAM in bytes that the program touches, all its segments and tensors included.
    """

    machine_name: str
    machine_digest: str
    entries: tuple[Entry, ...]
    segments: tuple[Segment, ...]
    meta: Mapping[str, Any]
    dram_size: int

    def __post_init__(self) -> None:
        ordered = sorted(self.segments, key=lambda segment: (segment.kind is SegmentKind.DATA, segment.address))
        object.__setattr__(self, "segments", tuple(ordered))
        object.__setattr__(self, "entries", tuple(self.entries))
        _check_name(self.machine_name, "the machine")
        if len(self.machine_digest) != 64 or set(self.machine_digest) - set("0123456789abcdef"):
            raise LoadableError(f"the machine digest '{self.machine_digest}' is not 64 lower-case hexadecimal digits")
        if not 0 <= self.dram_size <= DRAM_LIMIT_BYTES:
            raise LoadableError(f"DRAM of {self.dram_size} bytes is outside 0..4 GiB")
        _check_overlaps(self.segments)
        _check_unique((entry.name for entry in self.entries), "entries")
        self._check_extents()

    def _check_extents(self) -> None:
        for segment in self.data_segments:
            if segment.end > self.dram_size:
                raise LoadableError(f"{segment} ends beyond the program's DRAM of {self.dram_size} bytes")
        for entry in self.entries:
            if not self.is_packet(entry.pc):
                raise LoadableError(f"entry '{entry.name}' starts at PC {entry.pc:#x}, not a packet of the code")
            for spec in (*entry.inputs, *entry.outputs):
                if spec.end > self.dram_size:
                    where = f"{spec.address:#x}..{spec.end:#x}"
                    raise LoadableError(
                        f"tensor '{spec.name}' of entry '{entry.name}' lies at {where}, "
                        f"beyond the program's DRAM of {self.dram_size} bytes"
                    )

    @property
    def code_segments(self) -> tuple[Segment, ...]:
        return tuple(segment for segment in self.segments if segment.kind is SegmentKind.CODE)

    @property
    def data_segments(self) -> tuple[Segment, ...]:
        return tuple(segment for segment in self.segments if segment.kind is SegmentKind.DATA)

    def is_packet(self, pc: int) -> bool:
        """Whether `pc` is the address of a packet of this program."""
        return pc % PACKET_BYTES == 0 and self.code_segment_of(pc) is not None

    def code_segment_of(self, pc: int) -> Segment | None:
        segments = self.code_segments
        index = bisect_right([segment.address for segment in segments], pc) - 1
        return segments[index] if index >= 0 and pc < segments[index].end else None

    def entry(self, name: str) -> Entry:
        """The entry called `name`; BadInputError lists the names when there is none."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        names = ", ".join(entry.name for entry in self.entries) or "none at all"
        raise BadInputError(f"the program has no entry '{name}'; there are {names}")
