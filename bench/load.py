"""Start-up and memory of a program with many parameters, in a process of its own.

    python -m bench.load FILE

loads a loadable on an engine and prints the processor seconds and the peak memory in bytes of the whole process.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from atalla_mlir.loadable.format import Loadable, Segment, SegmentKind
from atalla_mlir.loadable.reader import load_loadable
from atalla_mlir.loadable.writer import save_loadable
from atalla_mlir.runtime.program import Program

PARAMETER_BYTES = 250_000_000
_RUNS = 3
_PAGE_BYTES = 4096
_KILOBYTE = 1024


def load_row(small: Loadable) -> str:
    """A line about loading a program with `PARAMETER_BYTES` beside it: the fastest of some processes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.atalla"
        save_loadable(_enlarged(small), path)
        size = path.stat().st_size
        seconds, processor, memory = min(_measured(path) for _ in range(_RUNS))
    # what is loaded into DRAM is touched there, about as many bytes as the file has
    more = memory / 1e6 - 2 * size / 1e6
    return (
        f"start-up and load of {size / 1e6:.0f} MB: {seconds:.2f} s, {processor:.2f} s of the processor; "
        f"memory {memory / 1e6:.0f} MB, {more:.0f} MB more than the file and the DRAM that it fills"
    )


def _enlarged(small: Loadable) -> Loadable:
    start = -(-small.dram_size // _PAGE_BYTES) * _PAGE_BYTES
    table = Segment(SegmentKind.DATA, start, memoryview(os.urandom(PARAMETER_BYTES)))
    return replace(small, segments=(*small.segments, table), dram_size=start + PARAMETER_BYTES)


def _measured(path: Path) -> tuple[float, float, int]:
    """Seconds from start to end of a process that loads, its processor seconds, and its peak memory in bytes."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "bench.load", str(path)]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    processor, memory = json.loads(finished.stdout)
    return seconds, processor, memory


def main(path: str) -> int:
    Program(load_loadable(path))
    print(json.dumps([time.process_time(), _peak_memory()]))
    return 0


def _peak_memory() -> int:
    """Bytes; on Linux not from `getrusage`, which counts what the parent process had when it started this one."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * _KILOBYTE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KILOBYTE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
