"""ExecuTorch programs with the Ax01 as a delegate: what the compiler takes runs there.

    from executorch.exir import to_edge_transform_and_lower
    from atalla_mlir.executorch import AtallaPartitioner

    partitioner = AtallaPartitioner()
    program = to_edge_transform_and_lower(torch.export.export(model, inputs), partitioner=[partitioner]).to_executorch()
    print(partitioner.summaries[-1])

`lower` does that in one call; `run` executes a program in ExecuTorch's own runtime.
"""

from __future__ import annotations

from atalla_mlir.executorch.extra import require_executorch

require_executorch()

from atalla_mlir.executorch.delegate import BACKEND, AtallaBackend  # noqa: E402
from atalla_mlir.executorch.lowering import Lowered, lower  # noqa: E402
from atalla_mlir.executorch.partitioner import AtallaPartitioner  # noqa: E402
from atalla_mlir.executorch.runtime import load_backend, run  # noqa: E402
from atalla_mlir.executorch.summary import DelegationSummary, OperationPlace  # noqa: E402

__all__ = [
    "BACKEND",
    "AtallaBackend",
    "AtallaPartitioner",
    "DelegationSummary",
    "Lowered",
    "OperationPlace",
    "load_backend",
    "lower",
    "run",
]
