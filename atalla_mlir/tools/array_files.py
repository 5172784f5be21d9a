"""Tensors in `.npy` and `.npz` files. NumPy files hold no bfloat16: its values are written, and read, as float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ml_dtypes import bfloat16

from atalla_mlir.errors import BadInputError

if TYPE_CHECKING:
    from torch import Tensor

    from atalla_mlir.host.signature import InputSpec


def read_inputs(files: Sequence[str], expected: Sequence[InputSpec]) -> dict[str, Tensor]:
    """Inputs by name from `x.npy` (taken in order) or `NAME=x.npy`."""
    paths = input_paths(files, {spec.name: str(spec) for spec in expected})
    return {spec.name: _read(paths[spec.name], spec) for spec in expected}


def input_paths(files: Sequence[str], expected: Mapping[str, str]) -> dict[str, str]:
    """Input name -> path; `expected` gives the names, each with the input as text."""
    found: dict[str, str] = {}
    for text in files:
        name, equals, path = text.partition("=")
        if not equals:
            left = [name for name in expected if name not in found]
            name, path = (left[0] if left else ""), text
        if name not in expected or name in found:
            raise BadInputError(f"--input {text}: the program takes {', '.join(expected.values()) or 'nothing'}")
        found[name] = path
    missing = [described for name, described in expected.items() if name not in found]
    if missing:
        raise BadInputError(f"no --input for {', '.join(missing)}")
    return found


def write_outputs(path: str, outputs: Mapping[str, Tensor]) -> None:
    """One tensor into a `.npy` file, several by their names into a `.npz` file."""
    write_results(path, {name: _writable(tensor) for name, tensor in outputs.items()})


def write_results(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """One array into a `.npy` file, several by their names into a `.npz` file."""
    if path.endswith(".npz"):
        write_arrays(path, arrays)
    elif path.endswith(".npy") and len(arrays) == 1:
        np.save(path, next(iter(arrays.values())))
    else:
        expected = "a .npy file for one output" if len(arrays) == 1 else f"a .npz file for {len(arrays)} outputs"
        raise BadInputError(f"--output {path}: expected {expected}")


def write_arrays(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Arrays by their names into a `.npz` file."""
    plain = {name: array.astype(np.float32) if array.dtype == bfloat16 else array for name, array in arrays.items()}
    with open(path, "wb") as file:
        np.savez(file, **plain)  # pyright: ignore[reportArgumentType]


def _read(path: str, spec: InputSpec) -> Tensor:
    import torch

    from atalla_mlir.frontend.arrays import to_torch

    array = read_array(path)
    try:
        tensor = to_torch(array)
    except TypeError as error:
        raise BadInputError(f"{path}: elements of type {array.dtype} are no tensor") from error
    return tensor.to(torch.bfloat16) if spec.dtype is torch.bfloat16 and tensor.dtype is torch.float32 else tensor


def read_array(path: str) -> np.ndarray:
    """The array of a `.npy` file, in the byte order of this computer."""
    if not Path(path).is_file():
        raise BadInputError(f"{path}: no such file")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        reason = "it holds pickled objects or no NumPy data" if "pickle" in str(error) else error
        raise BadInputError(f"{path}: not a .npy file: {reason}") from error
    if not isinstance(array, np.ndarray):
        raise BadInputError(f"{path}: holds several arrays; give one .npy file for each input")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _writable(tensor: Tensor) -> np.ndarray:
    import torch

    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
