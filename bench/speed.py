"""How fast the engines simulate the packets of products that the compiler emits, and how fast programs load.

Seconds are processor time of the thread that works, the least of some runs, so that other work on the machine disturbs
little; all ratios are of one run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from atalla_mlir.frontend.arrays import to_numpy
from atalla_mlir.sim.native import NativeEngine
from bench.load import load_row
from bench.measure import compiled
from bench.suite import Case, suite

_REFERENCE_CASE, _NATIVE_CASE = "gemm_64x64x64", "gemm_512x512x512"
_NATIVE_SIDE = 512
_NATIVE_MACS = _NATIVE_SIDE**3
_REPEATS = 5
_VARIANT = "ATALLA_ENGINE_VARIANT"


def speed_rows(engine: str) -> Iterator[str]:
    """Lines about the reference engine and, when `engine` is native, about that one beside PyTorch."""
    packets, seconds = _run(_REFERENCE_CASE, "reference", timing=True)
    rate = packets / seconds / 1e6
    yield f"reference engine with timing: {rate:.3f} M packets/s ({_REFERENCE_CASE}, {packets:,} packets)"
    if engine != "native":
        yield "native engine: not here, its speed is not measured"
        return
    for variant in _variants():
        with _chosen(variant):
            for timing in (False, True):
                packets, seconds = _run(_NATIVE_CASE, "native", timing=timing)
                yield (
                    f"native engine ({variant}) {'with timing' if timing else 'values only'}: "
                    f"{_NATIVE_MACS / seconds / 1e9:.2f} GMAC/s ({_NATIVE_CASE}, {packets:,} packets)"
                )
    yield f"torch float32 matmul on one thread: {_NATIVE_MACS / _torch_seconds() / 1e9:.2f} GMAC/s"
    yield load_row(compiled(_case(_REFERENCE_CASE), engine)[0].loadable)


@contextmanager
def _chosen(variant: str) -> Iterator[None]:
    """Native engines that are made inside run this vector code."""
    before = os.environ.get(_VARIANT)
    os.environ[_VARIANT] = variant
    try:
        yield
    finally:
        os.environ.pop(_VARIANT)
        if before is not None:
            os.environ[_VARIANT] = before


def _variants() -> list[str]:
    """The vector code that this processor can run, the widest first."""
    found: list[str] = []
    for variant in ("avx512", "avx2", "baseline"):
        with _chosen(variant):
            name = NativeEngine().variant
        if name not in found:
            found.append(name)
    return found


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
        left, right = (torch.rand(_NATIVE_SIDE, _NATIVE_SIDE) for _ in range(2))
        return _least_seconds(lambda: torch.matmul(left, right))
    finally:
        torch.set_num_threads(threads)


def _least_seconds(work: Callable[[], object]) -> float:
    least = float("inf")
    for _ in range(_REPEATS):
        start = time.thread_time()
        work()
        least = min(least, time.thread_time() - start)
    return least
