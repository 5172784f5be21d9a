"""What a run was found to do: a row per kernel launch or host operation, and totals (defined in docs/metrics.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from atalla_mlir.host.kernel_check import Comparison, Wrong
from atalla_mlir.runtime import memory_picture
from atalla_mlir.runtime.memory_map import MemoryMap

HOST = "host"


@dataclass(frozen=True)
class Shapes:
    """Shapes of what an operation reads and writes, in the order of its operands."""

    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Timing:
    """Cycles of a kernel launch or of the whole run; all None or empty when they were not counted."""

    cycles: int | None = None
    stalls: Mapping[str, int] = field(default_factory=dict[str, int])
    """Cause -> cycles; they sum to `cycles`."""
    utilisation: Mapping[str, float] = field(default_factory=dict[str, float])
    """Unit -> share of the cycles in which it was occupied."""
    bound_cycles: int | None = None
    """What no program for the operation can go below, under the assumptions of docs/metrics.md."""
    bound_by: str | None = None
    """The resource that `bound_cycles` comes from."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "stalls": dict(self.stalls), "utilisation": dict(self.utilisation)}


UNTIMED = Timing()

VERDICTS = frozenset(
    ("max_error", "error_bound", "worst_ratio", "num_unbounded", "ok", "wrong", "first_wrong", "cosine_f32")
)
"""Keys of rows and totals that only verification can fill."""


