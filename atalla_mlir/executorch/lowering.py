"""From a model to an ExecuTorch program in one call."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from executorch.exir import to_edge_transform_and_lower
from torch import nn
from torch.export import ExportedProgram

from atalla_mlir.executorch.partitioner import AtallaPartitioner
from atalla_mlir.executorch.summary import DelegationSummary


@dataclass(frozen=True)
class Lowered:
    """An ExecuTorch program with one method, `forward`."""

    buffer: bytes
    """What a `.pte` file holds."""
    summary: DelegationSummary

    def save(self, path: str | Path) -> None:
        Path(path).write_bytes(self.buffer)


def lower(model: nn.Module | ExportedProgram, inputs: tuple[Any, ...] = (), *, machine: str = "ax01") -> Lowered:
    """A module with example inputs, or an exported program, with everything that `machine` can run delegated."""
    partitioner = AtallaPartitioner(machine)
    with warnings.catch_warnings():
        # PyTorch warns about its own use of pytree when ExecuTorch copies a program
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        if isinstance(model, nn.Module):
            with torch.no_grad():
                model = torch.export.export(model.eval(), inputs)
        program = to_edge_transform_and_lower(model, partitioner=[partitioner]).to_executorch()
    return Lowered(bytes(program.buffer), partitioner.summaries[-1])
