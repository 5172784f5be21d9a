"""Random shapes: compiled operations are verified at the edges of tiles, at primes, and with several dimensions."""

from __future__ import annotations

import pytest

from atalla_mlir.testing.fuzz import check
from atalla_mlir.testing.random_models import EDGES, FAMILIES


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("family", FAMILIES)
def test_random_models_are_right(family: str, seed: int) -> None:
    assert check(family, seed, EDGES) is None
