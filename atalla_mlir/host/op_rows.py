"""Rows and totals of a report from what a run counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from atalla_mlir.host.fill import Fill, fill_between, fill_of_code
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.host.report import HOST, UNTIMED, OpReport, Shapes, Timing, Totals, ratio
from atalla_mlir.runtime.utilisation import utilisation
from atalla_mlir.sim.engine import Counters
from atalla_mlir.target.encoding import SLOTS
from atalla_mlir.target.machine import MACHINES, Machine


class RowMaker:
    """Describes what a program runs; knows the static fill of its functions."""

    def __init__(self, program: TorchProgram) -> None:
        self.program = program
        self.machine: Machine = program.device.machine
        functions = program.loadable.meta["functions"]
        self._fill: dict[str, Fill] = {name: fill_between(program.loadable, *pcs) for name, pcs in functions.items()}
        self._code: Mapping[str, Any] = program.loadable.meta.get("code", {})

    def kernel(self, kernel: Mapping[str, Any], counters: Counters) -> OpReport:
        """A launch of a kernel (a row of `meta.kernels`) that counted `counters`."""
        fill = self._fill[kernel["function"]]
        timing = _timing(counters, self.machine, self._bounds_of(kernel))
        return OpReport(
            name=kernel["name"],
            aten=tuple(kernel["aten"]),
            source=kernel["source"],
            shapes=Shapes(_shapes(kernel["inputs"]), _shapes(kernel["outputs"])),
            device=self.machine.name,
            reason=None,
            flops=kernel["flops"],
            macs=kernel["macs"],
            static_slot_fill=fill.all_packets,
            static_slot_fill_nonempty=fill.nonempty_packets,
            dynamic_slot_fill=ratio(counters.instructions, SLOTS * counters.packets),
            packets_executed=counters.packets,
            instructions_executed=counters.instructions,
            dram_bytes_loaded=counters.dram_bytes_loaded,
            dram_bytes_stored=counters.dram_bytes_stored,
            timing=timing,
            problem=_below_bound(timing),
            compulsory_bytes=kernel.get("compulsory_bytes"),
            function=kernel["function"],
            code=self._code.get(kernel["function"], {}),
            decisions=tuple(kernel.get("decisions", ())),
            predicted_cycles=kernel.get("predicted_cycles"),
        )

    def host(self, step: Mapping[str, Any], results: Mapping[str, Tensor]) -> OpReport:
        """An operation that PyTorch ran."""
        covered = {op.name: op for op in self.program.coverage.host_operations}
        names = [value for value in step["outputs"] if value is not None]
        operation = next((covered[value] for value in names if value in covered), None)
        return OpReport(
            name=operation.name if operation else names[0] if names else step["target"],
            aten=(step["target"],),
            source=operation.source if operation else None,
            shapes=Shapes((), tuple(tuple(results[value].shape) for value in names)),
            device=HOST,
            reason=step["reason"],
            flops=operation.flops if operation else 0,
            macs=0,
        )

    def totals(self, rows: Sequence[OpReport], steps: Sequence[Counters], *, cosine: float, ok: bool) -> Totals:
        """The whole run: its rows, and what each device step counted."""
        total = _sum(steps)
        loaded, stored = total.dram_bytes_loaded, total.dram_bytes_stored
        fill = fill_of_code(self.program.loadable)
        coverage = self.program.coverage
        flops = sum(row.flops for row in rows)
        timing = _timing(total, self.machine, self._bounds())
        return Totals(
            packets_executed=total.packets,
            instructions_executed=total.instructions,
            static_slot_fill=fill.all_packets,
            static_slot_fill_nonempty=fill.nonempty_packets,
            dynamic_slot_fill=ratio(total.instructions, SLOTS * total.packets),
            slot_histogram=tuple(total.slot_histogram),
            dram_bytes_loaded=loaded,
            dram_bytes_stored=stored,
            macs=sum(row.macs for row in rows),
            flops=flops,
            arithmetic_intensity=ratio(flops, loaded + stored),
            arithmetic_intensity_loads=ratio(flops, loaded),
            device_flops_fraction=coverage.device_flops_fraction,
            host_ops=tuple(
                {"name": op.name, "aten": op.aten, "reason": op.reason or ""} for op in coverage.host_operations
            ),
            cosine_f32=cosine,
            ok=ok and _below_bound(timing) is None,
            timing=timing,
            compulsory_bytes=sum(row["compulsory_bytes"] for row in entries) if (entries := self._entries()) else None,
        )

    def _entries(self) -> list[Mapping[str, Any]]:
        """What the loadable says about the device steps that run; empty when it is silent about one."""
        stated = self.program.loadable.meta.get("bounds", {})
        names = [step["entry"] for step in self.program.steps if step["kind"] == "device"]
        return [stated[name] for name in names] if all(name in stated for name in names) else []

    def _bounds(self) -> Mapping[str, int]:
        """Of all device steps together: what one gives to the next is read by the host."""
        total: dict[str, int] = {}
        for entry in self._entries():
            for resource, cycles in self._bounds_of(entry).items():
                total[resource] = total.get(resource, 0) + cycles
        return total

    def _bounds_of(self, kernel: Mapping[str, Any]) -> Mapping[str, int]:
        """Cycles by resource; they hold for the parameter set that they were stated for, as it is."""
        stated_for = self.program.loadable.machine_name
        return kernel.get("bounds", {}) if self.machine == MACHINES.get(stated_for) else {}


def _timing(counters: Counters, machine: Machine, bounds: Mapping[str, int]) -> Timing:
    bound_by = max(bounds, key=lambda resource: bounds[resource], default=None)
    bound_cycles = None if bound_by is None else bounds[bound_by]
    if not counters.cycles:
        return Timing(bound_cycles=bound_cycles, bound_by=bound_by) if bounds else UNTIMED
    stalls = {cause: cycles for cause, cycles in counters.stalls.items() if cycles}
    return Timing(counters.cycles, stalls, utilisation(counters, machine), bound_cycles, bound_by)


def _below_bound(timing: Timing) -> str | None:
    """What is wrong with a run that took fewer cycles than anything can."""
    cycles, bound = timing.cycles, timing.bound_cycles
    if cycles is None or bound is None or cycles >= bound:
        return None
    return f"it took {cycles} cycles, less than its bound of {bound} by {timing.bound_by}: one of the two is wrong"


def _sum(parts: Sequence[Counters]) -> Counters:
    total = Counters()
    for part in parts:
        for name in ("packets", "instructions", "gemm_rows", "dram_bytes_loaded", "dram_bytes_stored", "cycles"):
            setattr(total, name, getattr(total, name) + getattr(part, name))
        total.slot_histogram = np.add(total.slot_histogram, part.slot_histogram).tolist()
        for cause, cycles in part.stalls.items():
            total.stalls[cause] = total.stalls.get(cause, 0) + cycles
        for unit, count in part.units.items():
            total.units[unit] = total.units.get(unit, 0) + count
    return total


def _shapes(rows: Iterable[Mapping[str, Any]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row["shape"]) for row in rows)
