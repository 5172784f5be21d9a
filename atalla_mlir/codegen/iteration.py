"""Iteration spaces: the middle form of the compiler, as plain values.

A *stage* is one computation over a set of loops; its operands are buffers addressed by an offset and one stride
per loop, in elements, so that transposes, reshapes, slices and broadcasts are strides instead of operations. A
*kernel* is a list of stages that share loops. Fusion asks whether loops match by stride; the vector lanes are one
chosen loop.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from atalla_mlir.errors import InternalError


class Combine(Enum):
    """How a reducing stage folds its iterations."""

    ADD = "add"
    MAX = "max"
    MIN = "min"
    ARGMAX = "argmax"
    """The index of the first largest term."""
    ARGMIN = "argmin"


@dataclass(eq=False)
class Loop:
    """One dimension of an iteration space; `name` is for messages and dumps."""

    extent: int
    name: str = "d"


@dataclass(frozen=True)
class Triangle:
    """Rows of `columns` booleans: true just where column <= row + `diagonal`, or, if not `is_lower`, elsewhere."""

    columns: int
    diagonal: int
    is_lower: bool


@dataclass(eq=False)
class Buffer:
    """A contiguous run of elements in DRAM (or, for `TEMPORARY` use inside a kernel, in a pad): BF16, or integers."""

    name: str
    num_elements: int
    is_integer: bool = False
    """Elements are whole numbers of 32 bits; booleans are BF16 values 0 and 1."""
    is_counter: bool = False
    """Element i is i; there is no such buffer in memory."""
    triangle: Triangle | None = None
    """What is known of its elements."""

    @property
    def element_bytes(self) -> int:
        return 4 if self.is_integer else 2


@dataclass(eq=False)
class Access:
    """Element `offset + sum(stride[loop] * index[loop])` of `buffer`; strides are in elements, absent means 0."""

    buffer: Buffer
    offset: int
    strides: dict[Loop, int]
    indirect: tuple[tuple[Node, int], ...] = ()
    """Numbers computed from other reads of the stage, each times a stride, that are added to the position."""

    def stride(self, loop: Loop) -> int:
        return self.strides.get(loop, 0)

    def drop_unit_loops(self) -> None:
        self.strides = {loop: stride for loop, stride in self.strides.items() if loop.extent > 1 and stride != 0}


@dataclass(frozen=True)
class Dim:
    """A dimension of what an access touches: position `sum(factor * index)` of its loops, `stride` elements apart."""

    stride: int
    terms: tuple[tuple[Loop, int], ...]


def joined_dims(access: Access, lane: Loop | None) -> tuple[list[Dim], int]:
    """The dimensions of an access and which of them the lane loop is (-1: none).

    A loop that reaches into the next iteration of another one, as the taps of a window do, shares its dimension: what
    both touch is then counted once. The lane loop stays alone.
    """
    dims: list[list[tuple[Loop, int]]] = []
    for loop, stride in sorted(access.strides.items(), key=lambda item: -item[1]):
        reach = stride * (loop.extent - 1)
        joined = next((dim for dim in dims if loop is not lane and dim[0][0] is not lane and reach >= dim[-1][1]), None)
        if joined is None:
            dims.append([(loop, stride)])
        else:
            joined.append((loop, stride))
    found: list[Dim] = []
    for dim in dims:
        unit = math.gcd(*(stride for _, stride in dim))
        found.append(Dim(unit, tuple((loop, stride // unit) for loop, stride in dim)))
    return found, next((at for at, dim in enumerate(found) if dim.terms[0][0] is lane), -1)


@dataclass(eq=False)
class Node:
    """A node of a stage's body: `op` on `args`; `load` names a read by index, `constant` holds a value."""

    op: str
    args: tuple[Node, ...] = ()
    read: int = -1
    value: float = 0.0

    def walk(self) -> Iterator[Node]:
        """All nodes below and including this one, operands first, each once."""
        found: dict[Node, None] = {}
        self._note(found)
        return iter(found)

    def _note(self, found: dict[Node, None]) -> None:
        for argument in self.args:
            if argument not in found:
                argument._note(found)
        found[self] = None


class StageKind(Enum):
    MAP = "map"
    REDUCE = "reduce"
    PRODUCT = "product"
    CALL = "call"
    """A kernel that is finished: it reads and writes whole buffers, and has neither loops nor a body to fuse with."""


@dataclass(eq=False)
class Stage:
    """One computation. `loops` are all its loops; those in `reduced` do not index the write."""

    kind: StageKind
    loops: list[Loop]
    reads: list[Access]
    write: Access
    body: Node
    reduced: list[Loop] = field(default_factory=list)
    combine: Combine | None = None
    nodes: tuple[str, ...] = ()
    """Names of the FX nodes that this stage computes."""
    source: str = ""
    changes_state: bool = False
    """Whether it writes where an argument of the function lies, which no stage fused with it may read."""

    def accesses(self) -> Iterable[Access]:
        yield from self.reads
        yield self.write

    @property
    def is_gather(self) -> bool:
        """Whether the stage moves elements from places that data say."""
        return any(read.indirect for read in self.reads)

    @property
    def is_scalar(self) -> bool:
        """Whether the scalar units compute the stage, or say where its elements are: it has integers."""
        return self.is_gather or any(access.buffer.is_integer or access.buffer.is_counter for access in self.accesses())

    def is_in_place(self, buffer: Buffer) -> bool:
        """Whether the result may lie in `buffer`: an element needs no other of it than the one it replaces."""
        mine = {loop: stride for loop, stride in self.write.strides.items() if stride}
        return self.kind is StageKind.MAP and all(
            not read.indirect
            and read.offset == self.write.offset
            and {loop: stride for loop, stride in read.strides.items() if stride} == mine
            for read in self.reads
            if read.buffer is buffer
        )

    def drop_unit_loops(self) -> None:
        for access in self.accesses():
            access.drop_unit_loops()
        self.loops = [loop for loop in self.loops if loop.extent > 1]
        self.reduced = [loop for loop in self.reduced if loop.extent > 1]


