"""Random shapes: compiled operations are verified at the edges of tiles, at primes, and with several dimensions."""

from __future__ import annotations

import pytest

from atalla_mlir.testing.fuzz import check
from atalla_mlir.testing.random_images import IMAGE_FAMILIES
from atalla_mlir.testing.random_models import EDGES, FAMILIES, sample

MODELS = [(family, seed) for family in FAMILIES for seed in range(2 if family in IMAGE_FAMILIES else 4)]
"""A short share; `make fuzz` goes on as long as it is told to."""

FOUND = [("convolution of volumes", 22), ("convolution", 770000)]
"""Models of `make fuzz` that once were wrong."""


@pytest.mark.parametrize(("family", "seed"), MODELS)
def test_random_models_are_right(family: str, seed: int) -> None:
    assert check(family, seed, EDGES) is None


@pytest.mark.parametrize(("family", "seed"), FOUND)
def test_what_was_found_stays_right(family: str, seed: int) -> None:
    assert check(family, seed) is None


def test_a_seed_fixes_the_parameters_too() -> None:
    first, second = (sample("convolution", 5).model.state_dict() for _ in range(2))
    assert first
    assert all(first[name].equal(second[name]) for name in first)
