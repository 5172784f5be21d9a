"""Compile a model and look at what comes out: partitions, kernels, program length, file size.

python examples/compile_model.py
"""

from __future__ import annotations

from atalla_mlir import zoo
from atalla_mlir.compiler import compile_model
from atalla_mlir.loadable.writer import write_loadable
from atalla_mlir.target.encoding import PACKET_BYTES


def main() -> None:
    model, inputs = zoo.build("mlp")
    loadable = compile_model(model, inputs)

    print("partitions:")
    for step in loadable.meta["steps"]:
        if step["kind"] == "device":
            print(f"  device {step['entry']}({', '.join(step['inputs'])}) -> {', '.join(step['outputs'])}")
        else:
            print(f"  host {step['target']} -> {', '.join(step['outputs'])}: {step['reason']}")

    print("kernels:")
    for kernel in loadable.meta["kernels"]:
        print(f"  {kernel['name']}: {', '.join(kernel['aten'])} ({kernel['flops']} FLOPs, {kernel['source']})")

    code_bytes = sum(segment.size for segment in loadable.code_segments)
    print(f"program length {code_bytes // PACKET_BYTES} packets")
    print(f"blob {len(write_loadable(loadable))} bytes")


if __name__ == "__main__":
    main()