def replace_loop(stages: Iterable[Stage], old: Loop, new: Sequence[tuple[Loop, int]]) -> None:
    """Replace `old` by loops with the given stride factors (outermost first) in every stage."""
    for stage in stages:
        if old not in stage.loops:
            continue
        for access in stage.accesses():
            stride = access.strides.pop(old, 0)
            if stride:
                for loop, factor in new:
                    access.strides[loop] = stride * factor
        for loops in (stage.loops, stage.reduced):
            if old in loops:
                at = loops.index(old)
                loops[at : at + 1] = [loop for loop, _ in new]


def split_loop(stages: Iterable[Stage], loop: Loop, inner_extent: int) -> tuple[Loop, Loop]:
    """Split `loop` into (outer, inner) with `inner_extent` iterations of the inner one, in every stage."""
    if loop.extent % inner_extent:
        raise InternalError(f"loop of {loop.extent} iterations cannot be split by {inner_extent}")
    outer = Loop(loop.extent // inner_extent, loop.name + "o")
    inner = Loop(inner_extent, loop.name + "i")
    replace_loop(stages, loop, [(outer, inner_extent), (inner, 1)])
    return outer, inner


def outer_loops(stages: Sequence[Stage]) -> set[Loop]:
    """Loops that all stages have and none reduces: each of their iterations can be computed alone."""
    reduced = {loop for stage in stages for loop in stage.reduced}
    return set.intersection(*(set(stage.loops) for stage in stages)) - reduced


def covers_buffer(access: Access) -> bool:
    """Whether the access visits each element of its buffer exactly once (a mixed-radix numbering)."""
    expected = 1
    for loop, stride in sorted(access.strides.items(), key=lambda item: item[1]):
        if stride != expected:
            return False
        expected *= loop.extent
    return access.offset == 0 and expected == access.buffer.num_elements and not access.indirect


def match_loops(
    write: Access, read: Access, producers: Sequence[Stage], consumer: Stage
) -> list[tuple[Loop, Loop]] | None:
    """Pairs (producer loop, consumer loop) that make `read` see exactly what `write` wrote at the same iteration.

    Loops are split on either side where one is coarser than the other. None when the accesses do not match; the
    stages may then have been split but still mean the same. Both accesses must cover the whole buffer, so that equal
    strides identify loops without ambiguity.
    """
    if write.buffer is not read.buffer or not covers_buffer(write) or not covers_buffer(read):
        return None
    pairs: list[tuple[Loop, Loop]] = []
    written = sorted(write.strides.items(), key=lambda item: item[1])
    wanted = sorted(read.strides.items(), key=lambda item: item[1])
    while written and wanted:
        (mine, stride), (theirs, other) = written.pop(0), wanted.pop(0)
        if stride != other:
            return None
        if mine.extent > theirs.extent:
            if mine.extent % theirs.extent:
                return None
            outer, mine = split_loop(producers, mine, theirs.extent)
            written.insert(0, (outer, stride * theirs.extent))
        elif theirs.extent > mine.extent:
            if theirs.extent % mine.extent:
                return None
            outer, theirs = split_loop([consumer], theirs, mine.extent)
            wanted.insert(0, (outer, stride * mine.extent))
        pairs.append((mine, theirs))
    return pairs if not written and not wanted else None


def rename_loops(stage: Stage, names: dict[Loop, Loop]) -> None:
    """Replace loops of `stage` by the loops of equal extent that `names` gives for them."""
    for old, new in names.items():
        if old.extent != new.extent:
            raise InternalError(f"loops of {old.extent} and {new.extent} iterations cannot be one")
    for access in stage.accesses():
        access.strides = {names.get(loop, loop): stride for loop, stride in access.strides.items()}
    stage.loops = [names.get(loop, loop) for loop in stage.loops]
    stage.reduced = [names.get(loop, loop) for loop in stage.reduced]


def coalesce_loops(stages: Sequence[Stage], apart: Collection[Loop] = ()) -> None:
    """Merge pairs of loops that every access walks as one run (stride of the outer = stride * extent of the inner).

    Loops in `apart` stay as they are.
    """
    merged = True
    while merged:
        merged = False
        loops = list(dict.fromkeys(loop for stage in stages for loop in stage.loops if loop not in apart))
        for outer in loops:
            for inner in loops:
                if outer is not inner and _mergeable(stages, outer, inner):
                    _merge(stages, outer, inner)
                    merged = True
                    break
            if merged:
                break


def _mergeable(stages: Sequence[Stage], outer: Loop, inner: Loop) -> bool:
    for stage in stages:
        if (outer in stage.loops) != (inner in stage.loops) or (outer in stage.reduced) != (inner in stage.reduced):
            return False
        if outer in stage.loops:
            for access in stage.accesses():
                if access.stride(outer) != access.stride(inner) * inner.extent:
                    return False
    return True


def _merge(stages: Sequence[Stage], outer: Loop, inner: Loop) -> None:
    joined = Loop(outer.extent * inner.extent, inner.name)
    for stage in stages:
        if inner not in stage.loops:
            continue
        for access in stage.accesses():
            stride = access.strides.pop(inner, 0)
            access.strides.pop(outer, None)
            if stride:
                access.strides[joined] = stride
        for loops in (stage.loops, stage.reduced):
            if inner in loops:
                loops[loops.index(inner)] = joined
            if outer in loops:
                loops.remove(outer)
