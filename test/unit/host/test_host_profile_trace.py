"""Trace files: their totals are those of the counters, a window shows a part of the same spans."""

from __future__ import annotations

import io
import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import torch

from atalla_mlir.compiler import compile_plan
from atalla_mlir.errors import BadInputError
from atalla_mlir.frontend.partition import plan_model
from atalla_mlir.host.profile import profile_program
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.host.report import Report
from atalla_mlir.runtime.perfetto import WHOLE_RUN, TraceWriter, Window
from atalla_mlir.sim.native_library import library_path


class Steps(torch.nn.Module):
    """Two kernels and a host operation between them."""

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch.lgamma(x @ w).relu() + 1.0


@pytest.fixture(scope="module")
def loadable() -> Any:
    torch.manual_seed(0)
    return compile_plan(plan_model(Steps(), inputs()))


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(5, 40), torch.ones(40, 35)


def traced(loadable: Any, window: Window = WHOLE_RUN, *, engine: str = "reference") -> tuple[dict[str, Any], Report]:
    program, file = TorchProgram(loadable, engine=engine), io.StringIO()
    trace = TraceWriter(file, program.device.machine, window)
    profile = profile_program(program, program.initial_values(inputs(), {}), name="steps", trace=trace)
    return json.loads(file.getvalue()), profile.report


def spans(document: dict[str, Any], category: str) -> list[dict[str, Any]]:
    return [event for event in document["traceEvents"] if event.get("cat") == category]


def cycles_by_name(document: dict[str, Any], category: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for event in spans(document, category):
        total[event["name"]] += event["dur"]
    return total


def test_totals_equal_the_counters(loadable: Any) -> None:
    document, report = traced(loadable)
    timing, totals = report.totals.timing, report.totals
    stalls = {**cycles_by_name(document, "stall"), "issue": len(spans(document, "issue"))}
    assert stalls == dict(timing.stalls)
    assert document["otherData"]["cycles"] == timing.cycles == sum(stalls.values())
    assert {k: n for k, n in document["otherData"]["stalls"].items() if n} == stalls
    assert len(spans(document, "issue")) == totals.packets_executed
    moved = sum(event["args"]["bytes"] for event in spans(document, "dma"))
    assert 0 < moved <= totals.dram_bytes_loaded + totals.dram_bytes_stored
    kernels = [op for op in report.ops if op.device != "host"]
    assert [event["name"] for event in spans(document, "op")] == [op.name for op in kernels]
    assert [event["dur"] for event in spans(document, "kernel")] == [op.timing.cycles for op in kernels]


def test_entries_follow_each_other(loadable: Any) -> None:
    document, _ = traced(loadable)
    charged = sorted(
        (e["ts"], e["ts"] + e["dur"]) for category in ("issue", "stall") for e in spans(document, category)
    )
    assert charged[0][0] == 0
    assert all(first[1] == second[0] for first, second in pairwise(charged))


def test_every_track_has_a_name(loadable: Any) -> None:
    document, _ = traced(loadable)
    named = {e["tid"]: e["args"]["name"] for e in document["traceEvents"] if e["name"] == "thread_name"}
    assert {e["tid"] for e in document["traceEvents"] if e["ph"] == "X"} <= named.keys()
    assert {"operations", "kernels", "stalls", "gsau", "lane alu", "dma 0", "pad 3 write"} <= set(named.values())


def test_a_window_cuts_spans(loadable: Any) -> None:
    whole, report = traced(loadable)
    window = Window(500, 1300)
    part, _ = traced(loadable, window)
    assert sum(cycles_by_name(part, "stall").values()) + len(spans(part, "issue")) == 800
    assert part["otherData"]["cycles"] == report.totals.timing.cycles
    inside = [e for e in spans(whole, "issue") if 500 <= e["ts"] < 1300]
    assert spans(part, "issue") == inside


@pytest.mark.parametrize(
    ("text", "window"),
    [(":", Window()), ("7:", Window(7)), (":9", Window(0, 9)), ("3:4", Window(3, 4))],
)
def test_windows_are_read(text: str, window: Window) -> None:
    assert Window.parse(text) == window


@pytest.mark.parametrize("text", ["", "7", "a:b", "-1:4", "4:4", "5:2"])
def test_bad_windows_are_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="window"):
        Window.parse(text)


@pytest.mark.skipif(library_path() is None, reason="the native engine was not built: no C++ compiler")
@pytest.mark.parametrize("window", [WHOLE_RUN, Window(300, 900), Window(400), Window(0, 1)], ids=str)
def test_both_engines_write_the_same_trace(loadable: Any, window: Window) -> None:
    reference, _ = traced(loadable, window)
    native, _ = traced(loadable, window, engine="native")
    assert native == reference
