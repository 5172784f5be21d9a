"""Cycles of a report for people: by kernel, then by cause and unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

from atalla_mlir.host.report import HOST, OpReport, Report, Timing, shape_text

_SHOWN_CAUSES = 3
_LEAST_SHARE = 0.005


def profile_tables(report: Report) -> Iterator[Table]:
    """A row per operation; the whole run by stall cause; utilisation of the units."""
    total = report.totals.timing
    yield _by_kernel(report.ops, total)
    yield _shares("cycles by cause", total.stalls, total.cycles or 0)
    yield _utilisation(total)


def profile_summary(report: Report) -> str:
    """One line: cycles, what part of them the kernels took, the bound."""
    total = report.totals.timing
    cycles = total.cycles or 0
    kernels = sum(op.timing.cycles or 0 for op in report.ops)
    bound = f"; bound {total.bound_cycles:,} ({total.bound_by})" if total.bound_cycles is not None else ""
    return f"{report.model}: {cycles:,} cycles, {kernels:,} of them in kernels{bound}"


def _by_kernel(ops: Sequence[OpReport], total: Timing) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("kernel", "ATen", "shape"):
        table.add_column(heading, overflow="fold")
    for heading in ("cycles", "of all", "bound", "of bound", "predicted", "fill", "DRAM bytes"):
        table.add_column(heading, justify="right")
    table.add_column("most cycles")
    table.add_column("busiest units")
    for op in ops:
        table.add_row(*_cells(op, total.cycles or 0))
    return table


def _cells(op: OpReport, all_cycles: int) -> list[str]:
    names = [op.name, " ".join(dict.fromkeys(name.split(".")[1] if "." in name else name for name in op.aten))]
    if op.device == HOST:
        return [*names, shape_text(op.shapes.outputs), "", "", "", "", "", "", "", HOST, op.reason or ""]
    timing = op.timing
    cycles = timing.cycles or 0
    bound = timing.bound_cycles
    return [
        *names,
        shape_text(op.shapes.outputs),
        f"{cycles:,}",
        _percent(cycles, all_cycles),
        "" if bound is None else f"{bound:,} {timing.bound_by}",
        f"{cycles / bound:.2f}" if bound else "",
        "" if op.prediction_error is None else f"{100 * op.prediction_error:+.0f} %",
        f"{100 * op.dynamic_slot_fill:.0f} %",
        f"{op.dram_bytes_loaded + op.dram_bytes_stored:,}",
        _most({cause: n / cycles for cause, n in timing.stalls.items()} if cycles else {}),
        _most(timing.utilisation),
    ]


def _most(shares: Mapping[str, float]) -> str:
    largest = sorted(shares.items(), key=lambda item: -item[1])[:_SHOWN_CAUSES]
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in largest if share >= _LEAST_SHARE)


def _shares(title: str, cycles: Mapping[str, int], whole: int) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(title)
    table.add_column("cycles", justify="right")
    table.add_column("of all", justify="right")
    for name, count in sorted(cycles.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{count:,}", _percent(count, whole))
    return table


def _utilisation(total: Timing) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("unit")
    table.add_column("busy", justify="right")
    for unit, share in sorted(total.utilisation.items(), key=lambda item: -item[1]):
        if share >= _LEAST_SHARE:
            table.add_row(unit, f"{100 * share:.1f} %")
    return table


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""
