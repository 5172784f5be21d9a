"""What holds for all tests."""

from __future__ import annotations

import os

from atalla_mlir.cache.store import DIRECTORY_VARIABLE

# Tests compile what the sources and their patches say; those about the cache choose a directory of their own.
os.environ[DIRECTORY_VARIABLE] = ""
