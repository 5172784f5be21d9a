"""Tensors in `.npy` and `.npz` files. NumPy files hold no bfloat16: its values are written, and read, as float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atalla_mlir.errors import BadInputError

if TYPE_CHECKING:
    from torch import Tensor

    from atalla_mlir.host.signature import InputSpec


def read_inputs(files: Sequence[str], expected: Sequence[InputSpec]) -> dict[str, Tensor]:
    """Inputs by name from `x.npy` (taken in order) or `NAME=x.npy`."""
    names = [spec.name for spec in expected]
    found: dict[str, Tensor] = {}
    for text in files:
        name, equals, path = text.partition("=")
        if not equals:
            left = [name for name in names if name not in found]
            name, path = (left[0] if left else ""), text
        if name not in names or name in found:
            raise BadInputError(f"--input {text}: the program takes {', '.join(map(str, expected))}")
        found[name] = _read(path, expected[names.index(name)])
    missing = [str(spec) for spec in expected if spec.name not in found]
    if missing:
        raise BadInputError(f"no --input for {', '.join(missing)}")
    return found


def write_outputs(path: str, outputs: Mapping[str, Tensor]) -> None:
    """One tensor into a `.npy` file, several by their names into a `.npz` file."""
    arrays = {name: _writable(tensor) for name, tensor in outputs.items()}
    if path.endswith(".npz"):
        np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    elif path.endswith(".npy") and len(arrays) == 1:
        np.save(path, next(iter(arrays.values())))
    else:
        expected = "a .npy file for one output" if len(arrays) == 1 else f"a .npz file for {len(arrays)} outputs"
        raise BadInputError(f"--output {path}: expected {expected}")


def _read(path: str, spec: InputSpec) -> Tensor:
    import torch

    from atalla_mlir.frontend.arrays import to_torch

    if not Path(path).is_file():
        raise BadInputError(f"{path}: no such file")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BadInputError(f"{path}: not a .npy file: {error}") from error
    if not isinstance(array, np.ndarray):
        raise BadInputError(f"{path}: holds several arrays; give one .npy file for each input")
    try:
        tensor = to_torch(array)
    except TypeError as error:
        raise BadInputError(f"{path}: elements of type {array.dtype} are no tensor") from error
    return tensor.to(torch.bfloat16) if spec.dtype is torch.bfloat16 and tensor.dtype is torch.float32 else tensor


def _writable(tensor: Tensor) -> np.ndarray:
    import torch

    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
