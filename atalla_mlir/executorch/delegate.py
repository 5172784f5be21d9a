"""The ahead-of-time half of the delegate: a tagged part of an edge program becomes a loadable."""

from __future__ import annotations

from executorch.exir.backend.backend_details import BackendDetails, PreprocessResult
from executorch.exir.backend.compile_spec_schema import CompileSpec
from torch.export import ExportedProgram

from atalla_mlir.compiler import compile_plan
from atalla_mlir.errors import InternalError
from atalla_mlir.executorch.edge_program import aten_program
from atalla_mlir.frontend.partition import plan_model, require_device_only
from atalla_mlir.loadable.writer import write_loadable

MACHINE = "machine"
"""Key of the compile spec that names the machine."""


class AtallaBackend(BackendDetails):
    """`preprocess` compiles what the partitioner tagged; the class's name is the name that the runtime looks up."""

    @staticmethod
    def preprocess(edge_program: ExportedProgram, compile_specs: list[CompileSpec]) -> PreprocessResult:
        machine = next((spec.value.decode() for spec in compile_specs if spec.key == MACHINE), "ax01")
        plan = plan_model(aten_program(edge_program))
        require_device_only(plan)
        if len(plan.steps) != 1:
            raise InternalError(f"a delegate of {len(plan.steps)} steps, expected one")
        return PreprocessResult(processed_bytes=bytes(write_loadable(compile_plan(plan, machine=machine))))


BACKEND = AtallaBackend.__name__
