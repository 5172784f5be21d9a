"""Coverage: every operation of a compiled model, where it runs, why, and its share of the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import fx

from atalla_mlir.frontend.flops import flops
from atalla_mlir.frontend.partition import DeviceStep, Plan

DEVICE = "ax01"
HOST = "host"


@dataclass(frozen=True)
class OperationCoverage:
    """One operation of the captured graph."""

    name: str
    """Name of its value."""
    aten: str
    original: str
    """The operation of the model that it was made from."""
    source: str | None
    shape: tuple[int, ...] | None
    device: str
    entry: str | None
    """Entry point of the loadable that holds it; None on the host."""
    reason: str | None
    """Why it runs on the host; None on the device."""
    flops: int
    flop_share: float
    """Its part of the FLOPs of all operations, 0 to 1."""


@dataclass(frozen=True)
class Coverage:
    """All operations in the order of the graph; printing it gives a table."""

    operations: tuple[OperationCoverage, ...]

    @property
    def host_operations(self) -> tuple[OperationCoverage, ...]:
        return tuple(op for op in self.operations if op.device == HOST)

    @property
    def device_flops_fraction(self) -> float:
        """FLOPs of the device's operations over all; of a model without FLOPs, the fraction of its operations."""
        total = sum(op.flops for op in self.operations)
        on_device = [op for op in self.operations if op.device == DEVICE]
        if total:
            return sum(op.flops for op in on_device) / total
        return len(on_device) / len(self.operations) if self.operations else 1.0

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(op) for op in self.operations]

    @classmethod
    def from_json(cls, rows: Sequence[Mapping[str, Any]]) -> Coverage:
        return cls(tuple(OperationCoverage(**{**row, "shape": _shape(row["shape"])}) for row in rows))

    def __str__(self) -> str:
        header = ("value", "aten", "shape", "runs on", "FLOP share", "reason")
        lines = [header, *(_cells(op) for op in self.operations)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        table = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        return "\n".join([*table, self.summary()])

    def summary(self) -> str:
        """One line: how many operations and what part of the FLOPs the device runs."""
        on_device = len(self.operations) - len(self.host_operations)
        share = 100 * self.device_flops_fraction
        return f"on {DEVICE}: {on_device} of {len(self.operations)} operations, {share:.4g} % of the FLOPs"


def coverage(plan: Plan) -> Coverage:
    """Where each operation of `plan` runs."""
    places: dict[str, tuple[str | None, str | None]] = {}
    for step in plan.steps:
        if isinstance(step, DeviceStep):
            places.update({node.name: (step.entry, None) for node in step.nodes})
        else:
            places[step.node.name] = (None, step.reason)
    nodes = [node for node in plan.captured.graph.nodes if node.name in places]
    total = sum(flops(node) for node in nodes)
    return Coverage(tuple(_operation(plan, node, *places[node.name], total) for node in nodes))


def _operation(plan: Plan, node: fx.Node, entry: str | None, reason: str | None, total: int) -> OperationCoverage:
    work = flops(node)
    return OperationCoverage(
        name=node.name,
        aten=str(node.target),
        original=plan.captured.originals.get(node.name, str(node.target)),
        source=plan.captured.sources.get(node.name),
        shape=_shape(getattr(node.meta["val"], "shape", None)),
        device=HOST if entry is None else DEVICE,
        entry=entry,
        reason=reason,
        flops=work,
        flop_share=work / total if total else 0.0,
    )


def _shape(sizes: Sequence[int] | None) -> tuple[int, ...] | None:
    # an extent that is known only at run time is written as -1
    return None if sizes is None else tuple(size if isinstance(size, int) else -1 for size in sizes)


def _cells(op: OperationCoverage) -> tuple[str, ...]:
    shape = "-" if op.shape is None else "x".join(map(str, op.shape)) or "scalar"
    return op.name, op.aten, shape, op.device, f"{100 * op.flop_share:.1f} %", op.reason or ""
