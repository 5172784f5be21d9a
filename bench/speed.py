"""How fast the engines simulate: the packets of products that the compiler emits, ratios within one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch

from atalla_mlir.frontend.arrays import to_numpy
from bench.measure import compiled
from bench.suite import Case, suite

_REFERENCE_CASE, _NATIVE_CASE = "gemm_64x64x64", "gemm_512x512x512"
_NATIVE_MACS = 512**3
_REPEATS = 3


def speed_rows(engine: str) -> Iterator[str]:
    """Lines about the reference engine and, when `engine` is native, about that one beside PyTorch."""
    packets, seconds = _run(_REFERENCE_CASE, "reference", timing=True)
    rate = packets / seconds / 1e6
    yield f"reference engine with timing: {rate:.3f} M packets/s ({_REFERENCE_CASE}, {packets:,} packets)"
    if engine != "native":
        yield "native engine: not here, its speed is not measured"
        return
    for timing in (False, True):
        packets, seconds = _run(_NATIVE_CASE, "native", timing=timing)
        what = "with timing" if timing else "values only"
        yield f"native engine {what}: {_NATIVE_MACS / seconds / 1e9:.2f} GMAC/s ({_NATIVE_CASE}, {packets:,} packets)"
    yield f"torch float32 matmul on one thread: {_NATIVE_MACS / _torch_seconds() / 1e9:.2f} GMAC/s"


def _case(name: str) -> Case:
    return next(case for case in suite() if case.name == name)


def _run(name: str, engine: str, *, timing: bool) -> tuple[int, float]:
    """Packets of a run and the least seconds that it took."""
    case = _case(name)
    program, _ = compiled(case, engine)
    device, step = program.device, program.loadable.meta["steps"][0]
    device.timing = timing
    values = program.initial_values(case.inputs(), {})
    arrays = [to_numpy(values[value]) for value in step["inputs"]]
    seconds = _least_seconds(lambda: device.run_entry(step["entry"], arrays))
    return device.counters.packets, seconds


def _torch_seconds() -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        left, right = _case(_NATIVE_CASE).inputs()
        return _least_seconds(lambda: torch.matmul(left, right))
    finally:
        torch.set_num_threads(threads)


def _least_seconds(work: Callable[[], object]) -> float:
    least = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - start)
    return least