@dataclass(frozen=True)
class OpReport:
    """One kernel launch, or one operation that PyTorch ran on the host."""

    name: str
    aten: tuple[str, ...]
    source: str | None
    shapes: Shapes
    device: str
    reason: str | None
    """Why it ran on the host; None on the device."""
    flops: int
    macs: int
    stores: tuple[Comparison, ...] = ()
    """Each output beside its reference."""
    reads: tuple[Comparison, ...] = ()
    """Each input beside what was stored under its name."""
    problem: str | None = None
    """A fault of the run that is not a wrong element: a value that was never stored, for example."""
    static_slot_fill: float = 0.0
    static_slot_fill_nonempty: float = 0.0
    dynamic_slot_fill: float = 0.0
    packets_executed: int = 0
    instructions_executed: int = 0
    dram_bytes_loaded: int = 0
    dram_bytes_stored: int = 0
    timing: Timing = UNTIMED
    compulsory_bytes: int | None = None
    """DRAM bytes that no code for the operation can do without; None when that is not known."""
    function: str | None = None
    """The function that the kernel is."""
    code: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the compiler said about the function: packets, registers, spills, loops."""
    decisions: tuple[Mapping[str, Any], ...] = ()
    """What was chosen for each loop nest of it (docs/decisions.md)."""
    predicted_cycles: int | None = None
    """What the chosen code was predicted to take; None where there is no model of it."""

    @property
    def ok(self) -> bool:
        return self.problem is None and all(check.ok for check in (*self.stores, *self.reads))

    @property
    def max_error(self) -> float:
        """Largest difference of a stored element from its reference."""
        return max((check.max_error for check in self.stores), default=0.0)

    @property
    def error_bound(self) -> float:
        """Largest bound of a stored element."""
        return max((check.error_bound for check in self.stores), default=0.0)

    @property
    def worst_ratio(self) -> float:
        return max((check.worst_ratio for check in self.stores), default=0.0)

    @property
    def prediction_error(self) -> float | None:
        """By what part of the cycles the prediction is too large; negative where it is too small."""
        if self.predicted_cycles is None or not self.timing.cycles:
            return None
        return self.predicted_cycles / self.timing.cycles - 1

    @property
    def arithmetic_intensity(self) -> float:
        """FLOPs per byte of DRAM traffic; 0 without traffic."""
        return ratio(self.flops, self.dram_bytes_loaded + self.dram_bytes_stored)

    @property
    def wrong(self) -> str | None:
        """What is wrong, in words; None when nothing is."""
        if self.problem is not None:
            return self.problem
        for check in self.reads:
            if check.wrong is not None:
                return f"it reads other values than were stored: {check.wrong}"
        return next((str(check.wrong) for check in self.stores if check.wrong is not None), None)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "aten": list(self.aten),
            "source": self.source,
            "shapes": {key: [list(shape) for shape in shapes] for key, shapes in asdict(self.shapes).items()},
            "device": self.device,
            "reason": self.reason,
            "max_error": number(self.max_error),
            "error_bound": number(self.error_bound),
            "worst_ratio": number(self.worst_ratio),
            "num_unbounded": sum(check.num_unbounded for check in self.stores),
            "ok": self.ok,
            "wrong": self.wrong,
            "first_wrong": _first_wrong_json(self),
            "static_slot_fill": self.static_slot_fill,
            "static_slot_fill_nonempty": self.static_slot_fill_nonempty,
            "dynamic_slot_fill": self.dynamic_slot_fill,
            "packets_executed": self.packets_executed,
            "instructions_executed": self.instructions_executed,
            "dram_bytes_loaded": self.dram_bytes_loaded,
            "dram_bytes_stored": self.dram_bytes_stored,
            "flops": self.flops,
            "macs": self.macs,
            "arithmetic_intensity": self.arithmetic_intensity,
            "compulsory_bytes": self.compulsory_bytes,
            "function": self.function,
            "code": dict(self.code),
            "decisions": [dict(row) for row in self.decisions],
            "predicted_cycles": self.predicted_cycles,
            "prediction_error": self.prediction_error,
            **self.timing.to_json(),
        }


@dataclass(frozen=True)
class Totals:
    """The whole run."""

    packets_executed: int
    instructions_executed: int
    static_slot_fill: float
    static_slot_fill_nonempty: float
    dynamic_slot_fill: float
    slot_histogram: tuple[int, ...]
    dram_bytes_loaded: int
    dram_bytes_stored: int
    macs: int
    flops: int
    arithmetic_intensity: float
    arithmetic_intensity_loads: float
    device_flops_fraction: float
    host_ops: tuple[Mapping[str, str], ...]
    cosine_f32: float
    ok: bool
    timing: Timing = UNTIMED
    compulsory_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        row = asdict(self)
        del row["timing"]
        return {
            **row,
            **self.timing.to_json(),
            "slot_histogram": list(self.slot_histogram),
            "host_ops": [dict(op) for op in self.host_ops],
            "cosine_f32": number(self.cosine_f32),
        }


@dataclass(frozen=True)
class Report:
    """The result of `verify`. Printing it gives a table; `first_wrong` names the operation that went wrong first."""

    model: str
    ops: tuple[OpReport, ...]
    totals: Totals
    compile_seconds: Mapping[str, float] | None = None
    """By pass, capture and linking included; None when the program was compiled elsewhere."""
    verified: bool = True
    """Whether values were judged; the keys about that are left out of the JSON when they were not."""
    memory: MemoryMap | None = None
    """Where everything lies in DRAM, and how much of the pads is used."""

    @property
    def ok(self) -> bool:
        return self.totals.ok

    @property
    def first_wrong(self) -> OpReport | None:
        return next((op for op in self.ops if not op.ok), None)

    def to_json(self) -> dict[str, Any]:
        dropped = frozenset[str]() if self.verified else VERDICTS

        def kept(row: Mapping[str, Any]) -> dict[str, Any]:
            return {key: value for key, value in row.items() if key not in dropped}

        ops = [kept(op.to_json()) for op in self.ops]
        seconds = None if self.compile_seconds is None else dict(self.compile_seconds)
        return {
            "model": self.model,
            "ops": ops,
            "totals": kept(self.totals.to_json()),
            "compile_seconds": seconds,
            "memory": None if self.memory is None else self.memory.to_json(),
        }

    def summary(self) -> str:
        """One line, or two when something is wrong."""
        kernels = [op for op in self.ops if op.device != HOST]
        wrong = sum(not op.ok for op in self.ops)
        cosine = f"cosine {self.totals.cosine_f32:.6f} against float32 PyTorch"
        if self.ok:
            what = (
                "1 kernel within its error bound"
                if len(kernels) == 1
                else f"{len(kernels)} kernels within their error bounds"
            )
            return f"{self.model}: {what}, {cosine}"
        return f"{self.model}: {wrong} of {len(self.ops)} operations are wrong, {cosine}\n{self._first_wrong_text()}"

    def _first_wrong_text(self) -> str:
        first = self.first_wrong
        if first is None:
            return "the results of the program are not those of its kernels"
        place = f" ({first.source})" if first.source else ""
        return f"first wrong: {first.name} [{', '.join(first.aten)}]{place}: {first.wrong}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield table(self.ops)
        if self.memory is not None:
            yield memory_text(self.memory)
        yield self.summary()

    def __str__(self) -> str:
        console = Console(width=160, color_system=None)
        with console.capture() as captured:
            console.print(self)
        return captured.get()


def memory_text(memory: MemoryMap) -> Text:
    """The plan of DRAM and pads in lines that are not broken."""
    lines = f"\n{memory_picture.text(memory)}\n{memory_picture.summary(memory)}\n"
    return Text(lines, no_wrap=True, overflow="crop")


def table(ops: Sequence[OpReport]) -> Table:
    """Rows for people: what ran, how wrong it is in units of its bound, how full its packets are, what it moved."""
    result = Table(box=None, pad_edge=False)
    for heading in ("kernel", "ATen", "shape", "on"):
        result.add_column(heading, overflow="fold")
    for heading in ("max error", "error bound", "of bound", "fill", "packets", "loaded", "stored", "FLOP/byte"):
        result.add_column(heading, justify="right")
    result.add_column("")
    for op in ops:
        result.add_row(*_cells(op), style=None if op.ok else "bold red")
    return result


def _cells(op: OpReport) -> list[str]:
    shape = shape_text(op.shapes.outputs)
    aten = " ".join(dict.fromkeys(name.split(".")[1] if "." in name else name for name in op.aten))
    if op.device == HOST:
        return [op.name, aten, shape, HOST, *[""] * 8, op.reason or ""]
    return [
        op.name,
        aten,
        shape,
        op.device,
        f"{op.max_error:.3g}",
        f"{op.error_bound:.3g}",
        f"{op.worst_ratio:.2f}",
        f"{100 * op.dynamic_slot_fill:.0f} %",
        f"{op.packets_executed:,}",
        f"{op.dram_bytes_loaded:,}",
        f"{op.dram_bytes_stored:,}",
        f"{op.arithmetic_intensity:.2f}",
        "ok" if op.ok else "WRONG",
    ]


def shape_text(shapes: Sequence[tuple[int, ...]]) -> str:
    """Shapes in a cell of a table: 4x8 for each tensor."""
    return " ".join("x".join(map(str, shape)) or "scalar" for shape in shapes)


def _first_wrong_json(op: OpReport) -> dict[str, Any] | None:
    wrong: Wrong | None = next((c.wrong for c in (*op.reads, *op.stores) if c.wrong is not None), None)
    if wrong is None:
        return None
    row = asdict(wrong)
    return {
        **row,
        "indices": list(wrong.indices),
        **{key: number(row[key]) for key in ("stored", "expected", "error_bound")},
    }


def number(value: float) -> float | str:
    """A number as strict JSON can hold it: infinities and NaN are the strings "inf", "-inf" and "nan"."""
    return value if math.isfinite(value) else str(float(value))


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
