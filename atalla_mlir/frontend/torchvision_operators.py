"""Operators that torchvision declares in a compiled library, for when that library does not load.

The wheel of PyPI is built for PyTorch with CUDA; beside a CPU-only PyTorch its library stays closed, and importing
torchvision, or any package that imports it, ends with an operator that does not exist. Its models need none of them.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

_MISSING = "operator torchvision::nms does not exist"
_BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_DECLARED: list[torch.library.Library] = []
"""Declarations end with the object that made them."""


def import_module(name: str) -> ModuleType:
    """Module `name`, which imports torchvision, whether or not torchvision's library loads."""
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if not declare_missing(error):
            raise
        return importlib.import_module(name)


def declare_missing(error: BaseException) -> bool:
    """Whether `error` came from operators that torchvision misses; they are declared then, and a second try works."""
    if _MISSING not in str(error) or _DECLARED:
        return False
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(operator + _BOXES)
    _DECLARED.append(library)
    # what the failed import left behind is not imported again otherwise
    for module in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[module]
    return True
