"""Which operations of an ExecuTorch program were delegated, and why the others were not."""

from __future__ import annotations

from dataclasses import dataclass

EXECUTORCH = "executorch"


@dataclass(frozen=True)
class OperationPlace:
    """One operation of the edge program."""

    name: str
    operation: str
    tag: str | None
    """The delegate that runs it; None on ExecuTorch's kernels."""
    reason: str | None
    """Why it is not delegated; None when it is."""


@dataclass(frozen=True)
class DelegationSummary:
    """All operations in the order of the program; printing it gives a table."""

    operations: tuple[OperationPlace, ...]

    @property
    def delegated(self) -> tuple[OperationPlace, ...]:
        return tuple(op for op in self.operations if op.tag is not None)

    @property
    def left(self) -> tuple[OperationPlace, ...]:
        """What ExecuTorch's kernels run."""
        return tuple(op for op in self.operations if op.tag is None)

    @property
    def num_delegates(self) -> int:
        return len({op.tag for op in self.delegated})

    def __str__(self) -> str:
        rows = [("value", "operation", "runs on", "reason")]
        rows += [(op.name, op.operation, op.tag or EXECUTORCH, op.reason or "") for op in self.operations]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        count = self.num_delegates
        total = f"{len(self.delegated)} of {len(self.operations)} operations in {count} delegate"
        return "\n".join([*lines, total if count == 1 else f"{total}s"])
