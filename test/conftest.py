"""What holds for all tests."""

from __future__ import annotations

import os

from atalla_mlir.cache.store import DIRECTORY_VARIABLE
from atalla_mlir.frontend.torchvision_operators import import_for_others

# Tests compile what the sources and their patches say; those about the cache choose a directory of their own.
os.environ[DIRECTORY_VARIABLE] = ""

# Beside a CPU-only PyTorch, transformers could not be imported else where torchvision is installed.
import_for_others()
