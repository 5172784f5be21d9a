"""What was found about stages in this process, for stages that differ only in names.

Layers of a network are alike, and the same stages are looked at while kernels are formed, while images are kept and
when a kernel is emitted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import TypeVar

from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Node, Stage

MAX_FINDINGS = 4096
"""Findings kept at most; the one not asked for longest goes first."""

Finding = TypeVar("Finding", bound=Hashable)

_FINDINGS: OrderedDict[Hashable, Hashable] = OrderedDict()


def recall(question: str, described: Hashable, find: Callable[[], Finding]) -> Finding:
    """What `find` finds, or what it found when `question` was asked about equal stages (`described`).

    A finding is a plain value: it must not refer to the stages.
    """
    key = question, described
    if key not in _FINDINGS:
        _FINDINGS[key] = find()
        if len(_FINDINGS) > MAX_FINDINGS:
            _FINDINGS.popitem(last=False)
    _FINDINGS.move_to_end(key)
    return _FINDINGS[key]  # pyright: ignore[reportReturnType]


class Description:
    """Stages as plain values: loops, buffers and accesses are numbers, in the order in which they occur."""

    def __init__(self) -> None:
        self._accesses: dict[Access, int] = {}
        self._loops: dict[Loop, int] = {}
        self._buffers: dict[Buffer, int] = {}
        self._parts: list[Hashable] = []

    @property
    def key(self) -> Hashable:
        """Equal for what is equal but for names."""
        loops = tuple(loop.extent for loop in self._loops)
        buffers = tuple((b.num_elements, b.is_integer, b.is_counter, b.triangle) for b in self._buffers)
        return loops, buffers, tuple(self._parts)

    def stages(self, stages: Sequence[Stage]) -> Description:
        self._parts.append(tuple(map(self._stage, stages)))
        return self

    def buffers(self, buffers: Collection[Buffer]) -> Description:
        """A set of buffers."""
        self._parts.append(frozenset(map(self._buffer, buffers)))
        return self

    def names(self, names: Mapping[Loop, Loop]) -> Description:
        """Loops and those that they are taken for."""
        self._parts.append(tuple((self._loop(old), self._loop(new)) for old, new in names.items()))
        return self

    def _stage(self, stage: Stage) -> Hashable:
        return (
            stage.kind,
            tuple(map(self._loop, stage.loops)),
            tuple(map(self._access, stage.reads)),
            self._access(stage.write),
            self._expression(stage.body),
            tuple(map(self._loop, stage.reduced)),
            stage.combine,
            stage.changes_state,
        )

    def _access(self, access: Access) -> Hashable:
        strides = tuple((self._loop(loop), stride) for loop, stride in access.strides.items())
        indirect = tuple((self._expression(node), stride) for node, stride in access.indirect)
        number = self._accesses.setdefault(access, len(self._accesses))
        return number, self._buffer(access.buffer), access.offset, strides, indirect

    def _expression(self, root: Node) -> Hashable:
        """Nodes in an order in which operands come first; the text of a number tells zeros and NaNs apart."""
        numbers: dict[Node, int] = {}
        nodes: list[Hashable] = []
        for node in root.walk():
            nodes.append((node.op, tuple(numbers[argument] for argument in node.args), node.read, repr(node.value)))
            numbers[node] = len(numbers)
        return tuple(nodes)

    def _loop(self, loop: Loop) -> int:
        return self._loops.setdefault(loop, len(self._loops))

    def _buffer(self, buffer: Buffer) -> int:
        return self._buffers.setdefault(buffer, len(self._buffers))
