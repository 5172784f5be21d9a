"""Python's search for garbage in circles, which takes longer the more objects there are."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_COLLECTED_ALLOCATIONS = 1_000_000
"""Objects allocated between two collections while a model is compiled."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Looks for garbage in circles more rarely: compiling makes few circles, and many objects that live for long."""
    allocations, *others = gc.get_threshold()
    if allocations:
        gc.set_threshold(max(allocations, _COLLECTED_ALLOCATIONS), *others)
    try:
        yield
    finally:
        gc.set_threshold(allocations, *others)
