"""Models of which values stay in the pads between kernels: where they stay, and running them on both engines."""

from __future__ import annotations

import numpy as np
import torch

from atalla_mlir.compiler import compile_plan
from atalla_mlir.frontend.capture import capture
from atalla_mlir.frontend.partition import partition
from atalla_mlir.host.report import Report
from atalla_mlir.loadable.format import Loadable
from atalla_mlir.runtime.program import Program

__all__ = ["compile_keeping", "engines_agree", "in_pads"]


def compile_keeping(model: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Loadable:
    """The loadable of a model, with whatever fits kept in the pads."""
    return compile_plan(partition(capture(model, inputs)), images="always", cache=False)


def engines_agree(model: torch.nn.Module, x: torch.Tensor) -> bool:
    """Whether both engines give the same bytes and execute as many packets, the first time and the second.

    The second run tells that no row of the pads stays taken.
    """
    loadable = compile_keeping(model, (x,))
    results, packets = list[np.ndarray](), list[int]()
    for engine in ("native", "reference"):
        program = Program(loadable, engine=engine)
        results += [program.run_entry(loadable.entries[0].name, [x.numpy()])[0] for _ in range(2)]
        packets.append(program.engine.counters.packets)
    return packets[0] == packets[1] and all(np.array_equal(results[0], other) for other in results[1:])


def in_pads(report: Report) -> list[str]:
    """What each kernel finds or leaves in the pads, of those that do."""
    facts = [decision["facts"] for row in report.ops for decision in row.decisions]
    return [str(row["in_pads"]) for row in facts if "in_pads" in row]
