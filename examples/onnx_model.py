"""An ONNX model: the same loadable as from PyTorch, and entry points for its open extents.

pip install 'atalla-mlir[onnx]'
python examples/onnx_model.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch.export import Dim

import atalla_mlir as atalla
from atalla_mlir import zoo


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("alexnet_small", "vit_micro"):
            model, inputs = zoo.build(name)
            path = Path(folder) / f"{name}.onnx"
            # opset 20 has GELU as one operation
            torch.onnx.export(model, inputs, path, dynamo=True, verbose=False, opset_version=20)
            program = atalla.compile(path, inputs, strict=True)
            same = torch.equal(program(*inputs), atalla.compile(model, inputs)(*inputs))
            print(f"{name}: {program.coverage.summary()}; same values as from PyTorch: {same}")

        model, (x,) = zoo.build("mlp")
        path = Path(folder) / "open.onnx"
        torch.onnx.export(model, (x,), path, dynamo=True, verbose=False, dynamic_shapes=({0: Dim("batch")},))
        program = atalla.compile(path, entries={"one": (x[:1],), "four": (x,)})
        print(f"{path.name}: {program(x[:1]).shape[0]} and {program(x).shape[0]} rows")
        report = atalla.verify(path, (x,))
        print(f"kernels come from nodes {', '.join(str(row.source) for row in report.ops)}")


if __name__ == "__main__":
    main()
