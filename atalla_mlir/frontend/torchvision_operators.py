"""Operators that torchvision declares in a compiled library, for when that library does not load.

The wheel of PyPI is built for PyTorch with CUDA; beside a CPU-only PyTorch its library stays closed, and importing
torchvision, or any package that imports it, ends with an operator that does not exist. Its models need none of them.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PACKAGE = "torchvision"
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
    import torch

    if _MISSING not in str(error) or _DECLARED:
        return False
    library = torch.library.Library(PACKAGE, "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(operator + _BOXES)
    _DECLARED.append(library)
    # what the failed import left behind is not imported again otherwise
    for module in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[module]
    return True


def import_for_others() -> None:
    """Let whoever imports torchvision from now on get it, as `import_module` does; nothing is imported before that.

    For packages that import it in the middle of something, transformers for one.
    """
    if PACKAGE not in sys.modules and importlib.util.find_spec(PACKAGE) is not None:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds torchvision once, by importing it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != PACKAGE:
            return None
        sys.meta_path.remove(self)
        module = import_module(PACKAGE)
        spec = ModuleSpec(name, _Imported(module), origin=module.__file__, is_package=True)
        spec.submodule_search_locations = list(module.__path__)
        return spec


class _Imported(importlib.abc.Loader):
    """The loader of a module that is there."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        pass
